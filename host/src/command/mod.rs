//! The command line: one file a command.

/// What every command that takes a loss says about native code, at the end of its help.
macro_rules! native_code {
    () => {
        "Naming a native library (.so, .dylib, .dll), here or in a file that is read, runs its code with \
         all your\nrights. Components (.wasm) run in a sandbox."
    };
}

pub mod check;
pub mod checkpoint;
pub mod compare;
pub mod completions;
pub mod data;
pub mod demo;
pub mod devices;
pub mod embed;
pub mod evaluate;
pub mod fetch;
pub mod flags;
pub mod gallery;
pub mod index;
pub mod key;
pub mod login;
pub mod loss;
pub mod metrics;
pub mod misfit;
pub mod model;
pub mod new;
pub mod open;
pub mod parts;
pub mod plugin;
pub mod report;
pub mod runs;
pub mod search;
pub mod share;
pub mod snapshot;
pub mod train;
pub mod trust;

use crate::failure::{Failure, Result};
use crate::terminal::{output, progress};
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use retort_core::device::{self, DeviceChoice, DeviceInfo};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// The bench where embedding-transfer losses are written, shared, checked and compared.
#[derive(Debug, Parser)]
#[command(
    name = "retort",
    version,
    propagate_version = true,
    after_help = "Examples:\n  retort demo\n  retort train target --help"
)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What `retort` alone says.
const FIRST: &str = "\
retort is the bench where losses for embedding transfer and metric learning are written, shared, checked
and compared. Three commands to begin with:

  retort demo                                 train a source and three targets, and see the report (minutes)
  retort loss info relaxed_contrastive        what a loss computes, what it needs, and its paper
  retort train source --loss proxy_anchor     one training of your own; --help has more

`retort --help` lists all commands, and `retort COMMAND --help` ends with an example of each.";

/// The heading of the flags that every command takes.
const COMMON: &str = "Common flags";

/// A folder that must be there: said before anything else is done.
pub(crate) fn folder_there() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new()
        .try_map(|path| if path.is_dir() { Ok(path) } else { Err("there is no such folder") })
}

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Print one JSON object to standard output.
    #[arg(long, global = true, help_heading = COMMON)]
    pub json: bool,
    /// Where to compute: auto (a real GPU if there is one), cpu, gpu, or gpu:N of `retort devices`.
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE", help_heading = COMMON)]
    pub device: DeviceChoice,
}

impl Common {
    /// The device asked for.
    pub fn device(&self) -> Result<(burn::tensor::Device, DeviceInfo)> {
        device::resolve(self.device).map_err(Failure::new)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a source and three small targets on pictures, and compare them: the main job.
    Demo(demo::Demo),
    /// Train a network.
    #[command(subcommand, after_help = "Example:\n  retort train source --loss proxy_anchor")]
    Train(train::Command),
    /// Run a suite of trainings, methods by data sets by seeds, and print its tables.
    Compare(compare::Compare),
    /// Write runs or a suite as one HTML file: tables, curves, neighbours, projections.
    Report(report::Report),
    /// Evaluate a checkpoint: retrieval metrics on classes it has never seen.
    Evaluate(evaluate::Evaluate),
    /// Look into checkpoints of any origin, import, export and download them.
    #[command(subcommand, after_help = "Example:\n  retort checkpoint info runs/source")]
    Checkpoint(checkpoint::Command),
    /// Write a network's embeddings, pooled vectors and feature maps of given pictures.
    Embed(embed::Embed),
    /// Find a picture's nearest neighbours in a data set.
    Search(search::Search),
    /// List and describe networks: layers, shapes, parameters, multiplications.
    #[command(subcommand, after_help = "Example:\n  retort model info resnet50")]
    Model(model::Command),
    /// List and describe optimisers, schedules, samplers and augmentations, with their options.
    Parts(parts::Parts),
    /// Retrieval metrics of embeddings in a file, from any system.
    Metrics(metrics::Metrics),
    /// List and describe data sets, and check their files.
    #[command(subcommand, after_help = "Example:\n  retort data list")]
    Data(data::Command),
    /// List the devices there are, and the one that `auto` takes.
    #[command(after_help = "Examples:\n  retort devices\n  retort devices --json")]
    Devices,
    /// List and describe losses, and compute them on given tensors.
    #[command(subcommand, after_help = "Examples:\n  retort loss list\n  retort loss info rkd")]
    Loss(loss::Command),
    /// Pin what a loss computes into a small text file, and verify it later.
    #[command(subcommand, after_help = "Example:\n  retort snapshot record rkd --out snapshots")]
    Snapshot(snapshot::Command),
    /// List, show, compare and delete the runs in a folder.
    #[command(subcommand, after_help = "Example:\n  retort runs list")]
    Runs(runs::Command),
    /// Build plugins, list and describe them; make packs, publish them, find them.
    #[command(
        subcommand,
        after_help = "Examples:\n  retort plugin build plugins\n  retort plugin search curvature"
    )]
    Plugin(plugin::Command),
    /// Add a pack of losses that somebody published.
    Add(share::Add),
    /// Your keys, which sign packs.
    #[command(subcommand, after_help = "Example:\n  retort key new ada")]
    Key(key::Command),
    /// Make an index of a registry, which is searched without asking the registry.
    #[command(
        subcommand,
        after_help = "Example:\n  retort index build --registry oci://packs.example --out site"
    )]
    Index(index::Command),
    /// Write pages of losses, which need no server.
    #[command(subcommand, after_help = "Example:\n  retort gallery build --out gallery")]
    Gallery(gallery::Command),
    /// Whose keys you trust.
    #[command(subcommand, after_help = "Example:\n  retort trust list")]
    Trust(trust::Command),
    /// Print a shell's completions of commands and flags.
    Completions(completions::Completions),
}

/// Runs a command.
pub fn run(cli: &Cli) -> Result<()> {
    let common = &cli.common;
    let Some(command) = &cli.command else {
        output::line(FIRST);
        return Ok(());
    };
    match command {
        Command::Demo(args) => demo::run(args, common),
        Command::Train(command) => train::run(command, common),
        Command::Compare(args) => compare::run(args, common),
        Command::Report(args) => report::run(args, common),
        Command::Evaluate(args) => evaluate::run(args, common),
        Command::Checkpoint(command) => checkpoint::run(command, common),
        Command::Embed(args) => embed::run(args, common),
        Command::Search(args) => search::run(args, common),
        Command::Model(command) => model::run(command, common),
        Command::Parts(args) => parts::run(args, common),
        Command::Metrics(args) => metrics::run(args, common),
        Command::Data(command) => data::run(command, common),
        Command::Completions(args) => {
            completions::run(args);
            Ok(())
        }
        Command::Devices => devices::run(common),
        Command::Loss(command) => loss::run(command, common),
        Command::Snapshot(command) => snapshot::run(command, common),
        Command::Runs(command) => runs::run(command, common),
        Command::Plugin(command) => plugin::run(command, common),
        Command::Add(args) => share::add(args, common),
        Command::Key(command) => key::run(command, common),
        Command::Gallery(command) => gallery::run(command, common),
        Command::Index(command) => index::run(command, common),
        Command::Trust(command) => trust::run(command, common),
    }
}

/// Set by the first Ctrl-C, so that a training stops after saving; the second ends the program.
fn stop_flag() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            progress::leave();
            std::process::exit(130);
        }
        output::say("\nstopping after this step; press Ctrl-C again to stop at once");
    };
    ctrlc::set_handler(handler)
        .map_err(|e| Failure::new(format!("can't watch for Ctrl-C: {e}")))?;
    Ok(&STOP)
}
