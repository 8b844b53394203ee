//! `retort embed`, `search` and `model` as a user types them, on a tiny network.

use crate::program::{json, on_cpu as retort};
use retort_core::metric::{Embeddings, recall_at};
use retort_datasets::{Dataset, Image, Options, Split, open};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn error(output: &Output, code: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(!text.contains("a bug in retort"), "{text}");
    text
}

/// A folder with a trained network, `run`.
fn trained() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "train",
        "source",
        "--loss=proxy_anchor",
        "--out=run",
        "--set=data.classes=16",
        "--set=data.images=6",
        "--width=4",
        "--embedding=8",
        "--epochs=2",
        "--batch=16",
        "--images-per-class=4",
        "--json",
    ];
    json(&retort(&args, dir.path()));
    dir
}

/// The pictures that `run` is tested on.
fn pictures() -> Box<dyn Dataset> {
    let options = Options::default().with("classes", 16).with("images", 6);
    open("glyphs", Split::Test, &options).unwrap()
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let values = |view: &TensorView| -> Vec<f64> {
        let data = view.data();
        match view.dtype() {
            Dtype::F32 => {
                data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
            }
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I64 => {
                data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect()
            }
            other => panic!("{other:?}"),
        }
    };
    parsed.iter().map(|(name, v)| (name.to_owned(), (v.shape().to_vec(), values(&v)))).collect()
}

fn write(path: &Path, name: &str, shape: &[usize], values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
    std::fs::write(path, safetensors::serialize([(name, view)], None).unwrap()).unwrap();
}

/// The first `n` test pictures as `convnet` sees them: `[n, 3, 32, 32]`.
fn normalised(n: usize) -> Vec<f32> {
    let data = pictures();
    let planar = |image: Image| {
        let at = |c: usize, p: usize| image.pixels[p * image.channels + c % image.channels];
        let all = (0..3).flat_map(|c| (0..32 * 32).map(move |p| (c, p)));
        all.map(|(c, p)| (f32::from(at(c, p)) - 127.5) / 63.75).collect::<Vec<f32>>()
    };
    (0..n).flat_map(|i| planar(data.image(i).unwrap())).collect()
}

fn save(path: &Path, picture: &Image) {
    let picture = picture.clone().with_channels(3);
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png")) {
        std::fs::write(path, picture.to_png().unwrap()).unwrap();
    } else {
        std::fs::write(path, picture.to_jpeg(95).unwrap()).unwrap();
    }
}

fn close(a: &[f64], b: &[f64], most: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= most * (1.0 + b.abs()))
}

