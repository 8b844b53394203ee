//! The main job, small; and real pictures, whole and damaged.

use crate::program::retort;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The Omniglot zips: in `RETORT_DATA`, or in `../shared/data` beside the workspace.
fn omniglot() -> PathBuf {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let data = std::env::var_os("RETORT_DATA").map_or_else(
        || workspace.join("../shared/data"),
        |path| workspace.join(PathBuf::from(path)),
    );
    let folder = data.join("omniglot");
    assert!(folder.is_dir(), "there is no {}: set RETORT_DATA", folder.display());
    folder.canonicalize().unwrap()
}

#[test]
fn the_demo_compares_four_networks() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["data.classes=20", "data.images=8", "train.epochs=1", "train.batch=20"];
    let mut args = vec!["demo", "--device=cpu", "--seed=3", "--out=demo", "--json"];
    for key in &small {
        args.extend(["--set", key]);
    }
    let output = retort(&args, dir.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["dataset"], &result["seed"]), (&"glyphs".into(), &3.into()));
    let networks = result["networks"].as_array().unwrap();
    let column =
        |key: &str| -> Vec<&str> { networks.iter().map(|n| n[key].as_str().unwrap()).collect() };
    assert_eq!(column("role"), ["source", "target", "target", "target"]);
    assert_eq!(column("loss"), ["proxy_anchor", "proxy_anchor", "relaxed_contrastive", "rkd"]);
    assert_eq!(column("origin"), ["built in", "built in", "wasm", "native"]);
    for network in networks {
        let (run, recall) = (network["run"].as_str().unwrap(), &network["recall"]);
        let evaluated = retort(&["evaluate", run, "--device=cpu", "--json"], dir.path());
        let evaluated: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
        assert_eq!(evaluated["recall"], *recall, "{run}");
        let large = network["role"] == "source";
        assert_eq!(network["embedding_bytes"], if large { 2048 } else { 256 });
        assert!(network["parameters"].as_u64().unwrap() > 1000 && network["seconds"].is_number());
    }
    let report = std::fs::read_to_string(dir.path().join(result["report"].as_str().unwrap()));
    assert!(report.unwrap().contains("target-relaxed_contrastive"));
    let info = std::fs::read_to_string(dir.path().join("demo/target-rkd/run.json")).unwrap();
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["plugins"][0]["origin"], "native");
}

fn train(root: &Path, dir: &Path) -> Output {
    let root = format!("--data-root={}", root.display());
    let args = ["train", "source", "--loss=proxy_anchor", "--dataset=omniglot", &root];
    let tiny = ["--device=cpu", "--width=2", "--embedding=4", "--epochs=1", "--json"];
    retort(&[&args[..], &tiny].concat(), dir)
}

#[test]
fn omniglot_trains_on_five_alphabets_and_tests_on_106_unseen_characters() {
    let dir = tempfile::tempdir().unwrap();
    let output = train(&omniglot(), dir.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = result["run"].as_str().unwrap();
    let evaluated = retort(&["evaluate", run, "--device=cpu", "--json"], dir.path());
    let evaluated: Value = serde_json::from_slice(&evaluated.stdout).unwrap();
    assert_eq!(evaluated["recall"], result["recall"]);
    assert_eq!((&evaluated["classes"], &evaluated["samples"]), (&106.into(), &2120.into()));
}

#[test]
fn missing_and_damaged_pictures_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let message = |root: &Path| {
        let output = train(root, dir.path());
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        text.lines().rfind(|l| l.starts_with("error: ")).unwrap().to_owned()
    };
    let missing = message(&data);
    assert!(missing.contains("images_background_small1.zip"), "{missing}");

    let zips = ["images_background_small1.zip", "images_background_small2.zip"];
    for zip in zips {
        std::fs::copy(omniglot().join(zip), data.join(zip)).unwrap();
    }
    let whole = std::fs::read(data.join(zips[0])).unwrap();
    std::fs::write(data.join(zips[0]), &whole[..whole.len() / 2]).unwrap();
    let cut = message(&data);
    assert!(cut.contains(zips[0]) && cut.contains("damaged or incomplete"), "{cut}");

    // Bytes changed in the middle of the archive: some picture in it doesn't decode any more.
    let mut wrong = whole;
    let middle = wrong.len() / 2;
    wrong[middle..middle + 4000].fill(0);
    std::fs::write(data.join(zips[0]), &wrong).unwrap();
    let damaged = message(&data);
    assert!(damaged.contains(".png") || damaged.contains(zips[0]), "{damaged}");
}
