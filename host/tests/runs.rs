//! What trainings leave behind, and the commands that look at it.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

const TINY: &[&str] = &[
    "--device=cpu",
    "--set=data.classes=20",
    "--set=data.images=6",
    "--width=2",
    "--embedding=8",
    "--epochs=4",
    "--batch=16",
    "--images-per-class=4",
    "--loss=proxy_anchor",
    "--json",
];

fn retort(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn train(more: &[&str], dir: &Path) -> Output {
    retort(&[&["train", "source"], TINY, more].concat(), dir)
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text.lines().rfind(|l| l.starts_with("error: ")).unwrap_or(&text).to_owned()
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn runs_are_listed_shown_compared_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(text(&retort(&["runs", "list", "."], dir)), "no runs in .\n");
    json(&train(&["--out=runs/a", "--set=train.evaluate_every=1"], dir));
    json(&train(&["--out=runs/group/b", "--lr=0.01", "--seed=7"], dir));

    let list = json(&retort(&["runs", "list", "--json"], dir));
    let runs = list["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for (run, name) in runs.iter().zip(["runs/a", "runs/group/b"]) {
        assert_eq!(run["run"], name);
        assert_eq!((&run["role"], &run["state"]), (&"source".into(), &"complete".into()));
        assert_eq!((&run["epochs"], &run["of"]), (&4.into(), &4.into()));
        assert_eq!((&run["loss"], &run["dataset"]), (&"proxy_anchor".into(), &"glyphs".into()));
        assert!(run["best"]["recall"].is_number());
    }
    let table = text(&retort(&["runs", "list"], dir));
    let header = table.lines().next().unwrap();
    let columns: Vec<&str> = header.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    assert_eq!(columns, ["RUN", "ROLE", "DATA", "LOSS", "BEST R@1", "STATE", "EPOCHS", "BEGUN"]);
    assert!(table.contains("group/b") && table.contains("4/4"), "{table}");

    let shown = json(&retort(&["runs", "show", "runs/a", "--json"], dir));
    assert_eq!(shown["config"]["train"]["epochs"], 4);
    assert_eq!(shown["summary"]["best"]["selected_on"], "test");
    assert_eq!(shown["info"]["plugins"][0]["loss"], "proxy_anchor");
    assert!(shown["info"]["hardware"]["threads"].is_number());
    // The best epoch is the one with the highest Recall@1 of all that were evaluated.
    let recalls: Vec<f64> = shown["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|line| line["recall"]["1"].as_f64())
        .collect();
    assert_eq!(recalls.len(), 4);
    let most = recalls.iter().copied().fold(0.0, f64::max);
    let best = &shown["summary"]["best"];
    assert_eq!(best["recall"]["1"], most);
    let first = 1 + recalls.iter().position(|&r| r == most).unwrap();
    assert_eq!(best["epoch"], first);
    let shown = text(&retort(&["runs", "show", "runs/a"], dir));
    for part in ["complete, 4/4 epochs", "Recall@1", "[train]", "plugins.0.digest", "▁", "█"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }

    let diff = json(&retort(&["runs", "diff", "runs/a", "runs/group/b", "--json"], dir));
    let keys: Vec<&String> = diff["config"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["seed", "train.evaluate_every", "train.lr"]);
    assert_eq!(diff["config"]["train.lr"], serde_json::json!(["0.002", "0.01"]));
    assert!(diff["run"].as_object().unwrap().contains_key("summary.loss"));
    assert!(!diff["run"].as_object().unwrap().contains_key("plugins.0.digest"));
    let diff = text(&retort(&["runs", "diff", "runs/a", "runs/group/b"], dir));
    assert!(diff.contains("train.lr") && diff.contains("0.01"), "{diff}");
    let none = text(&retort(&["runs", "diff", "runs/a", "runs/a"], dir));
    assert_eq!(none, "the runs don't differ\n");

    assert!(error(&retort(&["runs", "rm", "runs/a"], dir), 2).contains("add --yes"));
    assert!(dir.join("runs/a/checkpoint.safetensors").is_file());
    assert_eq!(text(&retort(&["runs", "rm", "runs/a", "--yes"], dir)), "deleted runs/a\n");
    assert!(!dir.join("runs/a").exists() && dir.join("runs/group/b").exists());
}

#[test]
fn what_is_no_run_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    json(&train(&["--out=group/run", "--set=train.epochs=1"], dir));
    std::fs::write(dir.join("group/notes.txt"), "mine").unwrap();
    let rm = |path: &str| retort(&["runs", "rm", path, "--yes"], dir);
    assert!(error(&rm("group"), 2).contains("group isn't a run"));
    assert!(error(&rm("group/notes.txt"), 2).contains("it is no folder"));
    assert!(error(&rm("missing"), 2).contains("there is no such folder"));
    // One that isn't a run keeps the others too.
    let both = retort(&["runs", "rm", "group/run", "missing", "--yes"], dir);
    assert!(error(&both, 2).contains("missing isn't a run"));
    // A run with another one inside.
    json(&train(&["--out=group/run/inner", "--set=train.epochs=1"], dir));
    assert!(error(&rm("group/run"), 2).contains("holds another run"));
    assert!(dir.join("group/run/inner/run.json").is_file());
    for command in ["show", "rm"] {
        assert!(error(&retort(&["runs", command, "group"], dir), 2).contains("no run.json"));
    }
    assert!(error(&retort(&["runs", "diff", "group/run", "x"], dir), 2).contains("x isn't a run"));
    assert!(error(&retort(&["runs", "list", "nowhere"], dir), 1).contains("nowhere"));

    // A damaged run doesn't hide the others, and can be deleted.
    std::fs::write(dir.join("group/run/inner/config.toml"), "seed = \n").unwrap();
    std::fs::rename(dir.join("group/run/inner"), dir.join("group/inner")).unwrap();
    let list = json(&retort(&["runs", "list", "group", "--json"], dir));
    assert!(list["runs"].as_array().unwrap().iter().any(|r| r["state"] == "complete"));
    let broken = list["runs"].as_array().unwrap().iter().find(|r| r["error"].is_string()).unwrap();
    assert!(broken["error"].as_str().unwrap().contains("config.toml, line 1"), "{broken}");
    assert!(rm("group/inner").status.success());
}

#[test]
fn the_best_epoch_can_be_chosen_on_held_out_classes() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let done = json(&train(&["--out=run", "--select-on=validation"], dir));
    let run = dir.join("run");
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
    for line in ["select_on = \"validation\"", "validation_classes = 0.2", "evaluate_every = 1"] {
        assert!(config.contains(line), "{config}");
    }
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let evaluated: Vec<&Value> = lines.iter().filter(|l| l["recall"].is_object()).collect();
    assert_eq!(evaluated.len(), 4);
    assert!(evaluated.iter().all(|l| l["split"] == "validation"));

    // The best epoch is validation's; its Recall is the test classes'.
    let best = &done["best"];
    assert_eq!(best["selected_on"], "validation");
    let most = evaluated.iter().filter_map(|l| l["recall"]["1"].as_f64()).fold(0.0, f64::max);
    assert_eq!(best["selected_by"], most);
    let chosen = evaluated.iter().find(|l| l["recall"]["1"] == most).unwrap();
    assert_eq!(best["epoch"], chosen["epoch"]);
    let evaluate = |what: &str| -> Value {
        let data = ["--dataset=glyphs", "--device=cpu", "--json"];
        json(&retort(&[&["evaluate", what], &data[..]].concat(), dir))["recall"].clone()
    };
    assert_eq!(evaluate("run"), done["recall"]);
    std::fs::create_dir(dir.join("best")).unwrap();
    std::fs::copy(run.join("config.toml"), dir.join("best/config.toml")).unwrap();
    std::fs::copy(run.join("best.safetensors"), dir.join("best/checkpoint.safetensors")).unwrap();
    assert_eq!(evaluate("best"), best["recall"]);

    // Two of ten classes are held out: 8 proxies.
    let bytes = std::fs::read(run.join("best.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let proxies = file.names().into_iter().find(|n| n.starts_with("loss.0.param.")).unwrap();
    assert_eq!(file.tensor(proxies).unwrap().shape()[0], 8);

    for (set, part) in [
        ("--set=select_on=validation", "set data.validation_classes = 0.2"),
        ("--set=data.validation_classes=0.2", "set select_on = \"validation\""),
        ("--set=select_on=guess", "select_on"),
    ] {
        let message = error(&train(&[set], dir), 2);
        assert!(message.contains(part), "{message}");
    }
    let both = ["--set=select_on=validation", "--set=data.validation_classes=0.9"];
    assert!(error(&train(&both, dir), 1).contains("at least 2"));
}

#[test]
fn checkpoints_are_kept_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let keep = [
        "--out=run",
        "--set=train.epochs=7",
        "--set=train.checkpoint_every=2",
        "--set=train.keep=2",
    ];
    json(&train(&keep, dir));
    let entries = std::fs::read_dir(dir.join("run")).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|n| n.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".safetensors"));
    names.sort();
    let expected = [
        "best.safetensors",
        "checkpoint.safetensors",
        "epoch-0004.safetensors",
        "epoch-0006.safetensors",
    ];
    assert_eq!(names, expected);
    // They hold the network and its losses, and the last one also what its training needs.
    let names = |file: &str| -> Vec<String> {
        let bytes = std::fs::read(dir.join("run").join(file)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<String> = file.names().into_iter().map(ToOwned::to_owned).collect();
        names.sort();
        names
    };
    let (kept, mut last) = (names("epoch-0004.safetensors"), names("checkpoint.safetensors"));
    assert!(last.iter().any(|name| name.starts_with("training.optimizer.")));
    last.retain(|name| !name.starts_with("training."));
    assert_eq!(kept, last);
    let summary = read(&dir.join("run/summary.json"));
    assert_eq!(summary["best"]["epoch"], 7);
}
