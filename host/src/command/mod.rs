//! The command line: one file a command.

pub mod devices;
pub mod loss;
pub mod plugin;

use crate::failure::{Failure, Result};
use clap::{Args, Parser, Subcommand};
use retort_core::device::{self, DeviceChoice, DeviceInfo};

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
    /// List the devices there are, and the one that `auto` takes.
    Devices,
    /// List and describe losses, and compute them on given tensors.
    #[command(subcommand)]
    Loss(loss::Command),
    /// Build plugins, list and describe them.
    #[command(subcommand)]
    Plugin(plugin::Command),
}

/// Runs a command.
pub fn run(cli: &Cli) -> Result<()> {
    let common = &cli.common;
    match &cli.command {
        Command::Devices => devices::run(common),
        Command::Loss(command) => loss::run(command, common),
        Command::Plugin(command) => plugin::run(command, common),
    }
}
