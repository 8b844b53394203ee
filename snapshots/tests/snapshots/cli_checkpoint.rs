//! `retort checkpoint`, and other commands on checkpoints of other origin, as typed.

use crate::program::{error, retort};
use burn::store::bridge;
use retort_core::checkpoint::Weights;
use retort_snapshots::{golden, json};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn success(args: &[&str], dir: &Path) -> Value {
    let output = retort(&[args, &["--json"]].concat(), dir);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The golden checkpoints of networks: path, network, and the embedding's size if there is one.
fn networks() -> Vec<(PathBuf, String, Option<u64>)> {
    let list = json(&golden("checkpoints/checkpoints.json"));
    let files = list["files"].as_array().unwrap().iter();
    let networks = files.filter(|file| file["arch"].is_string()).map(|file| {
        let path = golden(&format!("checkpoints/{}", file["file"].as_str().unwrap()));
        let arch = file["arch"].as_str().unwrap().to_owned();
        (path.canonicalize().unwrap(), arch, file["embedding_size"].as_u64())
    });
    networks.collect()
}

/// A network's values by key.
fn values(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let weights = Weights::read(path).unwrap();
    let bytes = |t| bridge::to_data(t).unwrap().as_bytes().to_vec();
    weights.tensors.iter().map(|(key, tensor)| (key.clone(), bytes(tensor))).collect()
}

/// Runs a command with 3 GB of address space, which a network that a file claims would burst; the message.
fn bounded(args: &[&str], dir: &Path) -> String {
    let begun = std::time::Instant::now();
    let retort = retort_snapshots::retort();
    let output = Command::new("sh")
        .args(["-c", "ulimit -v 3000000; exec \"$0\" \"$@\" --device=cpu"])
        .arg(retort)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{args:?}: {:?} {text}", output.status);
    assert!(!text.contains("a bug in retort"), "{args:?}: {text}");
    assert!(begun.elapsed().as_secs() < 20, "{args:?}: {:?}", begun.elapsed());
    text
}

/// A safetensors file of zeros: keys and shapes; its metadata as JSON.
fn zeros(path: &Path, tensors: &[(&str, &[usize])], retort: Option<&Value>) {
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(k, shape)| {
            ((*k).to_owned(), shape.to_vec(), vec![0; 4 * shape.iter().product::<usize>()])
        })
        .collect();
    let views = data.iter().map(|(key, shape, bytes)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (key.as_str(), view.unwrap())
    });
    let metadata = retort.map(|about| [("retort".to_owned(), about.to_string())].into());
    std::fs::write(path, safetensors::serialize(views, metadata).unwrap()).unwrap();
}

