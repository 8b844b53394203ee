//! `retort gallery`: pages of losses.

use crate::command::Common;
use crate::experiment::settings::limits;
use crate::failure::{Failure, Result};
use crate::gallery::{self, Shown};
use crate::plugin::registry::Registry as Losses;
use crate::share::registry::Registry;
use crate::terminal::output;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// Actions of `retort gallery`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a page for each loss of an index: equation, hyperparameters, checks, versions, README; and one that finds
    /// them. They need neither a server nor the network.
    #[command(
        after_help = "Examples:\n  retort gallery build --out gallery\n  retort gallery build site --out gallery"
    )]
    Build(Build),
}

/// Arguments of `retort gallery build`.
#[derive(Args, Debug)]
pub struct Build {
    /// An index or registry, as --registry names one elsewhere [default: the losses that are built in].
    #[arg(value_name = "INDEX")]
    index: Option<PathBuf>,
    /// Folder of the pages.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    let Command::Build(args) = command;
    let limits = limits(&[])?;
    let (all, unread) = if let Some(index) = &args.index {
        gallery::of(&Registry::open(Some(index))?, &limits)?
    } else {
        let losses = Losses::new(limits)?;
        (vec![Shown::builtin(losses.builtin().description.clone())], Vec::new())
    };
    let losses = gallery::write(&all, &args.out)?;
    if common.json {
        output::json(&json!({"gallery": args.out, "losses": losses, "left_out": unread}));
    } else {
        output::line(format_args!("{}: {losses} losses", args.out.join("index.html").display()));
    }
    if unread.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new("packs were left out of the gallery:");
    failure.list = unread;
    Err(failure)
}
