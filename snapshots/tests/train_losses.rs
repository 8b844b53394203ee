//! Trainings with several losses, and with losses that aren't defined on some batches.
#![allow(clippy::unwrap_used, reason = "tests")]

use retort_snapshots::{retort, tensors};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

/// Small enough for a second on the CPU.
const DATA: &str = "[data]\nname = \"glyphs\"\nsize = 16\nclasses = 12\nimages = 6\n\
                    [network]\nwidth = 4\nembedding = 8\n";

fn train(dir: &Path, text: &str, out: &str, more: &[&str]) -> Output {
    std::fs::write(dir.join("experiment.toml"), text).unwrap();
    let args = ["--device=cpu", "train", "target", "experiment.toml", "--json", "--out", out];
    Command::new(retort()).args(args).args(more).current_dir(dir).output().unwrap()
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("run/metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn several_losses_are_summed_with_their_weights_and_logged_apart() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = "[train]\nepochs = 1\nbatch = 12\nlog_every = 1\n";
    let base = format!("{DATA}{recipe}[[loss]]\nname = \"proxy_anchor\"\n");
    let made = train(dir.path(), &base, "source", &[]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let losses = "[[loss]]\nname = \"attention\"\nweight = 100.0\n\
                  [[loss]]\nname = \"proxy_anchor\"\nweight = 0.5\nmargin = 0.2\n\
                  [[loss]]\nname = \"fitnet\"\n\
                  [[loss]]\nname = \"crd\"\nnegatives = 16\ndim = 8\n\
                  [[loss]]\nname = \"proxy_anchor\"\nweight = 0.25\n";
    let made = train(dir.path(), &format!("{DATA}{recipe}{losses}"), "run", &["--source=source"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let first = &lines(dir.path())[0];
    let term = |name: &str| first["terms"][name].as_f64().unwrap_or_else(|| panic!("{first}"));
    let sum = 100.0 * term("attention")
        + 0.5 * term("proxy_anchor")
        + term("fitnet")
        + term("crd")
        + 0.25 * term("proxy_anchor_2");
    let loss = first["loss"].as_f64().unwrap();
    assert!((loss - sum).abs() < 1e-4 * sum.abs(), "{loss} isn't {sum}");

    // Parameters and buffers of every loss are in the checkpoint.
    let saved = tensors(&dir.path().join("run/checkpoint.safetensors"));
    for part in ["proxies", "transform.0.weight", "embed_target.weight", "memory_source"] {
        assert!(saved.keys().any(|k| k.ends_with(part)), "{part}: {:?}", saved.keys());
    }
}

#[test]
fn a_loss_that_is_undefined_ends_the_training_or_is_skipped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    // Batches of four of twelve classes without regard to class: some have no positive pair.
    let text = |policy: &str| {
        format!(
            "{DATA}[train]\nepochs = 4\nbatch = 3\nimages_per_class = 0\non_undefined = \
             \"{policy}\"\n[[loss]]\nname = \"circle\"\n"
        )
    };
    let ended = train(dir.path(), &text("error"), "ended", &[]);
    let message = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{message}");
    assert!(message.contains("circle isn't defined on this batch: no two samples"), "{message}");
    let went_on = train(dir.path(), &text("skip"), "run", &[]);
    let message = String::from_utf8(went_on.stderr).unwrap();
    assert!(went_on.status.success(), "{message}");
    let result: Value = serde_json::from_slice(&went_on.stdout).unwrap();
    let skipped = result["skipped"].as_u64().unwrap();
    assert!(skipped > 0, "{result}");
    assert!(message.contains(&format!("{skipped} times a loss was left out")), "{message}");
    let summary = std::fs::read_to_string(dir.path().join("run/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["skipped"], result["skipped"]);
    assert!(summary["steps"].as_u64().unwrap() > skipped, "some batches have pairs");
    let wrong = train(dir.path(), &text("ignore"), "wrong", &[]);
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{message}");
    assert!(message.contains("on_undefined") || message.contains("ignore"), "{message}");
}