#[test]
fn what_a_file_claims_to_hold_is_compared_before_it_is_built() {
    let dir = tempfile::tempdir().unwrap();
    let (path, at) = (dir.path(), dir.path().join("x.safetensors"));
    let export = &["checkpoint", "export", "x.safetensors", "--out=y.safetensors"];
    let about = |network: Value, image_size: u64| {
        let mut all = serde_json::json!({"name": "convnet", "width": 4, "embedding": 8,
            "l2_norm": true, "channels": 3, "frozen_batch_norm": false});
        all.as_object_mut().unwrap().extend(network.as_object().unwrap().clone());
        serde_json::json!({"format": 1, "network": all, "image_size": image_size, "notes": {}})
    };
    let small: &[(&str, &[usize])] = &[("embedding.weight", &[8, 12])];
    for (claims, size, says) in [
        (serde_json::json!({"width": 4096}), 32, "missing (blocks.0"),
        (
            serde_json::json!({"width": 4096, "embedding": 65536}),
            32,
            "is [8, 12], not [65536, 12288]",
        ),
        (serde_json::json!({"name": "vit_base", "embedding": 65536}), 32, "missing"),
        (serde_json::json!({"name": "resnet101", "embedding": 65536}), 32, "missing"),
        (serde_json::json!({"width": 4097}), 32, "width = 4097 is out of range"),
        (serde_json::json!({"width": u64::MAX}), 32, "width must be a whole number"),
        (serde_json::json!({"width": 0}), 32, "width = 0"),
        (serde_json::json!({"embedding": 1_000_000_000_000_u64}), 32, "out of range"),
        (serde_json::json!({"channels": 1_000_000}), 32, "out of range"),
        (serde_json::json!({"name": "transformer"}), 32, "there is no network \"transformer\""),
        (serde_json::json!({}), 1_000_000_000_000, "its pictures are 1000000000000 pixels wide"),
        (serde_json::json!({}), 0, "its pictures are 0 pixels wide"),
    ] {
        zeros(&at, small, Some(&about(claims.clone(), size)));
        let message = bounded(export, path);
        assert!(message.contains(says), "{claims}: {message}");
        assert!(!path.join("y.safetensors").exists());
    }
    // Of other origin: the first layer tells the width, and the embedding layer its size.
    let wide: &[(&str, &[usize])] =
        &[("blocks.0.conv.weight", &[4096, 3, 3, 3]), ("embedding.weight", &[65_536, 1])];
    zeros(&at, wide, None);
    assert!(bounded(export, path).contains("embedding.weight is [65536, 1], not [65536, 12288]"));
    let afresh = [&export[..], &["--allow-missing=*"]].concat();
    zeros(&at, &wide[..1], None);
    let message = bounded(&afresh, path);
    assert!(message.contains("would start afresh, and no more than 134217728 may"), "{message}");
    let deep: &[(&str, &[usize])] =
        &[("layer1.0.conv1.weight", &[1]), ("embedding.weight", &[65_536, 1])];
    zeros(&at, deep, None);
    assert!(bounded(export, path).contains("retort doesn't have"));
    assert!(bounded(&[&export[..], &["--model=resnet50"]].concat(), path).contains("65536"));
    // A key of wrappers in wrappers, and one longer than any name.
    zeros(&at, &[(&"model.".repeat(40), &[1])], None);
    bounded(export, path);
    zeros(&at, &[(&"model.".repeat(100_000), &[1])], None);
    assert!(bounded(export, path).contains("has 600000 bytes, and may have 256"));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    for name in ["pipe", "pipe.safetensors", "pipe.pth"] {
        assert!(Command::new("mkfifo").arg(path.join(name)).status().unwrap().success());
    }
    std::os::unix::fs::symlink(path.join("pipe"), path.join("link.pth")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path.join("zero.pth")).unwrap();
    std::os::unix::fs::symlink(path.join("loop.pth"), path.join("loop.pth")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path.join("socket.pth")).unwrap();
    for (file, says) in [
        ("pipe", "it is a pipe, not a file"),
        ("pipe.safetensors", "it is a pipe, not a file"),
        ("pipe.pth", "it is a pipe, not a file"),
        ("link.pth", "it is a pipe, not a file"),
        ("zero.pth", "it is a device, not a file"),
        ("socket.pth", "it is a socket, not a file"),
        ("loop.pth", "symbolic links"),
        ("none.pth", "No such file"),
    ] {
        for command in [
            vec!["checkpoint", "info", file],
            vec!["checkpoint", "import", file, "--out=out.safetensors"],
            vec!["evaluate", file, "--dataset=glyphs"],
            vec!["embed", "--checkpoint", file, "--dataset=glyphs", "--out=out.safetensors"],
            vec!["loss", "eval", "rkd", "--input", file],
        ] {
            let message = bounded(&command, path);
            assert!(message.contains(says), "{command:?}: {message}");
            assert!(message.contains(file), "{command:?}: {message}");
        }
    }
}

