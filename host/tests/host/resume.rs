//! Runs that are killed, stopped and gone on with end as if nothing had happened.

use crate::program::json;
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
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

/// Two trainings that begin in one folder at the same moment: one is there whole, the other refused.
#[test]
fn of_two_trainings_in_one_folder_the_first_wins_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let more = |seed| [&["--loss=proxy_anchor", "--epochs=1"][..], &[seed]].concat();
    let seeds = ["--seed=1", "--seed=2"];
    for (seed, out) in seeds.iter().zip(["--out=whole-1", "--out=whole-2"]) {
        json(&retort(&[&training(&more(seed), out)[..], &["--json"]].concat(), dir));
    }
    let run = dir.join("run");
    for round in 0..10 {
        let both = seeds.map(|seed| {
            let mut command = command(&training(&more(seed), "--out=run"), dir);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        });
        let both = both.map(|child| child.wait_with_output().unwrap());
        let won: Vec<usize> = (0..2).filter(|i| both[*i].status.success()).collect();
        let &[winner] = won.as_slice() else { panic!("round {round}: {won:?} won: {both:?}") };
        let said = String::from_utf8_lossy(&both[1 - winner].stderr).into_owned();
        let refused = said.contains("is being trained by process") || said.contains("isn't empty");
        assert!(refused && said.lines().count() == 1, "round {round}: {said}");
        assert_same(&dir.join(format!("whole-{}", winner + 1)), &run);
        std::fs::remove_dir_all(&run).unwrap();
    }

    // One that takes long to set up holds its folder from the beginning.
    let slow = training(&["--loss=proxy_anchor", "--set=network.width=1000"], "--out=run");
    let mut child = start(&slow, dir);
    assert!(wait_for("folder", &mut child, || run.join(".lock").is_file()));
    let second = retort(&training(&more("--seed=1"), "--out=run"), dir);
    let message = error(&second, 1);
    assert!(message.contains(&format!("is being trained by process {}", child.id())), "{message}");
    assert!(!run.join("metrics.jsonl").exists() || child.try_wait().unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A folder whose training was killed before it was a run.
#[test]
fn a_training_killed_at_its_beginning_blocks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let more = ["--loss=proxy_anchor", "--epochs=1"];
    json(&retort(&[&training(&more, "--out=whole")[..], &["--json"]].concat(), dir));
    let run = dir.join("run");
    let unbegun = |config: bool| {
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join(".lock"), "4194304\n").unwrap();
        std::fs::write(run.join(".retort-x1y2z3"), "half").unwrap();
        if config {
            std::fs::write(run.join("config.toml"), "seed = 0\n").unwrap();
        }
    };
    for config in [false, true] {
        unbegun(config);
        let message = error(&retort(&["train", "resume", "run"], dir), 2);
        assert!(message.contains("killed before it had begun. Train into it again with --out run"));
        assert!(error(&retort(&["runs", "rm", "run"], dir), 2).contains("add --yes"));
        assert!(retort(&["runs", "rm", "run", "--yes"], dir).status.success() && !run.exists());
        unbegun(config);
        json(&retort(&[&training(&more, "--out=run")[..], &["--json"]].concat(), dir));
        assert_same(&dir.join("whole"), &run);
        std::fs::remove_dir_all(&run).unwrap();
    }
    // What isn't retort's is refused, and stays as it is.
    for names in [&["config.toml"][..], &[".lock", "notes.txt"], &[".retort-mine"]] {
        std::fs::create_dir(&run).unwrap();
        for name in names {
            std::fs::write(run.join(name), "mine").unwrap();
        }
        assert!(error(&retort(&training(&more, "--out=run"), dir), 2).contains("isn't empty"));
        assert!(error(&retort(&["runs", "rm", "run", "--yes"], dir), 2).contains("no run.json"));
        let left = std::fs::read_dir(&run).unwrap().map(|e| e.unwrap().path());
        let left: Vec<_> = left.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        assert_eq!(left, vec!["mine"; names.len()]);
        std::fs::remove_dir_all(&run).unwrap();
    }

    // Kills in the first moments, where its first files come to be.
    let (mut before, mut after) = (0, 0);
    for moment in 0..14 {
        let mut child = start(&training(&more, "--out=run"), dir);
        wait_for("lock", &mut child, || run.join(".lock").is_file());
        std::thread::sleep(Duration::from_millis(7 * moment));
        child.kill().unwrap();
        child.wait().unwrap();
        if run.join("summary.json").is_file() {
            after += 1;
        } else if run.join("run.json").is_file() {
            json(&retort(&["train", "resume", "run", "--json"], dir));
            after += 1;
        } else {
            json(&retort(&[&training(&more, "--out=run")[..], &["--json"]].concat(), dir));
            before += 1;
        }
        assert_same(&dir.join("whole"), &run);
        std::fs::remove_dir_all(&run).unwrap();
    }
    assert!(before > 0, "no kill came before the run had begun; {after} after");
}

