//! `retort evaluate`: retrieval metrics of a checkpoint on classes it has never seen.

use crate::command::Common;
use crate::command::flags::data::DataFlags;
use crate::command::flags::retrieval::Options;
use crate::command::open::Foreign;
use crate::experiment::measurable;
use crate::experiment::{damaged, left_out};
use crate::failure::{Failure, Result};
use crate::terminal::output;
use clap::Args;
use retort_core::trainer::{Feed, embed, parameter_count};
use retort_datasets::Split;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  retort evaluate runs/target-glyphs-rkd\n  retort evaluate checkpoint.safetensors --dataset glyphs\n  retort evaluate runs/target-glyphs-rkd --bootstrap 1000 --per-class --json"
)]
pub struct Evaluate {
    /// A run folder or a checkpoint of any origin.
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    #[command(flatten)]
    data: DataFlags,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    open: Foreign,
}

/// Runs the command.
pub fn run(args: &Evaluate, common: &Common) -> Result<()> {
    let (device, info) = common.device()?;
    let loaded = args.open.checkpoint(&args.checkpoint, &device)?;
    let mut data = args.data.data(&args.checkpoint)?;
    data.size = loaded.image_size;
    let channels = loaded.network.channels;
    let entry = data.entry()?;
    // A network that sees colour is given grey pictures with their one channel repeated.
    if entry.channels > channels {
        return Err(Failure::usage(format!(
            "the network sees pictures with {channels} channels, but {} has {}",
            data.name, entry.channels
        )));
    }
    // Where queries and gallery are published apart, one is looked for in the other; the paper's own
    // way (--reference) has none of that.
    let apart = data.splits()?.contains(&Split::Query) && !args.options.reference;
    let test = data.open(if apart { Split::Query } else { Split::Test })?;
    let others = apart.then(|| data.open(Split::Gallery)).transpose()?;
    measurable::check(&test, others.as_ref(), &data.name)?;
    let embeddings = embed(&loaded.backbone, &test, &Feed::new(channels), &device)?;
    let (mut seen, mut gallery) = (vec![&test], None);
    if let Some(others) = &others {
        gallery = Some(embed(&loaded.backbone, others, &Feed::new(channels), &device)?);
        seen.push(others);
    }
    let (left_out, damaged) = (left_out(&seen), damaged(&seen));
    let name = |class: i64| test.classes().get(class as usize).cloned().unwrap_or_default();
    let report = args.options.report(&embeddings, gallery.as_ref(), None, &device, &name)?;
    if common.json {
        let mut out = report.json();
        let about = json!({"dataset": data.name, "checkpoint": args.checkpoint,
            "classes": test.classes().len(), "samples": test.len(),
            "pictures_left_out": left_out, "pictures_damaged": damaged,
            "gallery": others.as_ref().map(|g| g.len()), "embedding": loaded.network.embedding, "parameters": parameter_count(&loaded.backbone),
            "device": info.name});
        if let Value::Object(about) = about {
            out.extend(about);
        }
        output::json(&Value::Object(out));
        return Ok(());
    }
    let among = others.map(|g| format!(", in a gallery of {}", g.len())).unwrap_or_default();
    output::line(format_args!(
        "{} samples of {} classes of {}{among}\n{}",
        test.len(),
        test.classes().len(),
        data.name,
        report.text()
    ));
    Ok(())
}
