//! `retort evaluate`: retrieval metrics of a checkpoint on classes it has never seen.

use crate::command::Common;
use crate::command::open::Open;
use crate::experiment::{Data, Experiment, left_out};
use crate::failure::{Failure, Result};
use crate::output;
use crate::retrieval::Options;
use clap::Args;
use retort_core::checkpoint;
use retort_core::trainer::{checkpoint_in, embed, parameter_count};
use retort_datasets::Split;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  retort evaluate runs/target-glyphs-rkd\n  retort evaluate checkpoint.safetensors --dataset glyphs\n  retort evaluate runs/target-glyphs-rkd --bootstrap 1000 --per-class --json"
)]
pub struct Evaluate {
    /// A run folder or a checkpoint of any origin.
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// Data set [default: the run's].
    #[arg(long)]
    dataset: Option<String>,
    /// Folder with the data set's files [default: the run's].
    #[arg(long, value_name = "DIR", value_parser = super::folder_there())]
    data_root: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    open: Open,
}

/// Runs the command.
pub fn run(args: &Evaluate, common: &Common) -> Result<()> {
    let (device, info) = common.device()?;
    let loaded = checkpoint::open(&checkpoint_in(&args.checkpoint), &args.open.options(), &device)?;
    let mut data = data(&args.checkpoint, args.dataset.as_ref(), args.data_root.as_ref())?;
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
    let apart = entry.splits.contains(&Split::Query) && !args.options.reference;
    let test = data.open(if apart { Split::Query } else { Split::Test })?;
    let embeddings = embed(&loaded.backbone, &test, channels, &device)?;
    let (mut seen, mut gallery) = (vec![&test], None);
    let others = apart.then(|| data.open(Split::Gallery)).transpose()?;
    if let Some(others) = &others {
        gallery = Some(embed(&loaded.backbone, others, channels, &device)?);
        seen.push(others);
    }
    left_out(&seen);
    let name = |class: i64| test.classes().get(class as usize).cloned().unwrap_or_default();
    let report = args.options.report(&embeddings, gallery.as_ref(), None, &device, &name)?;
    if common.json {
        let mut out = report.json();
        let about = json!({"dataset": data.name, "checkpoint": args.checkpoint,
            "classes": test.classes().len(), "samples": test.len(),
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

/// The run's data set, with what the command line says in its place.
pub fn data(run: &Path, dataset: Option<&String>, root: Option<&PathBuf>) -> Result<Data> {
    let config = run.join("config.toml");
    let mut data = if config.is_file() {
        Experiment::read(Some(&config), Experiment::default(), &[])?.data
    } else if dataset.is_some() {
        Data::default()
    } else {
        return Err(Failure::usage(
            "a checkpoint doesn't say which data it is for: name it with --dataset",
        ));
    };
    if let Some(name) = dataset
        && *name != data.name
    {
        data = Data { name: name.clone(), ..Data::default() };
    }
    if root.is_some() {
        data.root = root.cloned();
    }
    Ok(data)
}