#[test]
fn info_import_and_export_keep_every_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    for (number, (file, arch, size)) in networks().into_iter().enumerate() {
        let file = file.to_str().unwrap();
        let info = success(&["checkpoint", "info", file], path);
        assert_eq!(info["network"]["name"], arch);
        assert!(info["container"].as_str().unwrap().starts_with("PyTorch "), "{info}");
        let text = String::from_utf8(retort(&["checkpoint", "info", file], path).stdout).unwrap();
        let has = size.map_or("without an embedding layer".to_owned(), |n| {
            format!("with an embedding of {n}")
        });
        assert!(text.contains(&format!("{arch} {has}")), "{text}");

        let out = format!("--out={number}.safetensors");
        let import = ["checkpoint", "import", file, &out];
        let fresh = ["--embedding=16", "--allow-missing=embedding.*"];
        if size.is_none() {
            let message = error(&import, path, 2);
            assert!(message.contains("2 missing (embedding.weight, embedding.bias)"), "{message}");
            assert!(message.contains("--allow-missing 'embedding.*'"), "{message}");
        }
        let import = if size.is_none() { [&import[..], &fresh].concat() } else { import.to_vec() };
        let imported = success(&import, path);
        assert_eq!(imported["network"]["embedding"], size.unwrap_or(16));
        assert!(error(&import, path, 2).contains("is there already"));
        let own = format!("{number}.safetensors");
        let info = success(&["checkpoint", "info", &own], path);
        assert_eq!(
            (&info["container"], &info["network"]["name"]),
            (&"retort".into(), &arch.as_str().into())
        );

        let plain = format!("--out={number}-plain.safetensors");
        success(&["checkpoint", "export", &own, &plain, "--prefix=module.model."], path);
        let exported = path.join(&plain[6..]);
        let info = success(&["checkpoint", "info", exported.to_str().unwrap()], path);
        assert_eq!(
            (&info["container"], &info["prefix"]),
            (&"safetensors".into(), &"module.model.".into())
        );
        let (before, after) = (values(Path::new(file)), values(&exported));
        let mut compared = 0;
        for (key, bytes) in &after {
            match before.get(key) {
                Some(original) => assert!(original == bytes, "{key}"),
                None => assert!(size.is_none() && key.starts_with("embedding."), "{key}"),
            }
            compared += 1;
        }
        let unused = |key: &&String| {
            key.ends_with("num_batches_tracked")
                || ["fc.", "last_linear."].iter().any(|p| key.starts_with(p))
        };
        let lost: Vec<_> =
            before.keys().filter(|k| !after.contains_key(*k) && !unused(k)).collect();
        assert!(lost.is_empty() && compared > 50, "{lost:?}");
        // retort's own file opens as it says, but for what the command line says.
        let flat = format!("--out={number}-flat.safetensors");
        let flat = success(&["checkpoint", "import", &own, &flat, "--l2-norm=false"], path);
        assert_eq!(
            (&imported["network"]["l2_norm"], &flat["network"]["l2_norm"]),
            (&true.into(), &false.into())
        );
        assert!(
            error(&["checkpoint", "import", &own, "--out=x", "--model=convnet"], path, 2)
                .contains(&format!("it holds {arch}, not convnet"))
        );
        // The exported file is a checkpoint like any other.
        let again = format!("--out={number}-again.safetensors");
        success(&["checkpoint", "import", exported.to_str().unwrap(), &again], path);
        assert!(values(&path.join(&again[6..])) == values(&path.join(&own)));
    }
}

