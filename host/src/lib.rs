//! The host: plugins, commands and reports of the program `retort`.

// `output` is the one place that writes to the terminal.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod command;
pub mod experiment;
pub mod failure;
pub mod gallery;
pub mod html;
pub mod io;
pub mod loss;
pub mod plugin;
pub mod report;
pub mod run;
pub mod share;
pub mod suite;
pub mod terminal;

use clap::Parser as _;
use failure::{Failure, Result};
use retort_core::guarded;
use std::process::ExitCode;
use terminal::{clean, output};

/// Runs the command line and reports its failure, once.
pub fn main() -> ExitCode {
    if let Some(code) = plugin::compile::serve() {
        return code;
    }
    plugin::compile::use_this_program();
    // Panics of plugins and of the backend become errors of a step; what still gets here is a bug.
    retort_sdk::quiet_panics();
    let cli = match command::Cli::try_parse_from(command::flags::hyper::gathered(
        std::env::args_os().collect(),
    )) {
        Ok(cli) => cli,
        Err(answer) => return unparsed(&answer),
    };
    let done = guarded(|| command::run(&cli)).unwrap_or_else(|why| {
        let version = env!("CARGO_PKG_VERSION");
        Err(Failure::new(format!(
            "a bug in retort ({version}): {why}. Please report it with the command you ran."
        )))
    });
    end(done)
}

/// What a command line gets that asks for help, or is wrong.
fn unparsed(answer: &clap::Error) -> ExitCode {
    if !answer.use_stderr() {
        output::note(answer.print());
        return end(Ok(()));
    }
    // It repeats arguments, which a script may have from anywhere.
    let foreign = |word: std::ffi::OsString| {
        let word = word.to_string_lossy();
        clean::line(&word) != word
    };
    if std::env::args_os().any(foreign) {
        output::say(answer.render());
    } else {
        let _ = answer.print();
    }
    ExitCode::from(answer.exit_code() as u8)
}

/// Ends the program, whose results must have been written.
fn end(done: Result<()>) -> ExitCode {
    match (done, output::finish()) {
        (Ok(()), Ok(())) => ExitCode::SUCCESS,
        (Err(failure), _) | (Ok(()), Err(failure)) => {
            failure.say();
            ExitCode::from(failure.code)
        }
    }
}
