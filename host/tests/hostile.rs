//! Runs whose plugins fail in the middle: the message says where, and what was saved stays.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

use std::path::Path;
use std::process::{Command, Output};

fn retort(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(args).current_dir(dir).output().unwrap()
}

/// Trains for three epochs with a loss of the hostile pack; the message and the checkpoint's bytes.
fn train(loss: &str, form: &str, limit: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let pack = concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/hostile");
    let flag = format!("--{form}");
    let built =
        retort(&["plugin", "build", pack, &flag, "--profile=dev", "--yes", "--json"], dir.path());
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let built: serde_json::Value = serde_json::from_slice(&built.stdout).unwrap();
    let file = built["packs"][0]["path"].as_str().unwrap();
    let name = format!("--loss={file}#{loss}");
    let output = retort(
        &[
            "train",
            "target",
            &name,
            "--device=cpu",
            "--set=data.classes=16",
            "--set=data.images=8",
            "--width=4",
            "--embedding=8",
            "--epochs=3",
            "--batch=16",
            "--out=run",
            limit,
        ],
        dir.path(),
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let message = text.lines().rfind(|l| l.starts_with("error: ")).unwrap().to_owned();
    assert!(!message.contains("a bug in retort"), "{message}");
    (dir, message)
}

#[test]
fn a_plugin_that_fails_in_the_second_epoch_leaves_the_first_ones_checkpoint() {
    for form in ["native", "wasm"] {
        for (loss, part) in [
            ("panics", "the plugin panicked"),
            ("nan", "the loss nan is NaN"),
            ("late", "appears after set-up"),
        ] {
            let (dir, message) = train(loss, form, "--set=limits.seconds=10");
            assert!(message.contains("epoch 2, step "), "{loss}, {form}: {message}");
            assert!(message.contains(part), "{loss}, {form}: {message}");
            assert!(
                message.contains("holds the network after epoch 1"),
                "{loss}, {form}: {message}"
            );
            let evaluated = retort(&["evaluate", "run", "--device=cpu"], dir.path());
            assert!(evaluated.status.success(), "{}", String::from_utf8_lossy(&evaluated.stderr));
        }
    }
}

#[test]
fn a_component_that_loops_or_eats_memory_ends_its_run_only() {
    for (loss, limit, part) in [
        ("endless", "--set=limits.seconds=0.3", "limit `seconds`"),
        ("hungry", "--set=limits.memory_bytes=50000000", "limit `memory_bytes`"),
    ] {
        let (_dir, message) = train(loss, "wasm", limit);
        assert!(message.contains(part), "{message}");
    }
}

/// Ctrl-C ends a step that a loss doesn't end.
#[cfg(unix)]
#[test]
fn an_endless_step_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let pack = concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/hostile");
    let build = ["plugin", "build", pack, "--wasm", "--profile=dev", "--yes", "--json"];
    let built: serde_json::Value =
        serde_json::from_slice(&retort(&build, dir.path()).stdout).unwrap();
    let loss = format!("--loss={}#endless", built["packs"][0]["path"].as_str().unwrap());
    let args = ["train", "source", "--device=cpu", "--epochs=1", "--set=limits.seconds=600"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(args).args([&loss, "--out=run"]).current_dir(dir.path());
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(child.try_wait().unwrap().is_none(), "it must be at work");
    let asked = std::time::Instant::now();
    let told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("error: at set-up: endless was stopped"), "{text}");
}
