//! A run keeps the plugins it trained with, and neither repeats nor goes on with others of their names.

use retort_snapshots::{load_paths, retort};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TINY: &[&str] = &[
    "--device=cpu",
    "--set=data.classes=12",
    "--set=data.images=6",
    "--set=data.size=16",
    "--width=4",
    "--embedding=8",
    "--epochs=2",
    "--batch=12",
    "--images-per-class=4",
];

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(retort()).args(args).current_dir(dir).output().unwrap()
}

fn said(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

/// The files of a folder's folder `plugins`.
fn plugins(run: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(run.join("plugins")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_run_keeps_its_plugins_and_refuses_others_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let file = |pack: &str, loss: &str, kind: &str| {
        let paths = load_paths(pack, loss).into_iter();
        let (_, name) = paths.into_iter().find(|(k, _)| *k == kind).unwrap();
        PathBuf::from(name.split('#').next().unwrap())
    };
    let [pack, other] = ["plugins", "snapshots/hostile"];
    let [pack, other] = [file(pack, "contrastive", "wasm"), file(other, "good", "wasm")];
    std::fs::copy(&pack, path.join("pack.wasm")).unwrap();
    let line =
        [&["train", "source"], TINY, &["--loss=pack.wasm#contrastive", "--out=run"]].concat();
    said(&run(path, &line), 0);

    let run_dir = path.join("run");
    let kept = plugins(&run_dir);
    assert_eq!(kept.len(), 1);
    assert_eq!(std::fs::read(&kept[0]).unwrap(), std::fs::read(&pack).unwrap());
    let digest = kept[0].file_stem().unwrap().to_str().unwrap().to_owned();
    let config = std::fs::read_to_string(run_dir.join("config.toml")).unwrap();
    assert!(config.contains(&format!("digest = \"sha256:{digest}\"")), "{config}");

    // With the same file it repeats.
    let repeat = ["train", "source", "run/config.toml", "--device=cpu", "--out=again"];
    said(&run(path, &repeat), 0);
    let bytes = |run: &str| std::fs::read(path.join(run).join("checkpoint.safetensors")).unwrap();
    assert!(bytes("run") == bytes("again"), "the same file gives the same bytes");

    // With another one of its name it doesn't, nor without one.
    std::fs::copy(&other, path.join("pack.wasm")).unwrap();
    let repeat = ["train", "source", "run/config.toml", "--device=cpu", "--out=third"];
    for remove in [false, true] {
        if remove {
            std::fs::remove_file(path.join("pack.wasm")).unwrap();
        } else {
            // Another loss of the same name would be as wrong.
            let renamed = config.replace("#contrastive", "#good");
            std::fs::write(path.join("renamed.toml"), renamed).unwrap();
            let line = ["train", "source", "renamed.toml", "--device=cpu", "--out=third"];
            let message = said(&run(path, &line), 2);
            assert!(
                message.contains("pack.wasm isn't the file that this experiment names"),
                "{message}"
            );
        }
        let message = said(&run(path, &repeat), 2);
        assert!(message.contains(&format!("plugins/{digest}.wasm")), "{message}");
        assert!(!path.join("third").exists());
    }

    // The copy is what it was.
    let copy = format!("run/plugins/{digest}.wasm#contrastive");
    let config = config.replace("pack.wasm#contrastive", &copy);
    std::fs::write(path.join("copy.toml"), config).unwrap();
    let line = ["train", "source", "copy.toml", "--device=cpu", "--out=fourth"];
    said(&run(path, &line), 0);
    assert!(bytes("run") == bytes("fourth"), "the kept file gives the same bytes");
    // A run with what is linked in keeps nothing.
    let line = [&["train", "source"], TINY, &["--loss=contrastive", "--out=linked"]].concat();
    said(&run(path, &line), 0);
    assert!(!path.join("linked/plugins").exists());
}

#[test]
fn a_run_does_not_go_on_with_another_plugin_of_the_same_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let mut forms = load_paths("plugins", "contrastive");
    let (_, wasm) = forms.pop().unwrap();
    let wasm = wasm.split('#').next().unwrap();
    std::fs::copy(wasm, path.join("pack.wasm")).unwrap();
    let line =
        [&["train", "source"], TINY, &["--loss=pack.wasm#contrastive", "--out=run"]].concat();
    said(&run(path, &line), 0);
    // As if it had been killed before its end.
    std::fs::remove_file(path.join("run/summary.json")).unwrap();
    // A custom section more: another file that computes the same.
    let mut bytes = std::fs::read(wasm).unwrap();
    bytes.extend([0, 2, 1, b'x']);
    std::fs::write(path.join("pack.wasm"), &bytes).unwrap();
    let message = said(&run(path, &["train", "resume", "run"]), 2);
    assert!(message.contains("plugins.0.digest was"), "{message}");
    said(&run(path, &["train", "resume", "run", "--allow-changed"]), 0);
    assert_eq!(plugins(&path.join("run")).len(), 2, "both files that it was trained with");
}
