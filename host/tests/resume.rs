//! Runs that are killed, stopped and gone on with end as if nothing had happened.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "tests")]

use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const TINY: &[&str] = &[
    "--device=cpu",
    "--set=data.classes=16",
    "--set=data.images=8",
    "--width=2",
    "--embedding=8",
    "--batch=16",
    "--images-per-class=4",
    "--set=train.log_every=3",
    "--set=train.evaluate_every=2",
];

fn command(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command
}

fn retort(args: &[&str], dir: &Path) -> Output {
    command(args, dir).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The message of a failed command.
fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text.lines().rfind(|l| l.starts_with("error: ")).unwrap_or(&text).to_owned()
}

fn training<'a>(more: &[&'a str], out: &'a str) -> Vec<&'a str> {
    [&["train", "target"], TINY, more, &[out]].concat()
}

fn source(dir: &Path) {
    let args = ["train", "source", "--loss=proxy_anchor", "--out=source", "--epochs=1", "--json"];
    json(&retort(&[&args[..], TINY].concat(), dir));
}

/// A process with nothing to say.
fn start(args: &[&str], dir: &Path) -> Child {
    command(args, dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(what: &str, child: &mut Child, mut there: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !there() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begun.elapsed() < Duration::from_mins(2), "no {what} after two minutes");
        std::thread::sleep(Duration::from_micros(300));
    }
    true
}

/// What a killed process left half written.
fn torn(run: &Path) -> bool {
    let entries = std::fs::read_dir(run).unwrap().map(|e| e.unwrap().file_name());
    entries.into_iter().any(|name| name.to_string_lossy().starts_with(".retort-"))
}

/// Every file that has its name is whole.
fn assert_whole(run: &Path) {
    for entry in std::fs::read_dir(run).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.extension().and_then(|e| e.to_str()) {
            _ if name.starts_with('.') => {}
            Some("safetensors") => drop(SafeTensors::deserialize(&bytes).unwrap()),
            Some("json") => drop(serde_json::from_slice::<Value>(&bytes).unwrap()),
            _ => {}
        }
    }
}

/// All that two runs must have in common: every checkpoint's bytes, and the metrics without times.
fn assert_same(a: &Path, b: &Path) {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|n| n.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(a), names(b));
    for name in names(a).iter().filter(|n| n.ends_with(".safetensors")) {
        let bytes = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
        assert!(bytes(a) == bytes(b), "{name} differs");
    }
    let metrics = |dir: &Path| -> Vec<Value> {
        let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
        let mut lines: Vec<Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        for line in &mut lines {
            for time in ["time", "seconds", "images_per_second"] {
                line.as_object_mut().unwrap().remove(time);
            }
        }
        lines
    };
    assert_eq!(metrics(a), metrics(b));
    let records = |dir: &Path| events(&dir.join("events.out.tfevents.0.retort"));
    assert_eq!(records(a), records(b), "TensorBoard's records");
    let summary = |dir: &Path| -> Value {
        let text = std::fs::read_to_string(dir.join("summary.json")).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
        value
    };
    assert_eq!(summary(a), summary(b));
}

/// Records of an event file, which must be whole.
fn events(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut count) = (&bytes[..], 0);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        rest = &rest[8 + 4 + length + 4..];
        count += 1;
    }
    count
}

