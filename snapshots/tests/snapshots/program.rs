//! The program, as a user starts it, on the CPU.

use std::path::Path;
use std::process::{Command, Output};

/// Runs it in a folder.
pub fn retort(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(retort_snapshots::retort());
    command.args(args).arg("--device=cpu").current_dir(dir).output().unwrap()
}

/// What it said when it failed with this code.
pub fn error(args: &[&str], dir: &Path, code: i32) -> String {
    let output = retort(args, dir);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(!text.contains("a bug in retort"), "{text}");
    text
}
