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

/// Runs it in a folder, on the CPU.
pub fn on_cpu(args: &[&str], dir: &Path) -> Output {
    retort(&[args, &["--device=cpu"]].concat(), dir)
}

/// Somebody who runs it.
pub trait Runs {
    /// Runs it with a home, a registry and the like.
    fn run(&self, args: &[&str]) -> Output;

    /// What it printed when it ended well.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same as JSON.
    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["--json"]].concat())).unwrap()
    }
}
