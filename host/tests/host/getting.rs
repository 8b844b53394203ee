//! The program where there is no clone and no Rust: what it carries, and what it says at once.

use crate::program::json;
use retort_host::plugin::embedded;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in a folder, without a cargo to be found.
fn retort(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retort"));
    command.args(args).current_dir(dir).env("PATH", dir).env_remove("CARGO").env_remove("RUSTC");
    command.output().unwrap()
}

#[test]
fn the_demo_has_its_component_with_it_and_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["demo", "--device=cpu", "--out=demo", "--json"];
    for key in ["data.classes=20", "data.images=8", "train.epochs=1", "train.batch=20"] {
        args.extend(["--set", key]);
    }
    let output = retort(&args, dir.path());
    let result = json(&output);
    let networks = result["networks"].as_array().unwrap();
    let origins: Vec<&str> = networks.iter().map(|n| n["origin"].as_str().unwrap()).collect();
    let said = String::from_utf8_lossy(&output.stderr);
    // A program that was built without Rust's wasm target has none.
    if embedded::component(dir.path()).unwrap().is_none() {
        assert_eq!(origins, ["built in"; 4]);
        assert!(said.contains("no plugins without cargo"), "{said}");
        return;
    }
    assert_eq!(origins, ["built in", "built in", "wasm", "built in"]);
    assert!(said.contains("no native library without cargo"), "{said}");
    let list = |args: &[&str]| json(&retort(args, dir.path()))["losses"].take();
    let component = list(&["loss", "list", "demo/plugins/retort_plugins.wasm", "--json"]);
    assert_eq!(component, list(&["loss", "list", "--json"]));
    // Nothing in it tells who built it where.
    let bytes = std::fs::read(dir.path().join("demo/plugins/retort_plugins.wasm")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_str().unwrap();
    for folder in [root, ".cargo/registry"] {
        let told = bytes.windows(folder.len()).any(|part| part == folder.as_bytes());
        assert!(!told, "{folder} is in the component");
    }
}

#[test]
fn the_suites_are_there_by_name() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("glyphs")).unwrap(); // a folder of data is no suite
    let plan = json(&retort(&["compare", "glyphs", "--dry-run", "--json"], dir.path()));
    // Two seeds, each with a source and three methods.
    assert_eq!(plan["trainings"].as_array().unwrap().len(), 8);
    assert!(plan["folder"].as_str().unwrap().ends_with("runs/suite-glyphs"));

    // A file goes before the suite of its name.
    std::fs::write(dir.path().join("omniglot"), "seeds = [0]\n").unwrap();
    let file = retort(&["compare", "omniglot", "--dry-run"], dir.path());
    assert!(String::from_utf8_lossy(&file.stderr).contains("missing field `dataset`"));

    let unknown = retort(&["compare", "glyfs"], dir.path());
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said.contains("there is no suite glyfs") && said.contains("omniglot"), "{said}");
}

#[test]
fn a_wrong_data_root_is_told_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    // None of these runs, checkpoints and plugins is there: whatever came first would be told.
    let commands: &[&[&str]] = &[
        &["demo", "--dataset=omniglot"],
        &["train", "source", "--dataset=omniglot", "--loss=none.wasm#none"],
        &["train", "target", "--dataset=omniglot", "--loss=rkd", "--source=none"],
        &["evaluate", "none"],
        &["embed", "--checkpoint=none", "--out=out.safetensors"],
        &["search", "--run=none", "--sample=0"],
        &["report", "none"],
        &["data", "check", "omniglot"],
        &["compare", "omniglot"],
    ];
    for command in commands {
        let output = retort(&[command, &["--data-root=nowhere"][..]].concat(), dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
        assert!(said.contains("nowhere") && said.contains("--data-root"), "{command:?}: {said}");
    }
    // A folder that is there but has other files.
    for command in &commands[..3] {
        let output = retort(&[command, &["--data-root=."][..]].concat(), dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("images_background_small1.zip"), "{command:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "something was left");
}

#[test]
fn help_has_common_flags_apart_and_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let help = |args: &[&str]| {
        let output = retort(&[args, &["--help"][..]].concat(), dir.path());
        String::from_utf8(output.stdout).unwrap()
    };
    let text = help(&["train", "target"]);
    let (own, common) = text.split_once("Common flags:").unwrap();
    assert!(common.contains("--json") && common.contains("--device"));
    assert!(!own.contains("\n      --json") && !own.contains("--device <"));
    let words = own.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        "Passes over the training set [default: 20; paper: 90]",
        "Dimensions of the embedding [default: 512]",
        "Learning rate of the network [default: 2e-3; paper: 1e-4]",
        "How parameters are updated: adamw, adam, sgd, rmsprop [default: adamw]",
    ] {
        assert!(words.contains(said), "{said} isn't in {words}");
    }
    // A source's rate falls in steps, as in the authors' code, a target's as a cosine.
    let words = help(&["train", "source"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("over the epochs: cosine, step, constant [default: cosine; paper: step]"),
        "{words}"
    );
}
