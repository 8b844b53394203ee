//! `retort index`: an index of a registry.

use crate::command::Common;
use crate::command::share::Where;
use crate::experiment::settings::limits;
use crate::failure::{Failure, Result};
use crate::share::index;
use crate::share::name::Name;
use crate::terminal::output;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;

/// Actions of `retort index`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an index of a registry, or go on with one: every version is verified before it stands there.
    #[command(
        after_help = "Digest, signature, checks and pinned numbers of each version that isn't there yet are verified on this machine. What\nfails is left out and said, and the exit code is 1. The folder is a static web site; `--registry` takes its address,\nor the folder itself.\n\nExample:\n  retort index build --registry oci://packs.example --out site"
    )]
    Build(Build),
}

/// Arguments of `retort index build`.
#[derive(Args, Debug)]
pub struct Build {
    /// The packs [default: those that the registry lists, and those in the index].
    #[arg(value_name = "AUTHOR/PACK")]
    packs: Vec<String>,
    #[command(flatten)]
    place: Where,
    /// The index's folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    let Command::Build(args) = command;
    let packs = args.packs.iter().map(|name| name.parse::<Name>().map_err(Failure::usage));
    let packs: Vec<Name> = packs.collect::<Result<_>>()?;
    let built = index::build(&args.place.open()?, &args.out, &packs, &limits(&[])?)?;
    if common.json {
        output::json(
            &json!({"index": args.out, "versions": built.versions, "verified": built.verified,
            "refused": built.refused}),
        );
    } else {
        output::line(format_args!(
            "{}: {} versions, {} of them new and verified",
            args.out.display(),
            built.versions,
            built.verified.len()
        ));
    }
    if built.refused.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new("versions were left out of the index:");
    failure.list = built.refused;
    Err(failure)
}
