//! The command line: one file a command.

pub mod check;
pub mod demo;
pub mod devices;
pub mod embed;
pub mod evaluate;
pub mod loss;
pub mod model;
pub mod plugin;
pub mod search;
pub mod snapshot;
pub mod train;

use crate::failure::{Failure, Result};
use clap::{Args, Parser, Subcommand};
use retort_core::device::{self, DeviceChoice, DeviceInfo};
use std::sync::atomic::{AtomicBool, Ordering};

/// The bench where embedding-transfer losses are written, shared, checked and compared.
#[derive(Debug, Parser)]
#[command(name = "retort", version, arg_required_else_help = true, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Flags that every command takes.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Print one JSON object to standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// Where to compute: auto (a real GPU if there is one), cpu, gpu, or gpu:N of `retort devices`.
    #[arg(long, global = true, default_value = "auto", value_name = "DEVICE")]
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
    #[command(subcommand)]
    Train(train::Command),
    /// Evaluate a checkpoint: Recall@K on classes it has never seen.
    Evaluate(evaluate::Evaluate),
    /// Write a network's embeddings, pooled vectors and feature maps of given pictures.
    Embed(embed::Embed),
    /// Find a picture's nearest neighbours in a data set.
    Search(search::Search),
    /// List and describe networks: layers, shapes, parameters, multiplications.
    #[command(subcommand)]
    Model(model::Command),
    /// List the devices there are, and the one that `auto` takes.
    Devices,
    /// List and describe losses, and compute them on given tensors.
    #[command(subcommand)]
    Loss(loss::Command),
    /// Pin what a loss computes into a small text file, and verify it later.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Build plugins, list and describe them.
    #[command(subcommand)]
    Plugin(plugin::Command),
}

/// Runs a command.
pub fn run(cli: &Cli) -> Result<()> {
    let common = &cli.common;
    match &cli.command {
        Command::Demo(args) => demo::run(args, common),
        Command::Train(command) => train::run(command, common),
        Command::Evaluate(args) => evaluate::run(args, common),
        Command::Embed(args) => embed::run(args, common),
        Command::Search(args) => search::run(args, common),
        Command::Model(command) => model::run(command, common),
        Command::Devices => devices::run(common),
        Command::Loss(command) => loss::run(command, common),
        Command::Snapshot(command) => snapshot::run(command, common),
        Command::Plugin(command) => plugin::run(command, common),
    }
}

/// Set by the first Ctrl-C, so that a training stops after saving; the second ends the program.
fn stop_flag() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
    };
    ctrlc::set_handler(handler)
        .map_err(|e| Failure::new(format!("can't watch for Ctrl-C: {e}")))?;
    Ok(&STOP)
}