/// A folder is there when its run is, and not before.
#[test]
fn a_set_up_that_fails_leaves_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("broken.safetensors"), "nothing").unwrap();
    std::fs::create_dir(dir.join("mine")).unwrap();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--loss=proxy_ancor"], 2, "proxy_ancor"),
        (&["--loss=proxy_anchor", "--set=alpha=-3"], 2, "alpha"),
        (&["--loss=proxy_anchor", "--dataset=omniglot"], 2, "omniglot has no options"),
        (&["--loss=proxy_anchor", "--set=data.classes=4", "--set=data.images=2"], 2, "recall_at"),
        (
            &[
                "--loss=proxy_anchor",
                "--set=data.classes=4",
                "--set=data.images=2",
                "--set=recall_at=[1]",
            ],
            1,
            "batch",
        ),
        (&["--loss=rkd", "--source=nowhere"], 1, "nowhere"),
        (&["--loss=rkd", "--source=broken.safetensors"], 1, "broken.safetensors"),
        (&["--loss=proxy_anchor", "--pretrained=broken.safetensors"], 1, "broken.safetensors"),
        (&["--loss=rkd"], 2, "this step has no source"),
        (&["--loss=proxy_anchor", "--epochs=18446744073709551615"], 2, "train: epochs"),
    ];
    for (more, code, part) in cases {
        for out in ["--out=new", "--out=a/b/new", "--out=mine", "--runs=fresh"] {
            let message = error(&retort(&training(more, out), dir), *code);
            assert!(message.contains(part), "{more:?}: {message}");
        }
        let mut left: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["broken.safetensors", "mine"], "{more:?}");
        assert_eq!(std::fs::read_dir(dir.join("mine")).unwrap().count(), 0, "{more:?}");
    }
}

/// Links and pipes that somebody left in a folder lead nothing astray.
#[test]
fn nothing_is_written_through_a_link() {
    use std::os::unix::fs::{MetadataExt as _, symlink};
    type Plant = fn(&Path, &Path);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let victim = dir.join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let more = ["--loss=proxy_anchor", "--epochs=2"];
    json(&retort(&[&training(&more, "--out=whole")[..], &["--json"]].concat(), dir));
    let plant: [(&str, Plant); 5] = [
        ("it is a link", |to, at| symlink(to, at).unwrap()),
        ("it is a link", |_, at| symlink("/nowhere/at/all", at).unwrap()),
        ("second name", |to, at| std::fs::hard_link(to, at).unwrap()),
        ("no plain file", |_, at| {
            assert!(Command::new("mkfifo").arg(at).status().unwrap().success());
        }),
        ("directory", |_, at| std::fs::create_dir(at).unwrap()),
    ];
    for (part, plant) in plant {
        let run = dir.join("run");
        std::fs::create_dir(&run).unwrap();
        plant(&victim, &run.join(".lock"));
        let message = error(&retort(&training(&more, "--out=run"), dir), 1);
        assert!(
            message.contains("can't lock the run folder") && message.contains(part),
            "{message}"
        );
        std::fs::remove_dir_all(&run).unwrap();

        // In a run, in the place of every file that a training writes.
        for name in
            [".lock", "metrics.jsonl", "events.out.tfevents.0.retort", "summary.json", "run.json"]
        {
            copy(&dir.join("whole"), &run);
            std::fs::remove_file(run.join("summary.json")).unwrap();
            let _ = std::fs::remove_file(run.join(name));
            plant(&victim, &run.join(name));
            let output = retort(&["train", "resume", "run"], dir);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(matches!(output.status.code(), Some(0..=2)), "{name}, {part}: {said}");
            assert!(!said.contains("a bug in retort"), "{name}, {part}: {said}");
            if output.status.success() {
                let file = run.join(name).symlink_metadata().unwrap();
                assert!(file.is_file() && file.nlink() == 1, "{name}, {part}");
            } else {
                assert!(
                    !name.starts_with("events") || part == "directory",
                    "{name}, {part}: {said}"
                );
            }
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "{name}, {part}");
            retort(&["runs", "list", "."], dir);
            std::fs::remove_dir_all(&run).unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Nobody reads its remarks, or they can't be written: the training goes on to its end.
#[test]
fn progress_is_never_worth_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let more = ["--loss=proxy_anchor", "--epochs=3", "--json"];
    json(&retort(&training(&more, "--out=whole"), dir));
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, broken) = std::io::pipe().unwrap();
    drop(reader);
    for (i, to) in [Stdio::from(full), Stdio::from(broken)].into_iter().enumerate() {
        let out = format!("--out=run-{i}");
        let output = command(&training(&more, &out), dir).stderr(to).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_same(&dir.join("whole"), &dir.join(format!("run-{i}")));
    }
    // One line is read, then nobody is there any more.
    let mut child = command(&training(&more, "--out=run"), dir);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::with_capacity(1, child.stderr.take().unwrap()),
        &mut line,
    )
    .unwrap();
    assert!(line.contains("epoch 1/3"), "{line}");
    assert!(child.wait().unwrap().success());
    assert_same(&dir.join("whole"), &dir.join("run"));
    // An error that can't be told keeps its code.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&["train", "resume", "run"], dir).stderr(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Moments of kills, the same each time.
