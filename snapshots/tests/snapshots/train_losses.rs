//! Trainings with several losses, and with losses that aren't defined on some batches.

use burn::tensor::TensorData;
use retort_snapshots::{cases, retort, tensors};
use safetensors::{Dtype, tensor::TensorView};
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

/// The log points of a run.
fn lines(run: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["loss"].is_number()).collect()
}

fn close(a: &Value, b: f64) -> bool {
    a.as_f64().is_some_and(|a| (a - b).abs() <= 1e-5 * b.abs())
}

/// Whether the weighted losses of a log point sum to its loss, and their own values lie beside them.
fn adds_up(point: &Value, weights: &[(&str, f64)]) {
    let terms = point["terms"].as_object().unwrap();
    assert_eq!(terms.len(), weights.len(), "{point}");
    assert!(close(&point["loss"], terms.values().filter_map(Value::as_f64).sum()), "{point}");
    for (name, weight) in weights {
        assert!(close(&terms[*name], weight * point["values"][name].as_f64().unwrap()), "{point}");
    }
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
    let weights = [
        ("attention", 100.0),
        ("proxy_anchor", 0.5),
        ("fitnet", 1.0),
        ("crd", 1.0),
        ("proxy_anchor_2", 0.25),
    ];
    let each = lines(&dir.path().join("run"));
    for point in &each {
        adds_up(point, &weights);
    }

    // Between two log points every number is a mean over the same steps, whatever was saved meanwhile.
    let thinly = ["--source=source", "--set=train.log_every=2", "--set=train.checkpoint_every=1"];
    let made = train(dir.path(), &format!("{DATA}{recipe}{losses}"), "thin", &thinly);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let thin = lines(&dir.path().join("thin"));
    adds_up(&thin[0], &weights);
    for (group, name) in weights.iter().flat_map(|(n, _)| [("terms", *n), ("values", *n)]) {
        let mean = |at: usize| each[at][group][name].as_f64().unwrap() / 2.0;
        assert!(close(&thin[0][group][name], mean(0) + mean(1)), "{group} {name}: {}", thin[0]);
    }

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
    // A step without the loss is none of the steps that a log point is a mean of.
    for point in lines(&dir.path().join("run")) {
        adds_up(&point, &[("circle", 1.0)]);
    }
    assert!(summary["steps"].as_u64().unwrap() > skipped, "some batches have pairs");
    let wrong = train(dir.path(), &text("ignore"), "wrong", &[]);
    let message = String::from_utf8(wrong.stderr).unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{message}");
    assert!(message.contains("on_undefined") || message.contains("ignore"), "{message}");
}

#[test]
fn a_source_that_cannot_teach_is_told_before_anything_is_trained() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let nan = cases("teacher_nan.safetensors");
    let text = |loss: &str| {
        format!("{DATA}[train]\nepochs = 1\nbatch = 12\n[[loss]]\nname = \"{loss}\"\n")
    };
    for loss in ["darkrank", "rkd", "pkt", "relaxed_contrastive", "embedding_regression"] {
        let source = format!("--source={}", nan.display());
        let refused = train(path, &text(loss), "run", &[&source, "--set=data.size=32"]);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{loss}: {message}");
        assert!(message.contains("teacher_nan.safetensors can't teach"), "{message}");
        assert!(
            message.contains("12 of the values of its tensor embedding.weight [16, 12]"),
            "{message}"
        );
        assert!(!path.join("run").exists());
    }

    // One whose embeddings are all alike, and one whose numbers overflow.
    let base = train(path, &text("proxy_anchor"), "source", &[]);
    assert!(base.status.success(), "{}", String::from_utf8_lossy(&base.stderr));
    let scaled = |name: &str, factor: f32| {
        let state = tensors(&path.join("source/checkpoint.safetensors"));
        let kept = state.into_iter().filter(|(key, _)| !key.contains("loss"));
        let tensors: Vec<(String, TensorData)> = kept
            .filter(|(key, _)| !key.starts_with("training"))
            .map(|(key, data)| match key.as_str() {
                "embedding.weight" => {
                    let values: Vec<f32> = data.iter::<f32>().map(|x| x * factor).collect();
                    (key, TensorData::new(values, data.shape().to_vec()))
                }
                _ => (key, data),
            })
            .collect();
        let views = tensors.iter().map(|(key, data)| {
            let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
            (key.clone(), view.unwrap())
        });
        std::fs::write(path.join(name), safetensors::serialize(views, None).unwrap()).unwrap();
    };
    scaled("alike.safetensors", 0.0);
    scaled("huge.safetensors", f32::MAX);
    let alike = train(path, &text("pkt"), "alike", &["--source=alike.safetensors"]);
    let message = String::from_utf8(alike.stderr).unwrap();
    assert!(message.contains("embeddings of the first batch are all alike"), "{message}");
    let huge = train(path, &text("pkt"), "huge", &["--source=huge.safetensors", "--source-norm=0"]);
    let message = String::from_utf8(huge.stderr).unwrap();
    assert_eq!(huge.status.code(), Some(2), "{message}");
    assert!(message.contains("huge.safetensors can't teach"), "{message}");
    assert!(message.contains("its weights are, so they are too large"), "{message}");
}

#[test]
fn a_warm_up_in_which_nothing_learns_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let text = |loss: &str| {
        format!(
            "{DATA}[train]\nepochs = 3\nnew_only_epochs = 2\nbatch = 12\n[[loss]]\nname = \"{loss}\"\n"
        )
    };
    for (loss, out, times) in [("proxy_anchor", "source", 0), ("attention", "target", 1)] {
        let source = if times == 0 { &[][..] } else { &["--source=source"] };
        let made = train(path, &text(loss), out, source);
        let message = String::from_utf8(made.stderr).unwrap();
        assert!(made.status.success(), "{message}");
        let said = "nothing that the losses see learns";
        assert_eq!(message.matches(said).count(), times, "{message}");
    }
}