#[test]
fn raw_input_and_a_data_set_give_the_same_embeddings() {
    let dir = trained();
    let at = |name: &str| dir.path().join(name);
    let n = pictures().len();
    write(&at("images.safetensors"), "images", &[n, 3, 32, 32], &normalised(n));
    let embed = |more: &[&str]| {
        json(&retort(&[&["embed", "--checkpoint=run", "--json"], more].concat(), dir.path()))
    };
    let said = embed(&["--input=images.safetensors", "--out=raw.safetensors", "--batch=5"]);
    assert_eq!(said["pictures"], n);
    embed(&["--dataset=glyphs", "--out=data.safetensors"]);
    embed(&["--out=run.safetensors", "--features", "--batch=1", "--model=convnet"]);
    embed(&["--input=images.safetensors", "--out=wide.safetensors", "--dtype=f64"]);
    let [raw, run, wide] =
        ["raw", "run", "wide"].map(|name| tensors(&at(&format!("{name}.safetensors"))));

    assert_eq!(raw["embeddings"].0, [n, 8]);
    assert_eq!(raw["features.0"].0, [n, 4, 16, 16]);
    assert_eq!(raw["features.4"], raw["pooled"]);
    assert!(!raw.contains_key("labels") && !raw.contains_key("features.5"));
    assert_eq!(run["labels"].0, [n]);
    assert_eq!(run["ids"].1, (0..n).map(|i| i as f64).collect::<Vec<_>>());
    for (name, (shape, values)) in &raw {
        assert_eq!((shape, shape), (&run[name].0, &wide[name].0));
        assert!(close(values, &run[name].1, 1e-5), "{name}");
        assert!(close(values, &wide[name].1, 1e-5), "{name}");
        // 64 bits were computed with, not only written.
        assert!(wide[name].1.iter().any(|&v| f64::from(v as f32) != v), "{name}");
    }
    // A data set of other settings than the run's is another one.
    let data = tensors(&at("data.safetensors"));
    assert_eq!(data.keys().collect::<Vec<_>>(), ["embeddings", "ids", "labels", "pooled"]);

    // Recall@K of the file is what `retort evaluate` says.
    let evaluated = json(&retort(&["evaluate", "run", "--json"], dir.path()));
    let embeddings = Embeddings {
        rows: run["embeddings"].1.iter().map(|&v| v as f32).collect(),
        dim: 8,
        labels: run["labels"].1.iter().map(|&v| v as i64).collect(),
    };
    for (k, recall) in evaluated["recall"].as_object().unwrap() {
        let own = recall_at(&embeddings, &[k.parse().unwrap()], None).unwrap()[0];
        assert!((own - recall.as_f64().unwrap()).abs() < 0.03, "Recall@{k}: {own}, {recall}");
    }
}