/// Kills a run again and again, at random moments and whenever a file is half written, and goes on
/// with it each time.
#[test]
fn fifty_kills_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    source(dir);
    let more = [
        "--source=source",
        "--loss=crd",
        "--loss=proxy_anchor",
        "--epochs=10",
        "--set=train.checkpoint_steps=1",
        "--set=train.checkpoint_every=2",
        "--set=train.keep=2",
    ];
    json(&retort(&[&training(&more, "--out=whole")[..], &["--json"]].concat(), dir));
    let run = dir.join("run");
    let mut random = 0x9e37_79b9_u64;
    let mut random = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (random >> 33) % below
    };

    let (mut kills, mut torn_kills, mut ends) = (0, 0, 0);
    let mut resumes = false;
    while kills < 50 || torn_kills < 10 || ends == 0 {
        let begin = training(&more, "--out=run");
        let args = if resumes { vec!["train", "resume", "run"] } else { begin };
        let goal = if resumes { step_of(&run) } else { 0 } + 1 + random(3);
        let mut child = start(&args, dir);
        // Before it is a run, there is nothing to go on with.
        let mut alive = wait_for("run", &mut child, || run.join("run.json").is_file());
        // Every fifth one while it is still taking up the run; the others get a few steps further.
        if alive && kills % 5 < 4 {
            alive = wait_for("progress", &mut child, || step_of(&run) >= goal);
        }
        if alive && random(3) > 0 {
            wait_for("file being written", &mut child, || torn(&run));
        } else if alive {
            std::thread::sleep(Duration::from_millis(random(30)));
        }
        child.kill().unwrap();
        let killed = child.wait().unwrap().code().is_none();
        assert_whole(&run);
        kills += usize::from(killed);
        torn_kills += usize::from(killed && torn(&run));
        resumes = !run.join("summary.json").is_file();
        if !resumes {
            // It came to its end, maybe in the moment before the kill.
            assert_same(&dir.join("whole"), &run);
            std::fs::remove_dir_all(&run).unwrap();
            ends += 1;
        }
    }
    println!("{kills} kills, {torn_kills} of them with a file half written; {ends} runs ended");
    if resumes {
        json(&retort(&["train", "resume", "run", "--json"], dir));
        assert!(!torn(&run), "half-written files are cleared away");
        assert_same(&dir.join("whole"), &run);
    }
}

/// Everything that has a state: losses' parameters, buffers and draws, optimisers, averages, samplers,
/// the choice of the best epoch.
#[test]
fn every_kind_of_state_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    source(dir);
    let trainings: [&[&str]; 4] = [
        &[
            "--source=source",
            "--loss=crd",
            "--loss=crd_batch",
            "--loss=fitnet",
            "--loss=vid",
            "--loss=embedding_regression",
            "--loss=proxy_anchor",
            "--views=2",
        ],
        &[
            "--loss=soft_triple",
            "--set=train.optimizer=sgd",
            "--set=train.ema_decay=0.9",
            "--set=train.new_only_epochs=1",
            "--set=train.warmup_epochs=2",
            "--set=network.frozen_batch_norm=true",
            "--chunks=2",
        ],
        &[
            "--loss=triplet",
            "--set=train.optimizer=rmsprop",
            "--set=train.precision=f64",
            "--set=train.images_per_class=0",
            "--set=train.on_undefined=skip",
            "--set=train.workers=2",
            "--set=train.clip_value=0.1",
        ],
        &[
            "--loss=proxy_nca",
            "--select-on=validation",
            "--set=train.optimizer=adam",
            "--set=train.schedule=step",
            "--set=train.patience=1",
            "--also-on=cpu",
            "--set=train.checkpoint_every=1",
            "--set=train.keep=2",
        ],
    ];
    for (i, more) in trainings.iter().enumerate() {
        let steps = [*more, &["--epochs=4", "--set=train.checkpoint_steps=1"]].concat();
        let (whole, part) = (format!("--out=whole-{i}"), format!("--out=part-{i}"));
        json(&retort(&[&training(&steps, &whole)[..], &["--json"]].concat(), dir));
        let run = dir.join(format!("part-{i}"));
        let mut child = start(&training(&steps, &part), dir);
        // In the middle of the first epoch, of a later one, and so on.
        for step in [2, 6, 11] {
            if !wait_for("checkpoint", &mut child, || step_of(&run) >= step) {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            child = start(&["train", "resume", &format!("part-{i}")], dir);
        }
        assert!(child.wait().unwrap().success() || run.join("summary.json").is_file());
        assert_same(&dir.join(format!("whole-{i}")), &run);
    }
}

