//! Runs whose plugins fail in the middle: the message says where, and what was saved stays.

use crate::program::retort;
use std::path::Path;
use std::process::Command;

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
            // The run says so wherever it is looked at.
            let why = message.strip_prefix("error: ").unwrap();
            let list = retort(&["runs", "list", ".", "--json"], dir.path());
            let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
            assert_eq!(
                (&list["runs"][0]["state"], &list["runs"][0]["failed"]),
                (&"failed".into(), &why.into())
            );
            for args in [&["runs", "list", "."][..], &["runs", "show", "run"]] {
                let shown = retort(args, dir.path());
                let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
                assert!(shown.contains("failed: epoch 2, step "), "{shown}");
            }
        }
    }
}

/// The source line of a formula's nth line that has a text.
fn line_of(file: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots/hostile/src").join(file);
    let source = std::fs::read_to_string(path).unwrap();
    let line = 1 + source.lines().position(|l| l.contains(text)).unwrap();
    format!("src/{file}:{line}")
}

/// A training that diverges names the operation that began it: where the loss isn't finite, and where only
/// its gradient isn't, which the next step's loss tells.
#[test]
fn a_training_that_diverges_names_the_operation_and_its_line() {
    for form in ["native", "wasm"] {
        let (_dir, message) = train("nan", form, "--set=train.log_every=100");
        let at = line_of("nan.rs", ".sqrt()");
        assert!(message.contains("The first that isn't finite: nan: "), "{form}: {message}");
        assert!(message.contains(&at) && message.contains("holds NaN"), "{at}, {form}: {message}");

        let (_dir, message) = train("bare_root", form, "--set=train.log_every=100");
        let (at, part) = (line_of("bare_root.rs", ".sqrt()"), "sqrt of [16, 16, 1] at ");
        let gradient = "the gradient that it gives holds ";
        for part in ["bare_root: ", part, &at, gradient] {
            assert!(message.contains(part), "{part}, {form}: {message}");
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