fn moments() -> impl FnMut(Duration) -> Duration {
    let mut random = 0x9e37_79b9_u64;
    move |below| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        below.mul_f64((random >> 33) as f64 / f64::from(1_u32 << 31))
    }
}

/// Runs a command, and kills it with all that it started, after a while.
fn killed(command: &mut Command, after: Duration) {
    use std::os::unix::process::CommandExt as _;
    let mut child =
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    child.wait().unwrap();
}

/// An export that is killed leaves a whole file or none, and what was there before; again it gives the
/// same bytes.
#[test]
fn exports_that_are_killed_are_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    source(dir);
    // `checkpoint export` replaces nothing; the others do.
    let exports: [(&str, &[&str]); 3] = [
        ("x.safetensors", &["checkpoint", "export", "source", "--out"]),
        (
            "e.safetensors",
            &["embed", "--checkpoint=source", "--dataset=glyphs", "--features", "--out"],
        ),
        ("r.html", &["report", "source", "--device=cpu", "--out"]),
    ];
    let mut moment = moments();
    for (name, args) in exports {
        let args = |to: &'static str| [args, &[to]].concat();
        let (out, old) = (dir.join(name), b"what was there before".to_vec());
        let begun = Instant::now();
        let output = command(&args(name), dir).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let (whole, took) = (std::fs::read(&out).unwrap(), begun.elapsed());
        for round in 0..8 {
            if round % 2 == 0 {
                std::fs::remove_file(&out).unwrap();
            } else {
                std::fs::write(&out, &old).unwrap();
            }
            killed(&mut command(&args(name), dir), moment(took));
            match std::fs::read(&out) {
                Ok(bytes) => assert!(bytes == whole || round % 2 == 1 && bytes == old, "{name}"),
                Err(_) => assert!(round % 2 == 0, "{name}: what was there is lost"),
            }
            if args(name)[0] == "checkpoint" {
                let _ = std::fs::remove_file(&out);
            }
            let again = command(&args(name), dir).output().unwrap();
            assert!(again.status.success(), "{name}: {}", String::from_utf8_lossy(&again.stderr));
            assert!(std::fs::read(&out).unwrap() == whole, "{name}: other bytes");
        }
    }
}

/// A build that is killed, cargo too, leaves whole plugins or none, and what was there before; the next one
/// works.
#[test]
fn builds_that_are_killed_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let pack = concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/hostile");
    let build = |out: &str| {
        let (out, args) = (format!("--out={out}"), ["plugin", "build", pack, "--profile=dev"]);
        command(&[&args[..], &["--native", "--yes", "--json", &out]].concat(), dir)
    };
    let files = |out: &str| -> BTreeMap<OsString, Vec<u8>> {
        let entries = std::fs::read_dir(dir.join(out)).into_iter().flatten().map(|e| e.unwrap());
        let named = entries.filter(|e| !e.file_name().to_string_lossy().starts_with('.'));
        named.map(|e| (e.file_name(), std::fs::read(e.path()).unwrap())).collect()
    };
    json(&build("warm").output().unwrap());
    let begun = Instant::now();
    json(&build("warm").output().unwrap());
    let (took, whole) = (begun.elapsed(), files("warm"));
    assert_eq!(whole.len(), 1);
    let mut moment = moments();
    for round in 0..8 {
        let new = format!("out-{round}");
        for out in ["warm", &new] {
            killed(&mut build(out), moment(took));
            let left = files(out);
            assert!(left.len() == 1 || out == new, "{out}: what was there is lost");
            assert!(left.iter().all(|(name, bytes)| whole[name] == *bytes), "{out}");
        }
        json(&build(&new).output().unwrap());
        assert!(files(&new) == whole, "the same source, the same plugins");
    }
}

/// Whatever a killed process left in the cache of compiled components, the loss is the same.
#[test]
fn caches_that_are_killed_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let pack = concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/hostile");
    let args =
        ["plugin", "build", pack, "--profile=dev", "--wasm", "--yes", "--json", "--out=warm"];
    json(&retort(&args, dir));
    let wasm = std::fs::read_dir(dir.join("warm")).unwrap().map(|e| e.unwrap().path());
    let wasm = wasm.into_iter().find(|path| path.extension().is_some_and(|e| e == "wasm")).unwrap();
    let load = |cache: &str| {
        let mut command =
            command(&["loss", "info", &format!("{}#good", wasm.display()), "--json"], dir);
        command.env("RETORT_CACHE", dir.join(cache));
        command
    };
    let mut moment = moments();
    let begun = Instant::now();
    let wanted = json(&load("cache-whole").output().unwrap());
    let took = begun.elapsed();
    for round in 0..8 {
        let cache = format!("cache-{round}");
        killed(&mut load(&cache), moment(took));
        killed(&mut load(&cache), moment(took));
        for _ in 0..2 {
            assert_eq!(json(&load(&cache).output().unwrap()), wanted);
        }
    }
}
