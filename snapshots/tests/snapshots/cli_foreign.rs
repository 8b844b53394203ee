//! Commands on checkpoints whose keys don't tell their network, as typed.

use crate::program::{error, retort};
use burn::store::bridge;
use retort_core::checkpoint::Weights;
use retort_snapshots::torch::{Entry, convnet, renamed, saved};
use serde_json::{Value, json};
use std::path::Path;

const TINY: &[&str] = &[
    "--dataset=glyphs",
    "--set=data.classes=8",
    "--set=data.images=4",
    "--epochs=1",
    "--batch=8",
    "--images-per-class=4",
    "--lr=0",
    "--width=2",
];

/// The result, and what was remarked.
fn success(args: &[&str], dir: &Path) -> (Value, String) {
    let output = retort(&[args, &["--json"]].concat(), dir);
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {remarks}");
    (serde_json::from_slice(&output.stdout).unwrap(), remarks)
}

fn value(path: &Path, key: &str) -> Vec<f32> {
    let weights = Weights::read(path).unwrap();
    bridge::to_data(&weights.tensors[key]).unwrap().iter::<f32>().collect()
}

/// Two networks, of which the teacher's embedding layer is called `head`, and a projector.
fn file(dir: &Path) {
    let name =
        |of: &'static str| move |key: &str| format!("{of}.{}", key.replace("embedding", "head"));
    let mut entries = renamed(convnet(5), name("student"));
    entries.extend(renamed(convnet(5), name("teacher")));
    entries.push(Entry::new("teacher.projector.0.weight", &[5, 5]));
    std::fs::write(dir.join("two.pth"), saved("two", &entries, None)).unwrap();
}

const PICKED: [&str; 3] = ["--prefix=teacher", "--map=head=embedding", "--ignore=projector.*"];

#[test]
fn every_command_takes_a_prefix_and_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    file(path);
    let (info, _) = success(&["checkpoint", "info", "two.pth"], path);
    assert_eq!(
        info["networks"],
        json!([{"prefix": "student.", "network": "convnet"}, {"prefix": "teacher.", "network": "convnet"}])
    );
    let text = retort(&["checkpoint", "info", "two.pth"], path).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("convnet behind student., convnet behind teacher.; --prefix shows one"),
        "{text}"
    );
    let (info, _) = success(
        &["checkpoint", "info", "two.pth", "--prefix=student", "--map=head=embedding"],
        path,
    );
    assert_eq!((&info["prefix"], &info["network"]["embedding"]), (&json!("student."), &json!(5)));

    let import = ["checkpoint", "import", "two.pth", "--out=own.safetensors"];
    assert!(error(&import, path, 2).contains("choose one with --prefix"));
    let one = [&import[..], &PICKED[..1]].concat();
    let message = error(&one, path, 2);
    assert!(message.contains("--map 'head=embedding' takes its layer of 5 outputs"), "{message}");
    assert!(message.contains("--ignore 'projector.*'"), "{message}");
    success(&[&import[..], &PICKED].concat(), path);
    let want = &Entry::new("embedding.weight", &[5, 6]).values;
    assert_eq!(&value(&path.join("own.safetensors"), "embedding.weight"), want);
    let message =
        error(&["checkpoint", "import", "own.safetensors", "--out=x", "--prefix=a"], path, 2);
    assert!(message.contains("it is retort's own"), "{message}");
    let message = error(&["checkpoint", "export", "two.pth", "--out=x"], path, 2);
    assert!(
        message.contains("flags of `retort checkpoint import`, whose file can be used here"),
        "{message}"
    );

    let glyphs = ["--dataset=glyphs"];
    let (evaluated, _) = success(&[&["evaluate", "two.pth"], &PICKED[..], &glyphs].concat(), path);
    let (own, _) = success(&[&["evaluate", "own.safetensors"], &glyphs[..]].concat(), path);
    assert_eq!(evaluated["recall"], own["recall"]);
    let embed = ["embed", "--checkpoint", "two.pth", "--out=e.safetensors"];
    success(&[&embed[..], &PICKED, &glyphs].concat(), path);
    assert!(path.join("e.safetensors").exists());
}