#[test]
fn a_folder_of_pictures_is_embedded_in_the_order_of_its_paths() {
    let dir = trained();
    let data = pictures();
    std::fs::create_dir_all(dir.path().join("in/sub")).unwrap();
    for (name, i) in [("sub/a.PNG", 3), ("b.png", 0), ("c.jpeg", 1), ("._b.png", 2)] {
        save(&dir.path().join("in").join(name), &data.image(i).unwrap());
    }
    std::fs::write(dir.path().join("in/notes.txt"), "no picture").unwrap();
    let args = ["embed", "--checkpoint=run", "--input=in", "--out=out.safetensors", "--json"];
    assert_eq!(json(&retort(&args, dir.path()))["pictures"], 3);
    let out = tensors(&dir.path().join("out.safetensors"));
    assert_eq!(out["embeddings"].0, [3, 8]);
    assert!(out.contains_key("features.0") && !out.contains_key("labels"));
    let bytes = std::fs::read(dir.path().join("out.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value =
        serde_json::from_str(&header.metadata().as_ref().unwrap()["retort"]).unwrap();
    let files = about["files"].as_array().unwrap();
    let ends = |i: usize, end: &str| files[i].as_str().unwrap().replace('\\', "/").ends_with(end);
    assert!(ends(0, "in/b.png") && ends(1, "in/c.jpeg") && ends(2, "in/sub/a.PNG"), "{files:?}");

    // Pictures as a data set has them give its embeddings; `c.jpeg` has lost some of its picture.
    assert!(
        retort(&["embed", "--checkpoint=run", "--out=set.safetensors"], dir.path())
            .status
            .success()
    );
    let set = tensors(&dir.path().join("set.safetensors"))["embeddings"].1.clone();
    let got = &out["embeddings"].1;
    assert!(close(&got[..8], &set[..8], 1e-5) && close(&got[16..], &set[24..32], 1e-5));
    assert!(!close(&got[8..16], &set[8..16], 1e-9) && close(&got[8..16], &set[8..16], 0.5));

    // A checkpoint alone knows no data set: the middle of the picture, as is usual for photographs.
    let args =
        ["embed", "--checkpoint=run/checkpoint.safetensors", "--input=in", "--out=m.safetensors"];
    assert!(retort(&args, dir.path()).status.success());
    let middle = &tensors(&dir.path().join("m.safetensors"))["embeddings"];
    assert!(middle.0 == [3, 8] && !close(&middle.1[..8], &set[..8], 1e-2));

    // One of them alone is the same, and a network other sizes than 32 pixels makes no trouble.
    let args =
        ["embed", "--checkpoint=run", "--input=in/sub/a.PNG", "--out=one.safetensors", "--batch=1"];
    assert!(retort(&args, dir.path()).status.success());
    let one = tensors(&dir.path().join("one.safetensors"));
    assert!(close(&one["embeddings"].1, &out["embeddings"].1[16..], 1e-5));
    let large = [&args[..3], &["--out=large.safetensors", "--size=64"]].concat();
    assert!(retort(&large, dir.path()).status.success());
    assert_eq!(tensors(&dir.path().join("large.safetensors"))["features.0"].0, [1, 4, 32, 32]);
}

#[test]
fn wrong_input_gets_one_sentence_and_leaves_nothing() {
    let dir = trained();
    let at = |name: &str| dir.path().join(name);
    write(&at("grey.safetensors"), "images", &[2, 1, 8, 8], &[0.0; 128]);
    write(&at("flat.safetensors"), "images", &[2, 3], &[0.0; 6]);
    write(&at("none.safetensors"), "images", &[0, 3, 8, 8], &[]);
    write(&at("other.safetensors"), "pictures", &[1, 3, 2, 2], &[0.0; 12]);
    write(&at("nan.safetensors"), "images", &[1, 3, 8, 8], &[f32::NAN; 192]);
    std::fs::write(at("broken.safetensors"), "nothing").unwrap();
    std::fs::write(at("broken.png"), "nothing").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    std::fs::create_dir(at("with_pipe")).unwrap();
    save(&at("with_pipe/a.png"), &pictures().image(0).unwrap());
    for name in ["with_pipe/b.png", "pipe.png", "pipe.safetensors", "pipe"] {
        assert!(Command::new("mkfifo").arg(at(name)).status().unwrap().success());
    }
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--input=with_pipe"], 1, "with_pipe/b.png: it is a pipe, not a file"),
        (&["--input=pipe.png"], 1, "it is a pipe, not a file"),
        (&["--input=pipe.safetensors"], 1, "it is a pipe, not a file"),
        (&["--input=/dev/zero"], 1, "it is a device, not a file"),
        (&["--checkpoint=pipe", "--input=a.png"], 2, "--checkpoint"),
        (&["--input=grey.safetensors"], 1, "shape [2, 1, 8, 8]. `images` must be [n, 3, h, w]"),
        (&["--input=flat.safetensors"], 1, "shape [2, 3]"),
        (&["--input=none.safetensors"], 1, "shape [0, 3, 8, 8]"),
        (&["--input=other.safetensors"], 1, "it has no tensor images, but pictures"),
        (&["--input=nan.safetensors"], 1, "the embedding of picture 0 isn't finite"),
        (&["--input=broken.safetensors"], 1, "isn't a whole safetensors file"),
        (&["--input=broken.png"], 1, "broken.png"),
        (&["--input=missing.png"], 1, "missing.png"),
        (&["--input=missing.safetensors"], 1, "missing.safetensors"),
        (&["--input=empty"], 1, "holds no picture"),
        (&["--input=empty", "--dataset=glyphs"], 2, "cannot be used with"),
        (&["--dataset=glyfs"], 2, "did you mean glyphs?"),
        (&["--dataset=omniglot"], 1, "no folder was given"),
        (&["--model=resnet18"], 2, "it holds convnet, not resnet18: leave --model out"),
        (&["--model=resnet19"], 2, "did you mean resnet18?"),
        (&["--dtype=f16"], 2, "f32"),
        (&["--batch=0"], 2, "0 is not in"),
        (&["--size=4"], 2, "4 is not in"),
    ];
    for (args, code, part) in cases {
        let all = [&["embed", "--checkpoint=run", "--out=out.safetensors"], *args].concat();
        let message = error(&retort(&all, dir.path()), *code);
        assert!(message.contains(part), "{args:?}: {message}");
    }
    let args = ["embed", "--checkpoint=broken.safetensors", "--out=out.safetensors"];
    let message = error(&retort(&args, dir.path()), 1);
    assert!(message.contains("isn't a whole safetensors file"), "{message}");
    let args = ["embed", "--checkpoint=run/checkpoint.safetensors", "--out=out.safetensors"];
    let message = error(&retort(&args, dir.path()), 2);
    assert!(message.contains("name it with --dataset"), "{message}");
    let args = ["embed", "--checkpoint=run", "--out=nowhere/out.safetensors"];
    let message = error(&retort(&args, dir.path()), 1);
    assert!(message.contains("can't write nowhere/out.safetensors"), "{message}");
    assert!(!at("out.safetensors").exists());
    let left = std::fs::read_dir(dir.path()).unwrap();
    let left = left.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0, "temporary files stayed");
}

