//! `retort evaluate`: Recall@K of a checkpoint on classes it has never seen.

use crate::command::Common;
use crate::experiment::{Data, Experiment};
use crate::failure::{Failure, Result};
use crate::output;
use clap::Args;
use retort_core::checkpoint;
use retort_core::trainer::{checkpoint_in, evaluate, parameter_count};
use retort_datasets::Split;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  retort evaluate runs/target-glyphs-rkd\n  retort evaluate checkpoint.safetensors --dataset glyphs"
)]
pub struct Evaluate {
    /// A run folder or a checkpoint.
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// Data set [default: the run's].
    #[arg(long)]
    dataset: Option<String>,
    /// Folder with the data set's files [default: the run's].
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// The K of Recall@K.
    #[arg(long = "k", value_delimiter = ',', default_value = "1,2,4,8")]
    ks: Vec<usize>,
}

/// Runs the command.
pub fn run(args: &Evaluate, common: &Common) -> Result<()> {
    let (device, info) = common.device()?;
    let loaded =
        checkpoint::load(&checkpoint_in(&args.checkpoint), &device).map_err(Failure::new)?;
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
    let test = data.open(Split::Test)?;
    let recall = evaluate(&loaded.backbone, &test, channels, &args.ks, &device)?;
    if common.json {
        let recall: serde_json::Map<String, Value> =
            recall.iter().map(|(k, r)| (k.to_string(), json!(r))).collect();
        output::json(&json!({"dataset": data.name, "checkpoint": args.checkpoint,
            "recall": recall, "classes": test.classes().len(), "samples": test.len(),
            "embedding": loaded.network.embedding, "parameters": parameter_count(&loaded.backbone),
            "device": info.name}));
        return Ok(());
    }
    let mut table = output::table(["K", "RECALL@K"]);
    for (k, r) in &recall {
        table.add_row([k.to_string(), format!("{:.2} %", 100.0 * r)]);
    }
    output::line(format_args!(
        "{} samples of {} classes of {}\n{table}",
        test.len(),
        test.classes().len(),
        data.name
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
