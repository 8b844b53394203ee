//! What an experiment names, each with options of its own: found by name, refused with the words that were
//! typed, recorded whole, and read from runs of older versions.

use crate::program::retort;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const TINY: &[&str] = &[
    "train",
    "source",
    "--device=cpu",
    "--loss=proxy_anchor",
    "--set=data.classes=16",
    "--set=data.images=8",
    "--width=4",
    "--embedding=8",
    "--epochs=1",
    "--batch=16",
    "--json",
];

fn train(more: &[&str], dir: &Path) -> Output {
    retort(&[TINY, more].concat(), dir)
}

fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{text}");
    text.lines().rfind(|line| line.starts_with("error: ")).unwrap_or(&text).to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn what_a_network_a_data_set_or_a_part_does_not_have_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("wide.toml"),
        "loss = [{ name = \"proxy_anchor\" }]\n[network]\nname = \"resnet18\"\nwidth = 8\n",
    )
    .unwrap();
    std::fs::write(
        dir.path().join("fewer.toml"),
        "loss = [{ name = \"proxy_anchor\" }]\n[data]\nname = \"omniglot\"\nclasses = 8\n",
    )
    .unwrap();
    for (args, parts) in [
        (&["wide.toml"][..], ["network: resnet18 has no options", "width"]),
        (&["fewer.toml"], ["data: omniglot has no options", "classes"]),
        (&["wide.toml", "--dry-run"], ["network: resnet18 has no options", "The other keys"]),
        (&["--loss=rkd", "--model=resnet18", "--width=4"], ["--width means nothing", "resnet18"]),
        (
            &["--loss=rkd", "--set=data.nmae=glyphs"],
            ["data: glyphs has no option nmae", "name, root"],
        ),
        (
            &["--loss=rkd", "--set=network.widht=4"],
            ["convnet has no option widht", "did you mean width?"],
        ),
        (&["--loss=rkd", "--optimizer=adma"], ["no optimiser \"adma\"", "did you mean adam?"]),
        (&["--loss=rkd", "--schedule=cosin"], ["no schedule \"cosin\"", "did you mean cosine?"]),
        (&["--loss=rkd", "--sampler=balance"], ["no sampler \"balance\"", "balanced, random"]),
        (
            &["--loss=rkd", "--augmentation=resize,flip"],
            ["augmentation", "no augmentation \"flip\""],
        ),
        (
            &["--loss=rkd", "--optimizer=sgd", "--epsilon=1"],
            ["optimizer: sgd has no option epsilon", "momentum"],
        ),
        (
            &["--loss=rkd", "--set=train.optimizer.beta1=0.5"],
            ["no option beta1", "did you mean beta_1?"],
        ),
        (
            &["--loss=rkd", "--set=train.optimizer.beta_1=1.5"],
            ["beta_1 = 1.5 is out of range", "0 to 0.999999"],
        ),
        (
            &["--loss=rkd", "--set=train.schedule.every=3"],
            ["schedule: cosine has no options", "every"],
        ),
        (
            &["--loss=rkd", "--schedule=cosine", "--lr-decay-step=3"],
            ["--lr-decay-step", "--schedule step"],
        ),
        (&["--loss=rkd", "--set=train.optimizer=3"], ["neither a name nor a table", "optimizer"]),
        (&["--loss=rkd", "--lr=inf"], ["--lr", "finite"]),
    ] {
        let text =
            String::from_utf8(retort(&[&["train", "target"], args].concat(), dir.path()).stderr)
                .unwrap();
        for part in parts {
            assert!(text.contains(part), "{args:?}: no {part:?} in: {text}");
        }
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "a refused training left a folder"
    );
}

