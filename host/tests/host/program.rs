//! The program, as a user starts it.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Runs it in a folder.
pub fn retort(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(args).current_dir(dir).output().unwrap()
}

/// What it printed with `--json`, when it ended well.
pub fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
