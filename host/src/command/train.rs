//! `retort train`: a source network, or a target with or without one.

use crate::command::{Common, stop_flag};
use crate::experiment::{Experiment, LossConfig};
use crate::failure::{Failure, Result};
use crate::plugin::registry::Registry;
use crate::run::{self, Place};
use crate::{output, progress};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Which network to train.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a source network with a metric-learning loss.
    #[command(
        after_help = "Example:\n  retort train source --dataset glyphs --loss proxy_anchor --embedding 512"
    )]
    Source(Train),
    /// Train a target network, with a source to learn from if the loss wants one.
    #[command(
        after_help = "Examples:\n  retort train target --dataset glyphs --source runs/source --loss relaxed_contrastive --embedding 64\n  retort train target experiment.toml --set train.epochs=5 --set sigma=0.5"
    )]
    Target(Target),
}

/// Flags of both; they go before the experiment file's settings.
#[derive(Args, Debug)]
pub struct Train {
    /// An experiment file.
    file: Option<PathBuf>,
    /// Data set.
    #[arg(long)]
    dataset: Option<String>,
    /// Folder with the data set's files.
    #[arg(long, value_name = "DIR")]
    data_root: Option<PathBuf>,
    /// A loss, built in or `FILE#NAME`; may be given several times.
    #[arg(long = "loss", value_name = "NAME")]
    losses: Vec<String>,
    /// Dimensions of the embedding.
    #[arg(long)]
    embedding: Option<usize>,
    /// Channels of the network's first block.
    #[arg(long)]
    width: Option<usize>,
    /// Epochs.
    #[arg(long)]
    epochs: Option<usize>,
    /// Samples in a batch.
    #[arg(long)]
    batch: Option<usize>,
    /// Samples of each class in a batch; 0 draws without regard to class.
    #[arg(long, value_name = "N")]
    images_per_class: Option<usize>,
    /// Augmented copies of each sample in a batch.
    #[arg(long)]
    views: Option<usize>,
    /// Learning rate.
    #[arg(long)]
    lr: Option<f64>,
    /// Seed.
    #[arg(long)]
    seed: Option<u64>,
    /// A key of the experiment file, or a hyperparameter of the last loss.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show a dashboard: loss, its terms, recall, images per second, memory, time left.
    #[arg(long)]
    tui: bool,
    /// The run's folder, new or empty [default: a new one in `runs`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Flags of `retort train target`.
#[derive(Args, Debug)]
pub struct Target {
    /// Checkpoint or run folder of the source network.
    #[arg(long, value_name = "RUN|CHECKPOINT")]
    source: Option<PathBuf>,
    #[command(flatten)]
    train: Train,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    let (role, train, source) = match command {
        Command::Source(train) => ("source", train, None),
        Command::Target(target) => ("target", &target.train, target.source.as_deref()),
    };
    let experiment = resolve(train, source)?;
    let (device, info) = common.device()?;
    let mut registry = Registry::new(experiment.limits.clone())?;
    let stop = stop_flag()?;
    if train.tui {
        progress::use_dashboard();
    }
    let loss = experiment.loss.iter().map(|l| l.name.rsplit('#').next().unwrap_or(&l.name));
    let loss = loss.collect::<Vec<_>>().join("+");
    let name = format!("{role}-{}-{loss}", experiment.data.name);
    let mut place = Place { registry: &mut registry, device, info, stop, quiet: false };
    let folder = run::folder(train.out.as_deref(), Path::new("runs"), &name)?;
    let done = run::train(experiment, &folder, &format!("{role} ({loss})"), &mut place)
        .inspect_err(|_| remove_if_empty(&folder))?;
    if done.summary.interrupted {
        return Err(Failure {
            message: format!(
                "stopped after {} steps; saved in {}",
                done.summary.steps,
                done.folder.display()
            ),
            code: 130,
        });
    }
    if done.summary.skipped > 0 {
        eprintln!(
            "{} times a loss was left out of a step because it isn't defined on its batch \
             (on_undefined = \"skip\")",
            done.summary.skipped
        );
    }
    let recall = run::recall_json(&done.summary);
    if common.json {
        output::json(&json!({"role": role, "run": done.folder, "recall": recall,
            "loss": output::number(done.summary.loss), "parameters": done.parameters,
            "skipped": done.summary.skipped, "seconds": done.summary.seconds}));
    } else {
        let recall = done.summary.recall.iter().flatten();
        let recall: Vec<_> =
            recall.map(|(k, r)| format!("Recall@{k} {:.1} %", 100.0 * r)).collect();
        output::line(format_args!("{}\n{}", done.folder.display(), recall.join("  ")));
    }
    Ok(())
}

/// A run that never started leaves no folder behind.
fn remove_if_empty(folder: &Path) {
    let _ = std::fs::remove_dir(folder);
}

fn resolve(train: &Train, source: Option<&Path>) -> Result<Experiment> {
    let mut experiment = Experiment::read(train.file.as_deref(), Experiment::default(), &[])?;
    put(&mut experiment.data.name, train.dataset.as_ref());
    put(&mut experiment.network.embedding, train.embedding.as_ref());
    put(&mut experiment.network.width, train.width.as_ref());
    put(&mut experiment.train.epochs, train.epochs.as_ref());
    put(&mut experiment.train.batch, train.batch.as_ref());
    put(&mut experiment.train.images_per_class, train.images_per_class.as_ref());
    put(&mut experiment.train.views, train.views.as_ref());
    put(&mut experiment.train.lr, train.lr.as_ref());
    put(&mut experiment.seed, train.seed.as_ref());
    if train.data_root.is_some() {
        experiment.data.root.clone_from(&train.data_root);
    }
    if let Some(source) = source {
        experiment.source = Some(source.to_owned());
    }
    if !train.losses.is_empty() {
        experiment.loss = train.losses.iter().map(|name| LossConfig::new(name)).collect();
    }
    Experiment::read(None, experiment, &train.set)
}

/// What the command line says goes before what the file says.
fn put<T: Clone>(place: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}