#[test]
fn a_run_records_every_option_and_repeats_it() {
    let dir = tempfile::tempdir().unwrap();
    let said =
        ["--optimizer=sgd", "--set=train.optimizer.momentum=0.5", "--lr-decay-step=1", "--out=run"];
    done(&train(&said, dir.path()));
    let config: toml::Value = toml::from_str(&read(&dir.path().join("run/config.toml"))).unwrap();
    let config = serde_json::to_value(config).unwrap();
    assert_eq!(
        config["train"]["optimizer"],
        json!({"name": "sgd", "momentum": 0.5, "nesterov": true})
    );
    assert_eq!(config["train"]["schedule"], json!({"name": "step", "every": 1, "gamma": 0.5}));
    assert_eq!(config["network"]["width"], 4);
    assert_eq!((&config["data"]["classes"], &config["data"]["seed"]), (&json!(16), &json!(0)));
    let again = ["train", "source", "run/config.toml", "--device=cpu", "--out=again"];
    assert!(retort(&again, dir.path()).status.success());
    let bytes =
        |run: &str| std::fs::read(dir.path().join(run).join("checkpoint.safetensors")).unwrap();
    assert_eq!(bytes("run"), bytes("again"));
    // An option that is the default is the same training; another isn't.
    let train = |out: &str, more: &[&str]| {
        let out = format!("--out={out}");
        done(&train(&[&["--optimizer=sgd", &*out][..], more].concat(), dir.path()));
    };
    train("plain", &[]);
    train("same", &["--set=train.optimizer.momentum=0.9"]);
    train("other", &["--set=train.optimizer.nesterov=false"]);
    assert_eq!(bytes("plain"), bytes("same"));
    assert_ne!(bytes("plain"), bytes("other"));
}

#[test]
fn augmentations_are_chosen_in_the_experiment() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("chosen.toml"),
        "[data]\nclasses = 16\nimages = 8\n[network]\nwidth = 4\nembedding = 8\n[train]\nepochs = 1\nbatch = 16\n\
         augmentation = [\"random_resized_crop\", { name = \"random_affine\", rotate = 45 }]\n\
         [[loss]]\nname = \"proxy_anchor\"\n",
    )
    .unwrap();
    let train = |out: &str, more: &[&str]| {
        let out = format!("--out={out}");
        let args = [&["train", "source", "chosen.toml", "--device=cpu", &*out], more].concat();
        assert!(retort(&args, dir.path()).status.success(), "{more:?}");
        std::fs::read(dir.path().join(&out[6..]).join("checkpoint.safetensors")).unwrap()
    };
    let chosen = train("chosen", &[]);
    assert_eq!(chosen, train("again", &["--workers=3"]), "the workers change the pictures");
    assert_ne!(chosen, train("less", &["--augmentation=random_resized_crop"]));
    // What none of them resizes is made the network's size.
    train("moved", &["--augmentation=random_crop_flip", "--set=data.size=40"]);
}

#[test]
fn parts_are_listed_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let all = done(&retort(&["parts", "--json"], dir.path()));
    for (key, name) in [
        ("train.optimizer", "rmsprop"),
        ("train.schedule", "constant"),
        ("train.sampler", "super_class"),
        ("train.augmentation", "random_affine"),
        ("metric", "map_at_r"),
    ] {
        let found = |part: &Value| part["key"] == key && part["name"] == name && part["doc"] != "";
        assert!(all["parts"].as_array().unwrap().iter().any(found), "{key} {name}");
    }
    let one = retort(&["parts", "rmsprop"], dir.path());
    let text = String::from_utf8(one.stdout).unwrap();
    assert!(text.contains("Tieleman") && text.contains("alpha") && text.contains("0.9"), "{text}");
    assert!(error(&retort(&["parts", "rmsprob"], dir.path())).contains("did you mean rmsprop?"));
}

