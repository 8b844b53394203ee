//! `retort plugin new`: a folder to begin a loss in.

use crate::command::Common;
use crate::failure::Result;
use crate::share::new::{self, Language};
use crate::terminal::output;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `retort plugin new`.
#[derive(Args, Debug)]
pub struct New {
    /// The folder, called as the loss: my_loss.
    path: PathBuf,
    /// Who publishes it.
    #[arg(long, default_value = "me")]
    author: String,
    /// Write it in Python, to be built by componentize-py (pip install componentize-py).
    #[arg(long)]
    python: bool,
}

/// Runs the command.
pub fn run(args: &New, common: &Common) -> Result<()> {
    let language = if args.python { Language::Python } else { Language::Rust };
    let files = new::make(&args.path, &args.author, language)?;
    if common.json {
        output::json(&json!({"pack": args.path, "files": files}));
        return Ok(());
    }
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let path = args.path.display();
    output::line(format_args!(
        "{}\n\nNow write the loss, and try it:\n  retort plugin build {path} --wasm --out packs\n  retort plugin test {path}",
        names.join("\n")
    ));
    Ok(())
}