/// The step of a run's last checkpoint; 0 before the first.
fn step_of(run: &Path) -> u64 {
    let Ok(bytes) = std::fs::read(run.join("checkpoint.safetensors")) else { return 0 };
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["retort"]).unwrap();
    about["training"]["step"].as_u64().unwrap()
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let more = ["--loss=proxy_anchor", "--epochs=12"];
    json(&retort(&[&training(&more, "--out=whole")[..], &["--json"]].concat(), dir));
    let run = dir.join("run");
    let mut stopping = command(&training(&more, "--out=run"), dir);
    let mut child = stopping.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let metrics = run.join("metrics.jsonl");
    let begun = wait_for("metrics", &mut child, || metrics.metadata().is_ok_and(|m| m.len() > 0));
    assert!(begun, "it ended before it could be stopped");
    let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let output = child.wait_with_output().unwrap();
    assert!(error(&output, 130).contains("`retort train resume run` goes on"));
    let summary = std::fs::read_to_string(run.join("summary.json")).unwrap();
    assert!(summary.contains("\"interrupted\": true"), "{summary}");
    let listed = json(&retort(&["runs", "list", ".", "--json"], dir));
    let states: Vec<&Value> =
        listed["runs"].as_array().unwrap().iter().map(|r| &r["state"]).collect();
    assert_eq!(states, ["interrupted", "complete"]);

    // From another folder too.
    let elsewhere = dir.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    json(&retort(&["train", "resume", "../run", "--json"], &elsewhere));
    assert_same(&dir.join("whole"), &run);
    let info: Value =
        serde_json::from_str(&std::fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    assert_eq!(info["resumed"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_go_on_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let resume = |args: &[&str]| retort(&[&["train", "resume"], args].concat(), dir);
    assert!(error(&resume(&["nowhere"]), 2).contains("there is no such folder"));
    std::fs::create_dir(dir.join("empty")).unwrap();
    assert!(error(&resume(&["empty"]), 2).contains("isn't a run: it has no run.json"));

    source(dir);
    let more = ["--source=source", "--loss=proxy_anchor", "--loss=rkd", "--epochs=2"];
    json(&retort(&[&training(&more, "--out=run")[..], &["--json"]].concat(), dir));
    let message = error(&resume(&["run"]), 2);
    assert!(message.contains("run is complete, after 2 epochs"), "{message}");

    let edit = |file: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        assert!(text.contains(from), "{from} isn't in {text}");
        std::fs::write(dir.join(file), text.replacen(from, to, 1)).unwrap();
    };
    // A plugin, a setting and the source that aren't what they were.
    edit("run/run.json", "sha256:", "sha256:0");
    let message = error(&resume(&["run"]), 2);
    assert!(message.contains("plugins.0.digest was sha256:0"), "{message}");
    assert!(message.contains("--allow-changed"), "{message}");
    edit("run/run.json", "sha256:0", "sha256:");
    let kept = std::fs::read(dir.join("source/checkpoint.safetensors")).unwrap();
    std::fs::copy(dir.join("source/best.safetensors"), dir.join("source/checkpoint.safetensors"))
        .unwrap();
    assert!(error(&resume(&["run"]), 2).contains("source.digest was sha256:"));
    std::fs::write(dir.join("source/checkpoint.safetensors"), kept).unwrap();
    edit("run/config.toml", "epochs = 2", "epochs = 4");
    let message = error(&resume(&["run"]), 2);
    assert!(message.contains("config.train.epochs was 2, is 4"), "{message}");
    edit("run/config.toml", "epochs = 4", "epohcs = 4");
    assert!(error(&resume(&["run"]), 2).contains("run/config.toml"));
    edit("run/config.toml", "epohcs = 4", "epochs = 4");

    // Longer than planned, because the user says so; the run says so too.
    let done = json(&resume(&["run", "--allow-changed", "--json"]));
    assert!(done["recall"]["1"].is_number());
    let info = std::fs::read_to_string(dir.join("run/run.json")).unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["resumed"][0]["changed"][0][0], "config.train.epochs");
    let metrics = std::fs::read_to_string(dir.join("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().filter(|l| l.contains("mean_loss")).count(), 4);

    // Damaged and foreign checkpoints; what is there stays.
    std::fs::remove_file(dir.join("run/summary.json")).unwrap();
    let file = dir.join("run/checkpoint.safetensors");
    let good = std::fs::read(&file).unwrap();
    for (bytes, part) in [
        (good[..good.len() / 2].to_vec(), "isn't a whole safetensors file"),
        (std::fs::read(dir.join("run/best.safetensors")).unwrap(), "no state of a training"),
        (std::fs::read(dir.join("source/checkpoint.safetensors")).unwrap(), "had 1 losses"),
    ] {
        std::fs::write(&file, &bytes).unwrap();
        let message = error(&resume(&["run"]), 1);
        assert!(message.contains(part), "{message}");
        assert!(std::fs::read(&file).unwrap() == bytes);
        assert_eq!(std::fs::read_to_string(dir.join("run/metrics.jsonl")).unwrap(), metrics);
    }
    std::fs::write(&file, &good).unwrap();
    json(&resume(&["run", "--json"]));
    assert!(std::fs::read(&file).unwrap() == good, "its end is computed anew, and the same");
}

#[test]
fn one_process_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let more = ["--loss=proxy_anchor", "--epochs=100000"];
    let mut child = start(&training(&more, "--out=run"), dir);
    let checkpoint = dir.join("run/checkpoint.safetensors");
    assert!(wait_for("checkpoint", &mut child, || checkpoint.is_file()));
    let message = error(&retort(&["train", "resume", "run"], dir), 1);
    assert!(message.contains(&format!("is being trained by process {}", child.id())), "{message}");
    let listed = json(&retort(&["runs", "list", ".", "--json"], dir));
    assert_eq!(listed["runs"][0]["state"], "running");
    assert!(error(&retort(&["runs", "rm", "run", "--yes"], dir), 2).contains("is being trained"));
    child.kill().unwrap();
    child.wait().unwrap();
    let listed = json(&retort(&["runs", "list", ".", "--json"], dir));
    assert_eq!(listed["runs"][0]["state"], "interrupted");
}

/// Files from before hyperparameters had a table of their own, and before all limits were there.
#[test]
fn a_run_of_an_older_file_is_the_same_run() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["train", "source", "--loss=proxy_anchor", "--epochs=1", "--out=run", "--json"];
    let sets = ["--set=alpha=16", "--set=loss.0.hyper.margin=0.2", "--set=loss.0.weight=0.5"];
    json(&retort(&[&args[..], TINY, &sets].concat(), dir.path()));
    let (config, info) = (dir.path().join("run/config.toml"), dir.path().join("run/run.json"));
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("\n[loss.hyper]\nalpha = 16.0\nmargin = 0.2\n"), "{text}");
    let old: Vec<&str> = text
        .lines()
        .filter(|line| *line != "[loss.hyper]" && !line.starts_with("compile_seconds"))
        .collect();
    std::fs::write(&config, old.join("\n")).unwrap();
    let mut value: Value = serde_json::from_slice(&std::fs::read(&info).unwrap()).unwrap();
    let limits = value["config"]["limits"].as_object_mut().unwrap();
    assert!(limits.remove("compile_seconds").is_some());
    let loss = value["config"]["loss"][0].as_object_mut().unwrap();
    let Some(Value::Object(hyper)) = loss.remove("hyper") else { panic!("no table") };
    loss.extend(hyper);
    std::fs::write(&info, value.to_string()).unwrap();

    let resume = || error(&retort(&["train", "resume", "run"], dir.path()), 2);
    assert!(resume().contains("is complete, after 1 epochs"), "{}", resume());
    let copy = ["train", "source", "run/config.toml", "--print-config", "--json"];
    let read = json(&retort(&copy, dir.path()));
    assert_eq!(read["loss"][0]["hyper"], serde_json::json!({"alpha": 16.0, "margin": 0.2}));
    assert_eq!(read["loss"][0]["weight"], 0.5);
    // What differs is still found, and a key that is there twice refused.
    std::fs::write(&config, old.join("\n").replace("margin = 0.2", "margin = 0.3")).unwrap();
    assert!(resume().contains("loss.0.hyper.margin was 0.2, is 0.3"), "{}", resume());
    std::fs::write(&config, format!("{}\n[loss.hyper]\nalpha = 1.0\n", old.join("\n"))).unwrap();
    let message = resume();
    assert!(message.contains("alpha") && message.contains("config.toml"), "{message}");
}