#[test]
fn search_finds_the_query_and_draws_what_it_found() {
    let dir = trained();
    let data = pictures();
    save(&dir.path().join("query.png"), &data.image(5).unwrap());
    let search = |more: &[&str]| {
        json(&retort(&[&["search", "--run=run", "--json"], more].concat(), dir.path()))
    };
    let found = search(&["query.png", "--top=3"]);
    assert_eq!(found["neighbours"].as_array().unwrap().len(), 3);
    let first = &found["neighbours"][0];
    assert_eq!((&first["sample"], &first["right"]), (&Value::from(5), &Value::Null));
    assert!(first["distance"].as_f64().unwrap() < 1e-6);
    assert!((first["cosine"].as_f64().unwrap() - 1.0).abs() < 1e-6);

    // Its class makes neighbours right or wrong; as a sample it isn't its own neighbour.
    let class = &data.classes()[data.labels()[5]];
    let by_class = search(&["query.png", &format!("--class={class}"), "--top=12"]);
    let by_sample = search(&["--sample=5", "--top=11", "--out=sheet.png"]);
    let after = &by_class["neighbours"].as_array().unwrap()[1..];
    let sampled = by_sample["neighbours"].as_array().unwrap();
    for (a, b) in after.iter().zip(sampled) {
        assert_eq!((&a["sample"], &a["right"]), (&b["sample"], &b["right"]));
        let label = data.labels()[a["sample"].as_u64().unwrap() as usize];
        assert_eq!(a["right"], label == data.labels()[5]);
        assert_eq!(a["class"].as_str().unwrap(), data.classes()[label]);
    }
    // Frames: blue around the query, then green or red, ten in a row.
    let sheet = image::open(dir.path().join("sheet.png")).unwrap().into_rgb8();
    assert_eq!(sheet.get_pixel(8, 8).0, [40, 80, 200]);
    for (i, n) in sampled.iter().enumerate() {
        let (x, y) = (8 * 3 + 148 * (1 + i as u32 % 10), 8 + 148 * (i as u32 / 10));
        let frame = if n["right"] == true { [0, 160, 70] } else { [215, 40, 40] };
        assert_eq!(sheet.get_pixel(x, y).0, frame, "neighbour {i}");
    }
    assert!(
        sampled.iter().any(|n| n["right"] == true) && sampled.iter().any(|n| n["right"] == false)
    );

    // Embeddings made before give the same neighbours.
    assert!(
        retort(&["embed", "--checkpoint=run", "--out=e.safetensors"], dir.path()).status.success()
    );
    let again = search(&["--sample=5", "--top=11", "--embeddings=e.safetensors"]);
    let order = |v: &Value| {
        let list = v["neighbours"].as_array().unwrap();
        list.iter().map(|n| n["sample"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(order(&again), order(&by_sample));

    let wrong: &[(&[&str], i32, &str)] = &[
        (&[], 2, "QUERY"),
        (&["missing.png"], 1, "missing.png"),
        (&["query.png", "--sample=1"], 2, "cannot be used with"),
        (&["--sample=1000"], 2, "have numbers from 0 to"),
        (&["--sample=1", "--top=1000"], 2, "--top 1000: it may be 1 to"),
        (&["query.png", "--class=nothing"], 2, "none of the"),
        (&["run"], 2, "is a folder"),
        (
            &["query.png", "--embeddings=run/checkpoint.safetensors"],
            2,
            "wasn't written by `retort embed`",
        ),
    ];
    for (args, code, part) in wrong {
        let all = [&["search", "--run=run"], *args].concat();
        let message = error(&retort(&all, dir.path()), *code);
        assert!(message.contains(part), "{args:?}: {message}");
    }
    // Those of another checkpoint are refused.
    std::fs::create_dir(dir.path().join("other")).unwrap();
    let checkpoint = std::fs::read(dir.path().join("run/checkpoint.safetensors")).unwrap();
    let mut changed = checkpoint;
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(dir.path().join("other/checkpoint.safetensors"), changed).unwrap();
    let args = ["search", "query.png", "--run=other", "--embeddings=e.safetensors"];
    let message = error(&retort(&args, dir.path()), 2);
    assert!(message.contains("of another checkpoint"), "{message}");
}

#[test]
fn model_lists_and_describes_networks() {
    let dir = tempfile::tempdir().unwrap();
    let list = json(&retort(&["model", "list", "--json"], dir.path()));
    for network in list["networks"].as_array().unwrap() {
        assert!(!network["doc"].as_str().unwrap().is_empty(), "{network}");
    }
    let text = retort(&["model", "list"], dir.path()).stdout;
    assert!(String::from_utf8_lossy(&text).contains("vit_small"));

    let args = ["model", "info", "resnet18", "--embedding=1000", "--json"];
    let info = json(&retort(&args, dir.path()));
    // With an embedding of 1000 dimensions it has the parameters of ImageNet's network.
    assert_eq!(info["parameters"], 11_689_512);
    assert_eq!(info["macs"], 1_814_073_344u64);
    let layers = info["layers"].as_array().unwrap();
    assert_eq!(layers[0]["name"], "conv1");
    assert_eq!(layers[0]["output"], serde_json::json!([1, 64, 112, 112]));
    let sum = |key: &str| layers.iter().map(|l| l[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("parameters"), sum("macs")), (11_689_512, 1_814_073_344));
    assert_eq!(info["features"][3], serde_json::json!([1, 512, 7, 7]));

    let text = retort(&["model", "info", "vit_small", "--size=32"], dir.path()).stdout;
    let text = String::from_utf8_lossy(&text);
    for part in ["blocks.11.attn ", "pos_embed", "1x384x2x2", "21,665,664 without"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let cases: &[(&[&str], &str)] = &[
        (&["resnet"], "there is no network \"resnet\"; did you mean resnet18? There are"),
        (&["vit_base", "--size=100"], "multiples of 16; the nearest that work: height 96 or 112"),
        (
            &["bn_inception", "--size=50"],
            "modulo 32 they must be 31 or 0 to 6; the nearest that work: height 38 or 63",
        ),
        (&["resnet18", "--embedding=0"], "embedding = 0 is out of range"),
        (&["resnet18", "--size=0"], "0 is not in"),
    ];
    for (args, part) in cases {
        let message = error(&retort(&[&["model", "info"], *args].concat(), dir.path()), 2);
        assert!(message.contains(part), "{args:?}: {message}");
    }
}

#[test]
fn a_training_says_which_sizes_its_network_takes() {
    let dir = tempfile::tempdir().unwrap();
    let train = |more: &[&str]| {
        let args = ["train", "source", "--loss=proxy_anchor", "--out=run", "--epochs=1"];
        retort(&[&args[..], more].concat(), dir.path())
    };
    let message = error(&train(&["--set=network.name=bn_inception", "--set=data.size=50"]), 2);
    assert!(
        message.contains("the nearest that work: height 38 or 63, width 38 or 63"),
        "{message}"
    );
}
