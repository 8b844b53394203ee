//! How a command ends when it can't do what it was asked for.

use crate::terminal::{clean, output};
use std::fmt::Display;
use std::path::Path;

/// One paragraph for the user, and the exit code: 2 where the command line or a configuration was
/// wrong, 1 where the work failed.
#[derive(Debug)]
pub struct Failure {
    /// What was wrong, where, and what to do. It is shown in one line.
    pub message: String,
    /// A list that belongs to it, a line each.
    pub list: Vec<String>,
    /// Exit code.
    pub code: u8,
}

/// Result of a command.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// The user asked for something that doesn't exist or makes no sense.
    pub fn usage(message: impl Display) -> Self {
        Failure::ended(message, 2)
    }

    /// The work failed.
    pub fn new(message: impl Display) -> Self {
        Failure::ended(message, 1)
    }

    /// The command ends with another code, such as 130 where the user stopped it.
    pub fn ended(message: impl Display, code: u8) -> Self {
        Failure { message: message.to_string(), list: Vec::new(), code }
    }

    /// Tells the user.
    pub fn say(&self) {
        let list = self.list.iter().map(|item| format!("\n  {}", clean::line(item)));
        output::say(format_args!(
            "error: {}{}",
            clean::line(&self.message),
            list.collect::<String>()
        ));
    }

    /// A file could not be used.
    pub fn file(what: &str, path: &Path, why: impl Display) -> Self {
        Failure::new(format!("can't {what} {}: {why}", path.display()))
    }
}

impl From<crate::plugin::PluginError> for Failure {
    fn from(e: crate::plugin::PluginError) -> Self {
        match e {
            crate::plugin::PluginError::Loss(message) => Failure::usage(message),
            other => Failure::new(other),
        }
    }
}

impl From<retort_core::LossError> for Failure {
    fn from(e: retort_core::LossError) -> Self {
        Failure::new(e)
    }
}