#[test]
fn what_does_not_fit_is_listed_with_what_would_help() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let networks = networks();
    let (file, arch, size) = networks.iter().find(|n| n.2.is_some()).unwrap();
    let import = ["checkpoint", "import", file.to_str().unwrap(), "--out=x.safetensors"];
    let typed = |more: &[&str]| error(&[&import[..], more].concat(), path, 2);
    let message = typed(&["--model=resnet50"]);
    assert!(message.contains(&format!("Its keys look like {arch}: --model {arch}")), "{message}");
    assert!(message.contains("missing (") && message.contains(", …)"), "{message}");
    assert!(message.contains("of another shape or type ("), "{message}");
    let message = typed(&["--embedding=7"]);
    assert!(message.contains("2 of another shape or type (embedding.weight is"), "{message}");
    assert!(message.contains(&format!("--embedding {}", size.unwrap())), "{message}");
    let message = typed(&["--allow-missing=embeding.*"]);
    assert!(message.contains("the network doesn't have (embeding.*)"), "{message}");
    let message = typed(&["--model=resnet49"]);
    assert!(message.contains("there is no network \"resnet49\""), "{message}");
    let message = typed(&["--embedding=0"]);
    assert!(message.contains("embedding = 0 is out of range"), "{message}");

    let bytes = std::fs::read(file).unwrap();
    std::fs::write(path.join("cut.pth"), &bytes[..bytes.len() / 3]).unwrap();
    std::fs::write(path.join("evil.pth"), b"cos\nsystem\n(S'touch owned'\ntR.").unwrap();
    for (name, part) in [("cut.pth", "use another copy of it"), ("evil.pth", "call os.system")] {
        for command in ["info", "import"] {
            let message = error(&["checkpoint", command, name], path, 1);
            assert!(message.contains(name) && message.contains(part), "{message}");
        }
        let message = error(&["evaluate", name, "--dataset=glyphs"], path, 1);
        assert!(message.contains(part), "{message}");
    }
    assert!(!path.join("owned").exists());
    assert!(!path.join("x.safetensors").exists());
}

#[test]
fn trainings_and_evaluations_take_them() {
    const TINY: &[&str] = &[
        "--dataset=glyphs",
        "--set=data.classes=8",
        "--set=data.images=4",
        "--epochs=1",
        "--batch=8",
        "--images-per-class=4",
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let networks = networks();
    let (source, _, size) = networks.iter().find(|n| n.2.is_some()).unwrap();
    let source = source.to_str().unwrap();
    let small = ["--width=4", "--embedding=8"];
    let target = ["train", "target", "--loss=rkd", "--source", source, "--out=target"];
    success(&[&target, TINY, &small].concat(), path);
    let config = std::fs::read_to_string(path.join("target/config.toml")).unwrap();
    assert!(config.contains("source = "), "{config}");
    let wrong = ["train", "target", "--loss=rkd", "--source", source, "--source-model=resnet34"];
    let message = error(&[&wrong[..], TINY, &small].concat(), path, 2);
    assert!(
        message.trim_end().ends_with("Its keys look like resnet18: --source-model resnet18"),
        "{message}"
    );

    // Weights to start from: a classifier's, with a new embedding layer.
    let (file, arch, _) = networks.iter().find(|n| n.2.is_none() && n.1 == "resnet18").unwrap();
    let file = file.to_str().unwrap();
    let network = format!("--set=network.name={arch}");
    let start = ["train", "source", "--loss=proxy_anchor", "--pretrained", file];
    let more = [&network, "--embedding=8", "--lr=0", "--out=started"];
    success(&[&start[..], TINY, &more].concat(), path);
    let (before, after) =
        (values(Path::new(file)), values(&path.join("started/checkpoint.safetensors")));
    assert!(before["layer4.1.conv2.weight"] == after["layer4.1.conv2.weight"]);
    let message = error(&[&start[..], TINY, &["--set=network.name=resnet34"]].concat(), path, 2);
    assert!(message.contains("--model resnet18"), "{message}");

    // A run folder whose checkpoint came from elsewhere.
    std::fs::create_dir(path.join("foreign")).unwrap();
    std::fs::copy(path.join("target/config.toml"), path.join("foreign/config.toml")).unwrap();
    success(&["checkpoint", "export", source, "--out=foreign/checkpoint.safetensors"], path);
    let result = success(&["evaluate", "foreign", "--image-size=32"], path);
    assert!(result["recall"]["1"].as_f64().unwrap() > 0.0, "{result}");
    assert_eq!(result["embedding"].as_u64(), *size);
}
