//! Trainings as a user types them, on tiny settings.

use crate::program::{json, retort};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TINY: &[&str] = &[
    "--device=cpu",
    "--set=data.classes=16",
    "--set=data.images=8",
    "--width=4",
    "--embedding=8",
    "--epochs=2",
    "--batch=16",
    "--images-per-class=4",
    "--json",
];

fn train(more: &[&str], dir: &Path) -> Output {
    retort(&[&["train", more[0]], TINY, &more[1..]].concat(), dir)
}

/// The last line of a failed command's messages.
fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("panicked at") || text.contains("the plugin panicked"), "{text}");
    let line = text.lines().rfind(|l| l.starts_with("error: ")).unwrap_or(&text);
    line.to_owned()
}

fn source(dir: &Path) -> Value {
    json(&train(&["source", "--loss=proxy_anchor", "--out=source"], dir))
}

#[test]
fn a_run_leaves_all_that_is_needed_to_know_and_repeat_it() {
    let dir = tempfile::tempdir().unwrap();
    let result = source(dir.path());
    let run = dir.path().join("source");
    let read = |name: &str| std::fs::read_to_string(run.join(name)).unwrap();

    let info: Value = serde_json::from_str(&read("run.json")).unwrap();
    assert_eq!(info["plugins"][0]["loss"], "proxy_anchor");
    assert!(info["plugins"][0]["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(info["interface"], 1);
    let lines: Vec<Value> =
        read("metrics.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["recall"], result["recall"]);
    assert!(lines[0]["terms"]["proxy_anchor"].is_number());

    // The resolved configuration gives the same run again, bit for bit.
    let again = ["train", "source", "source/config.toml", "--device=cpu", "--json", "--out=again"];
    json(&retort(&again, dir.path()));
    let bytes = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert!(bytes("source/checkpoint.safetensors") == bytes("again/checkpoint.safetensors"));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    source(dir.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(["train", "source", "source/config.toml", "--device=cpu", "--out=one"]);
    command.args(["--set=train.workers=3"]).env("RAYON_NUM_THREADS", "1");
    let output = command.current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert!(bytes("source/checkpoint.safetensors") == bytes("one/checkpoint.safetensors"));
}

#[test]
fn evaluate_gives_the_numbers_of_the_training_again() {
    let dir = tempfile::tempdir().unwrap();
    let trained = source(dir.path());
    let evaluated = json(&retort(&["evaluate", "source", "--device=cpu", "--json"], dir.path()));
    assert_eq!(evaluated["recall"], trained["recall"]);
}

#[test]
fn a_target_learns_from_a_source() {
    let dir = tempfile::tempdir().unwrap();
    source(dir.path());
    for loss in ["relaxed_contrastive", "rkd"] {
        let result = json(&train(
            &["target", "--source=source", &format!("--loss={loss}"), &format!("--out={loss}")],
            dir.path(),
        ));
        assert!(result["recall"]["1"].is_number());
    }
    let both = [
        "target",
        "--source=source",
        "--loss=relaxed_contrastive",
        "--loss=proxy_anchor",
        "--out=sum",
    ];
    json(&train(&both, dir.path()));
    let metrics = std::fs::read_to_string(dir.path().join("sum/metrics.jsonl")).unwrap();
    let first: Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
    let terms = &first["terms"];
    assert!(terms["relaxed_contrastive"].is_number() && terms["proxy_anchor"].is_number());
}

#[test]
fn losses_that_need_a_source_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let message = error(&train(&["target", "--loss=rkd", "--out=x"], dir.path()), 2);
    assert!(message.contains("this step has no source"), "{message}");
    assert!(message.contains("give one"), "{message}");
}

#[test]
fn wrong_input_gets_one_sentence_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::fs::write(path.join("broken.toml"), "seed = \n").unwrap();
    std::fs::write(path.join("unknown.toml"), "[train]\nepoch = 3\n").unwrap();
    std::fs::write(path.join("broken.safetensors"), "nothing").unwrap();
    let pa = "--loss=proxy_anchor";
    let cases: &[(&[&str], i32, &str)] = &[
        (&["source"], 2, "needs a loss: --loss NAME"),
        (&["source", "--loss=proxy_ancor"], 2, "did you mean proxy_anchor?"),
        (&["source", pa, "--set=alhpa=3"], 2, "did you mean alpha?"),
        (&["source", pa, "--set=alpha=-3"], 2, "alpha = -3 is out of range: above 0"),
        (&["source", pa, "--set=alpha=much"], 2, "alpha must be a number"),
        (&["source", pa, "--dataset=glyfs"], 2, "did you mean glyphs?"),
        (&["source", pa, "--set=train.batch=1000"], 1, "batch"),
        (&["source", pa, "--set=train.images_per_class=9", "--set=train.batch=18"], 1, "images"),
        (&["source", pa, "--set=data.classes=2"], 2, "classes = 2 is out of range"),
        (&["source", pa, "--set=network.name=resnet"], 2, "there is no network \"resnet\""),
        (&["source", pa, "--set=train.epochs=0"], 2, "it must be 1 to 1000000000"),
        (&["source", pa, "--set=train.wings=2"], 2, "wings"),
        (&["source", "broken.toml", pa], 2, "broken.toml"),
        (&["source", "unknown.toml", pa], 2, "unknown field `epoch`"),
        (&["source", "missing.toml", pa], 1, "missing.toml"),
        (&["target", "--loss=rkd", "--source=missing"], 1, "missing"),
        (&["target", "--loss=rkd", "--source=broken.safetensors"], 1, "isn't a whole safetensors"),
    ];
    for (args, code, part) in cases {
        let message = error(&train(args, path), *code);
        assert!(message.contains(part), "{args:?}: {message}");
    }
    let omniglot = ["train", "source", pa, "--dataset=omniglot"];
    let message = error(&retort(&omniglot, path), 1);
    assert!(message.contains("no folder was given"), "{message}");
    let message = error(&retort(&[&omniglot[..], &["--data-root=nowhere"]].concat(), path), 2);
    assert!(message.contains("nowhere"), "{message}");
    let message = error(&retort(&["evaluate", "broken.safetensors", "--dataset=glyphs"], path), 1);
    assert!(message.contains("isn't a whole safetensors file"), "{message}");
    let message = error(&retort(&["devices", "--device=tpu"], path), 2);
    assert!(message.contains("devices are auto, cpu, gpu"), "{message}");
    let left: Vec<PathBuf> = std::fs::read_dir(path.join("runs"))
        .map(|entries| entries.map(|e| e.unwrap().path()).collect())
        .unwrap_or_default();
    for run in left {
        assert!(!run.join("checkpoint.safetensors").exists(), "{}", run.display());
    }
}

#[test]
fn a_run_never_overwrites_another() {
    let dir = tempfile::tempdir().unwrap();
    source(dir.path());
    let message = error(&train(&["source", "--loss=proxy_anchor", "--out=source"], dir.path()), 2);
    assert!(message.contains("isn't empty"), "{message}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_after_saving() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(["train", "source", "--loss=proxy_anchor", "--out=run"]).args(TINY);
    command.args(["--set=train.epochs=100000", "--set=train.log_every=1"]);
    command.current_dir(dir.path());
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let checkpoint = dir.path().join("run/checkpoint.safetensors");
    while !checkpoint.exists() {
        assert!(child.try_wait().unwrap().is_none(), "ended before its first checkpoint");
        std::thread::yield_now();
    }
    let stopped = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    json(&retort(&["evaluate", "run", "--device=cpu", "--json"], dir.path()));
}

#[test]
fn networks_that_compute_in_16_bits_learn_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let train = |precision: &str, more: &[&str]| {
        let (set, out) = (
            format!("--set=train.precision={precision}"),
            format!("--out={precision}{}", more.len()),
        );
        let args = [&["source", "--loss=proxy_anchor", &set, &out], more].concat();
        let loss = json(&train(&args, dir.path()))["loss"].as_f64().unwrap();
        (loss, std::fs::read(dir.path().join(&out[6..]).join("checkpoint.safetensors")).unwrap())
    };
    let (full, weights) = train("f32", &[]);
    for (precision, most) in [("mixed_f16", 0.02), ("mixed_bf16", 0.05)] {
        let (half, others) = train(precision, &[]);
        assert!((half / full - 1.0).abs() < most, "{precision}: {half} instead of {full}");
        assert!(half != full && others != weights, "{precision} changed nothing");
        // The checkpoint has the same tensors in 32 bits.
        let same = |bytes: &[u8]| {
            let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap();
            let mut list: Vec<String> = tensors
                .iter()
                .map(|(n, t)| format!("{n} {:?} {:?}", t.dtype(), t.shape()))
                .collect();
            list.sort();
            list
        };
        assert_eq!(same(&weights), same(&others));
        let (chunks, _) = train(precision, &["--chunks=2"]);
        assert!((chunks / full - 1.0).abs() < 2.0 * most, "{precision} in parts: {chunks}");
    }
    let output = retort(
        &["train", "source", "--loss=proxy_anchor", "--set=train.precision=f8", "--device=cpu"],
        dir.path(),
    );
    let message = error(&output, 2);
    assert!(message.contains("mixed_f16"), "{message}");
}

/// Numbers beyond all sense are told in one sentence that names their key, before anything is allocated.
#[test]
fn numbers_beyond_all_sense_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let million: Vec<String> = (1..=1_000_000).map(|k| k.to_string()).collect();
    std::fs::write(path.join("ks.toml"), format!("recall_at = [{}]", million.join(","))).unwrap();
    std::fs::write(path.join("nan.toml"), "[train]\nlr = nan\n").unwrap();
    std::fs::write(path.join("inf.toml"), "[train]\nlr = inf\n").unwrap();
    std::fs::write(path.join("weight.toml"), "[[loss]]\nname = \"proxy_anchor\"\nweight = nan\n")
        .unwrap();
    std::fs::write(path.join("limit.toml"), "[limits]\nseconds = nan\n").unwrap();
    let cases: &[(&[&str], &str)] = &[
        (
            &["--epochs=18446744073709551615"],
            "train: epochs = 18446744073709551615: it must be 1 to 1000000000",
        ),
        (&["--epochs=0"], "train: epochs = 0: it must be 1 to"),
        (&["--views=1000000000000"], "train: views = 1000000000000"),
        (&["--batch=18446744073709551615"], "train: batch = 18446744073709551615"),
        (
            &["--batch=1000000", "--views=1000"],
            "a batch would have 3072000000000 bytes of pictures",
        ),
        (&["--images-per-class=18446744073709551615"], "train: images_per_class"),
        (&["--chunks=18446744073709551615"], "train: chunks"),
        (&["--workers=1000000"], "train: workers = 1000000: it must be 0 to 1000"),
        (&["--warm=18446744073709551615"], "train: new_only_epochs"),
        (&["--patience=18446744073709551615"], "train: patience"),
        (&["--lr-decay-step=0"], "every = 0 is out of range"),
        (&["--set=train.log_every=0"], "train: log_every = 0"),
        (&["--set=train.log_every=18446744073709551615"], "train: log_every"),
        (&["--set=train.checkpoint_steps=18446744073709551615"], "train: checkpoint_steps"),
        (&["--set=train.checkpoint_every=18446744073709551615"], "train: checkpoint_every"),
        (&["--set=train.warmup_epochs=18446744073709551615"], "train: warmup_epochs"),
        (&["--set=train.keep=18446744073709551615"], "train: keep"),
        (&["--set=train.evaluate_every=18446744073709551615"], "train: evaluate_every"),
        (&["--set=train.epochs=-1"], "train.epochs"),
        (&["--set=train.epochs=1e30"], "train.epochs"),
        (&["--lr=nan"], "--lr: train.lr must be a finite number"),
        (&["--lr=inf"], "--lr: train.lr must be a finite number"),
        (&["--lr=nan", "--set=train.epochs=2"], "train.lr must be a finite number"),
        (&["--lr=-1"], "train: lr = -1"),
        (&["nan.toml"], "train: lr = NaN"),
        (&["inf.toml"], "train: lr = inf"),
        (&["weight.toml"], "loss.0.weight = NaN"),
        (&["--ema-decay=1"], "train: ema_decay = 1"),
        (&["--set=recall_at=[]"], "recall_at has 0 entries"),
        (&["--set=recall_at=[0]"], "recall_at = 0"),
        (&["--set=recall_at=[1,1000000000000000000]"], "recall_at = 1000000000000000000"),
        (&["ks.toml"], "recall_at has 1000000 entries"),
        (&["--set=limits.seconds=-1"], "limits.seconds = -1"),
        (&["--set=limits.seconds=1e300"], "limits.seconds = 1"),
        (&["limit.toml"], "limits.seconds = NaN"),
        (
            &["--set=limits.held_bytes=18446744073709551615"],
            "limits.held_bytes = 18446744073709551615",
        ),
        (&["--set=limits.tensor_bytes=-5"], "limits.tensor_bytes"),
        (&["--set=data.size=18446744073709551615"], "data.size = 18446744073709551615"),
        (&["--set=data.size=7"], "data.size = 7"),
        (&["--set=data.size=1024", "--batch=4096"], "a batch would have 12884901888 bytes"),
        (&["--set=data.validation_classes=1e300"], "data.validation_classes"),
        (&["--embedding=4294967296"], "embedding = 4294967296"),
        (&["--embedding=18446744073709551615"], "embedding = 18446744073709551615"),
        (&["--width=18446744073709551615"], "width must be a whole number"),
        (&["--width=0"], "width = 0"),
    ];
    for (args, part) in cases {
        let begun = std::time::Instant::now();
        let file = usize::from(!args[0].starts_with("--"));
        let (file, flags) = args.split_at(file);
        let loss: &[&str] = if file == ["weight.toml"] { &[] } else { &["--loss=proxy_anchor"] };
        let all =
            [&["train", "source"], file, loss, &["--device=cpu", "--out=new"], flags].concat();
        let output = retort(&all, path);
        let message = error(&output, 2);
        assert!(message.contains(part), "{args:?}: {message}");
        assert!(message.len() < 400, "{args:?}: {message}");
        let lines = String::from_utf8_lossy(&output.stderr).lines().count();
        assert!(lines == 1, "{args:?}: {lines} lines");
        assert!(!path.join("new").exists() && begun.elapsed().as_secs() < 20, "{args:?}");
    }
}

#[test]
fn devices_beside_the_first_can_be_set_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let line = ["source", "--loss=proxy_anchor", "--print-config"];
    for more in ["--also-on=cpu,cpu", "--set=also_on=[\"cpu\", \"cpu\"]"] {
        let config = json(&train(&[&line[..], &[more]].concat(), dir.path()));
        assert_eq!(config["also_on"], serde_json::json!(["cpu", "cpu"]), "{more}: {config}");
    }
}

