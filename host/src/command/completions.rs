//! `retort completions`: what a shell needs to complete commands and flags.

use crate::command::Cli;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  retort completions bash > ~/.local/share/bash-completion/completions/retort\n  \
                  retort completions zsh > ~/.zfunc/_retort\n  \
                  retort completions fish > ~/.config/fish/completions/retort.fish"
)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &Completions) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "retort", &mut script);
    crate::terminal::output::line(String::from_utf8_lossy(&script).trim_end());
}