#[test]
fn a_training_takes_them_and_its_config_repeats_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    file(path);
    let target = ["train", "target", "--loss=rkd", "--source=two.pth", "--embedding=4"];
    let message = error(&[&target[..], TINY, &["--out=a"]].concat(), path, 2);
    assert!(message.contains("choose one with --source-prefix"), "{message}");
    let of_source =
        ["--source-prefix=teacher", "--source-map=head=embedding", "--source-ignore=projector.*"];
    success(&[&target[..], TINY, &of_source, &["--out=a"]].concat(), path);
    let config = std::fs::read_to_string(path.join("a/config.toml")).unwrap();
    for line in ["[source_keys]", "prefix = \"teacher\"", "map = [\"head=embedding\"]"] {
        assert!(config.contains(line), "{line} in {config}");
    }
    success(&["train", "target", "a/config.toml", "--out=b"], path);
    let [a, b] =
        ["a", "b"].map(|run| std::fs::read(path.join(run).join("checkpoint.safetensors")).unwrap());
    assert!(a == b);
    // The same by --set, which reaches tables that say nothing yet.
    let set = [
        "--set=source_keys.prefix=teacher",
        "--set=source_keys.map=[\"head=embedding\"]",
        "--set=source_keys.ignore=[\"projector.*\"]",
    ];
    success(&[&target[..], TINY, &set, &["--out=c"]].concat(), path);
    assert!(std::fs::read(path.join("c/checkpoint.safetensors")).unwrap() == a);

    let start = ["train", "source", "--loss=proxy_anchor", "--pretrained=two.pth", "--embedding=5"];
    let of_start = ["--pretrained-prefix=student"];
    let message = error(&[&start[..], TINY, &of_start, &["--out=d"]].concat(), path, 2);
    assert!(message.contains("head has 5 dimensions as well"), "{message}");
    let map = "--pretrained-map 'head=embedding' takes its layer of 5 outputs";
    assert!(message.contains(map), "{message}");
    assert!(message.contains("--pretrained-allow-missing 'embedding.*'"), "{message}");
    let map = ["--pretrained-map=head=embedding"];
    success(&[&start[..], TINY, &of_start, &map, &["--out=d"]].concat(), path);
    let checkpoint = path.join("d/checkpoint.safetensors");
    let want = Entry::new("embedding.weight", &[5, 6]).values;
    assert_eq!(value(&checkpoint, "embedding.weight"), want);
    let afresh = ["--pretrained-allow-missing=embedding.*"];
    let (_, remarks) =
        success(&[&start[..], TINY, &of_start, &afresh, &["--out=e"]].concat(), path);
    assert!(
        remarks.contains("two.pth: it has no embedding layer, which starts afresh"),
        "{remarks}"
    );
    assert_ne!(value(&path.join("e/checkpoint.safetensors"), "embedding.weight"), want);

    let idle = ["train", "source", "--loss=proxy_anchor", "--pretrained-prefix=student"];
    let message = error(&[&idle[..], TINY].concat(), path, 2);
    assert!(message.contains("name it with --pretrained"), "{message}");
}

#[test]
fn a_folder_of_hugging_face_stands_wherever_a_run_can() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::fs::create_dir(path.join("hub")).unwrap();
    std::fs::write(path.join("hub/config.json"), "{\"architecture\": \"convnet\"}").unwrap();
    let (first, second) = (&convnet(5)[..10], &convnet(5)[10..]);
    std::fs::write(path.join("hub/pytorch_model-1.bin"), saved("archive", first, None)).unwrap();
    std::fs::write(path.join("hub/pytorch_model-2.bin"), saved("archive", second, None)).unwrap();
    let named = |list: &[Entry], file: &str| -> Vec<(String, Value)> {
        list.iter().map(|e| (e.key.clone(), file.into())).collect()
    };
    let map = [named(first, "pytorch_model-1.bin"), named(second, "pytorch_model-2.bin")].concat();
    let map: serde_json::Map<String, Value> = map.into_iter().collect();
    let index = path.join("hub/pytorch_model.bin.index.json");
    std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    let (info, _) = success(&["checkpoint", "info", "hub"], path);
    assert_eq!(info["network"]["name"], "convnet");
    success(&["evaluate", "hub", "--dataset=glyphs"], path);
    let target = ["train", "target", "--loss=rkd", "--source=hub", "--embedding=4", "--out=run"];
    success(&[&target[..], TINY].concat(), path);
    let run = |dir: &str| -> Value {
        let text = std::fs::read_to_string(path.join(dir).join("run.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    // Its digest is that of all its files.
    let before = run("run")["source"]["digest"].clone();
    let mut other = second.to_vec();
    other[0].values[0] += 1.0;
    std::fs::write(path.join("hub/pytorch_model-2.bin"), saved("archive", &other, None)).unwrap();
    let again = [&target[..5], &["--out=again"]].concat();
    success(&[&again[..], TINY].concat(), path);
    let after = run("again")["source"]["digest"].clone();
    assert!(before.is_string() && before != after, "{before} {after}");
}