#[test]
fn a_losss_hyperparameters_are_flags_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let line = ["target", "--loss=triplet", "--margin", "0.3", "--loss", "rkd"];
    let line = [&line[..], &["--weight-angle=3", "--source=x", "--print-config"]].concat();
    let config = json(&train(&line, dir.path()));
    assert_eq!(config["loss"][0]["hyper"]["margin"], 0.3);
    assert_eq!(config["loss"][1]["hyper"]["weight_angle"], 3.0);
    assert_eq!(config["train"]["epochs"], 2, "{config}");

    for (flags, part) in [
        (
            "--loss rkd --weight-angel 3",
            "rkd has no hyperparameter weight_angel; did you mean weight_angle?",
        ),
        ("--loss rkd --epoch 3", "or is the flag --epochs meant?"),
        ("--loss rkd --weight-angle x", "weight_angle"),
        ("--loss rkd --weight-angle 1 --weight-angle 2", "--weight-angle is given twice"),
        ("--loss rkd --sigma 1", "rkd has no hyperparameter sigma"),
        ("--sigma 1 --loss rkd", "--sigma means nothing to rkd"),
        ("--loss rkd --source-norm 1", "--source-norm means nothing here: there is no --source"),
        ("--loss rkd --data-root .", "--data-root means nothing here: glyphs needs no files"),
        ("--loss rkd --model resnet18", "--width means nothing here: resnet18 has its own width"),
        ("--loss rkd --schedule cosine --lr-decay-step 3", "--lr-decay-step means nothing"),
        ("--weight-angle 1 --loss rkd", "unexpected argument '--weight-angle'"),
        ("--loss rkd --out x --remark y", "cannot be used with"),
    ] {
        let line: Vec<&str> = flags.split(' ').collect();
        let output = train(&[&["target"], &line[..]].concat(), dir.path());
        let message = error(&output, 2);
        assert!(message.contains(part), "{flags}: {message}");
    }
}

#[test]
fn a_k_that_no_query_has_is_found_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let line = ["source", "--loss=proxy_anchor", "--set=recall_at=[1,64]", "--out=x"];
    let message = error(&train(&line, dir.path()), 2);
    let part = "recall_at has K = 64, but the test split has 64 pictures, 63 beside the query";
    assert!(message.contains(part), "{message}");
    assert!(!dir.path().join("x").exists());
    let held_out = [&line[..], &["--select-on=validation"]].concat();
    let message = error(&train(&held_out, dir.path()), 2);
    assert!(message.contains("the validation split has"), "{message}");
    let line = ["source", "--loss=proxy_anchor", "--set=recall_at=[1,63]", "--out=x"];
    json(&train(&line, dir.path()));
}