/// A run as retort 0.1 wrote it before options had tables of their own.
fn make_older(run: &Path) {
    let older = |train: &mut Value, network: &mut Value| {
        let train = train.as_object_mut().unwrap();
        train.insert("optimizer".to_owned(), json!("adamw"));
        train.insert("schedule".to_owned(), json!("step"));
        train.insert("sampler".to_owned(), json!("balanced"));
        for (key, value) in
            [("epsilon", json!(1e-8)), ("lr_decay_step", json!(10)), ("lr_decay_gamma", json!(0.5))]
        {
            train.insert(key.to_owned(), value);
        }
        for new in ["augmentation", "evaluation_batch", "detect_anomaly"] {
            train.remove(new);
        }
        network["name"] = json!("convnet");
    };
    let path = run.join("config.toml");
    let mut config: Value = toml::from_str(&read(&path)).unwrap();
    let (mut train, mut network) = (config["train"].take(), config["network"].take());
    older(&mut train, &mut network);
    (config["train"], config["network"]) = (train, network);
    std::fs::write(&path, toml::to_string(&config).unwrap()).unwrap();
    let path = run.join("run.json");
    let mut info: Value = serde_json::from_str(&read(&path)).unwrap();
    let config = &mut info["config"];
    let (mut train, mut network) = (config["train"].take(), config["network"].take());
    older(&mut train, &mut network);
    config["data"]["train_classes"] = Value::Null;
    (config["train"], config["network"]) = (train, network);
    std::fs::write(&path, info.to_string()).unwrap();
}

#[test]
fn runs_of_older_versions_are_read_and_go_on() {
    let dir = tempfile::tempdir().unwrap();
    done(&train(&["--schedule=step", "--out=run"], dir.path()));
    let run = dir.path().join("run");
    let whole = std::fs::read(run.join("checkpoint.safetensors")).unwrap();
    make_older(&run);
    let shown = retort(&["runs", "show", "run", "--json"], dir.path());
    assert_eq!(done(&shown)["state"], "complete");
    assert!(retort(&["evaluate", "run", "--device=cpu"], dir.path()).status.success());
    // It has ended, so what is left to say is that, and not that its settings have changed.
    let again = retort(&["train", "resume", "run", "--device=cpu"], dir.path());
    assert!(error(&again).contains("is complete"), "{}", error(&again));
    assert_eq!(std::fs::read(run.join("checkpoint.safetensors")).unwrap(), whole);
}

#[test]
fn sizes_of_memory_have_one_spelling() {
    let dir = tempfile::tempdir().unwrap();
    done(&train(&["--cache=1.5gb", "--out=run"], dir.path()));
    for size in ["1.5gb", "1.5 GB", "1500000000", "1.5e9", "2GiB"] {
        let memory = format!("--memory={size}");
        let measured = retort(&["evaluate", "run", "--device=cpu", &memory], dir.path());
        assert!(measured.status.success(), "{size}: {}", error(&measured));
    }
    for (size, part) in [("3furlongs", "8GiB or 500MB"), ("-1", "8GiB"), ("1e300", "8GiB")] {
        let memory = format!("--memory={size}");
        let refused = retort(&["evaluate", "run", "--device=cpu", &memory], dir.path());
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains(part), "{size}: {text}");
    }
    assert!(error(&train(&["--cache=3furlongs", "--out=x"], dir.path())).contains("8GiB or 500MB"));
}

#[test]
fn a_network_that_diverged_is_seen_in_its_step_whatever_the_loss_says_of_it() {
    let dir = tempfile::tempdir().unwrap();
    // No pair of embeddings that aren't numbers is near or far, so that the loss is 0.
    let wild = ["--loss=multi_similarity", "--lr=1e30", "--set=train.log_every=1"];
    let text = error(&train(&[&wild[..], &["--out=run"]].concat(), dir.path()));
    assert!(text.contains("epoch 1, step 2") && text.contains("diverged"), "{text}");
    // Looking after each step finds it there, too, without a second training.
    let output = train(&[&wild[..], &["--detect-anomaly", "--out=looked"]].concat(), dir.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("repeating its steps"), "{said}");
    let text = error(&output);
    assert!(text.contains("epoch 1, step") && text.contains("first that isn't finite"), "{text}");
}
