//! `retort key`: the user's own keys, which sign packs.

use crate::command::Common;
use crate::failure::{Failure, Result};
use crate::share::key;
use crate::terminal::output;
use clap::Subcommand;
use serde_json::{Value, json};

/// Actions of `retort key`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key, protected by a password.
    #[command(
        after_help = "Where nobody can be asked, the password is taken from RETORT_KEY_PASSWORD.\n\nExample:\n  retort key new ada"
    )]
    New {
        /// What you call it.
        name: String,
        /// Without a password: whoever has the file signs as you.
        #[arg(long)]
        no_password: bool,
    },
    /// List your keys.
    #[command(after_help = "Example:\n  retort key list")]
    List,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    let keys = match command {
        Command::New { name, no_password } => vec![key::make(name, !no_password)?],
        Command::List => key::list()?,
    };
    let print = |key: &key::Key| key::fingerprint(&key.public).map_err(Failure::new);
    if common.json {
        let all: Result<Vec<Value>> = keys
            .iter()
            .map(|key| Ok(json!({"name": key.name, "key": key.public, "fingerprint": print(key)?})))
            .collect();
        output::json(&json!({"keys": all?}));
        return Ok(());
    }
    let mut table = output::table(["NAME", "FINGERPRINT", "KEY"]);
    for key in &keys {
        table.add_row([key.name.clone(), print(key)?, key.public.clone()]);
    }
    output::line(table);
    if let (Command::New { .. }, [key]) = (command, keys.as_slice()) {
        output::say(format_args!(
            "whoever wants your packs trusts it with `retort trust add AUTHOR {}`",
            key.public
        ));
    }
    Ok(())
}
