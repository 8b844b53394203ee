//! The host: plugins, commands and reports of the program `retort`.

pub mod bounded;
pub mod case;
pub mod check;
pub mod command;
pub mod difference;
pub mod download;
pub mod evaluation;
pub mod experiment;
pub mod failure;
pub mod folder;
pub mod hardware;
pub mod output;
pub mod page;
pub mod pictures;
pub mod pin;
pub mod plugin;
pub mod progress;
pub mod record;
pub mod reference;
pub mod report;
pub mod retrieval;
pub mod rows;
pub mod run;
pub mod settings;
pub mod sheet;
pub mod suite;
pub mod tensorboard;
pub mod tensors;

use clap::Parser as _;
use std::panic::catch_unwind;
use std::process::ExitCode;

/// Runs the command line and reports its failure, once.
pub fn main() -> ExitCode {
    if let Some(code) = plugin::compile::serve() {
        return code;
    }
    plugin::compile::use_this_program();
    let cli = command::Cli::parse();
    // Panics of plugins and of the backend become errors of a step; what still gets here is a bug.
    retort_sdk::quiet_panics();
    match catch_unwind(|| command::run(&cli)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            eprintln!(
                "error: a bug in retort ({}): {}. Please report it with the command you ran.",
                env!("CARGO_PKG_VERSION"),
                text.unwrap_or_else(|| "no message".to_owned())
            );
            ExitCode::FAILURE
        }
    }
}
