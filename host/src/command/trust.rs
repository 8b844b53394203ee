//! `retort trust`: whose keys the user trusts.

use crate::command::Common;
use crate::failure::{Failure, Result};
use crate::share::{key, trust};
use crate::terminal::output;
use clap::Subcommand;
use serde_json::{Value, json};

/// Actions of `retort trust`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Trust a key to be an author's.
    #[command(
        after_help = "Ask the author whether the key is theirs, by another way than the one it came by.\n\nExample:\n  \
                            retort trust add ada RWQ…"
    )]
    Add {
        /// The author, as in AUTHOR/PACK.
        author: String,
        /// The public key, or its file.
        key: String,
    },
    /// List the keys that you trust.
    #[command(after_help = "Example:\n  retort trust list")]
    List,
    /// Trust an author's keys no more.
    #[command(after_help = "Example:\n  retort trust remove ada")]
    Remove {
        /// The author.
        author: String,
        /// Only this key.
        key: Option<String>,
    },
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    match command {
        Command::Add { author, key } => {
            let key = in_file(key)?;
            trust::add(author, &key)?;
            let print = key::fingerprint(&key).map_err(Failure::new)?;
            output::say(format_args!("{author} is trusted with the key {print}"));
        }
        Command::Remove { author, key } => {
            let key = key.as_deref().map(in_file).transpose()?;
            if trust::remove(author, key.as_deref())? == 0 {
                return Err(Failure::usage(format!("you trust no such key of {author}")));
            }
        }
        Command::List => {}
    }
    let all = trust::list()?;
    let print = |key: &str| key::fingerprint(key).unwrap_or_else(|_| "damaged".to_owned());
    if common.json {
        let all = all.iter().map(|trusted| {
            json!({"author": trusted.author, "key": trusted.key, "fingerprint": print(&trusted.key)})
        });
        output::json(&json!({"trusted": all.collect::<Vec<Value>>()}));
        return Ok(());
    }
    let mut table = output::table(["AUTHOR", "FINGERPRINT", "KEY"]);
    for trusted in all {
        table.add_row([trusted.author, print(&trusted.key), trusted.key]);
    }
    output::line(table);
    Ok(())
}

/// The key that is said, or that the last line of a file says.
fn in_file(text: &str) -> Result<String> {
    let path = std::path::Path::new(text);
    if !path.is_file() {
        return Ok(text.to_owned());
    }
    let lines = retort_core::fs::read_text(path, 4096);
    let lines = lines.map_err(|e| Failure::file("read", path, e))?;
    Ok(lines.lines().last().unwrap_or_default().trim().to_owned())
}
