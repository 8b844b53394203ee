//! Checkpoints of other origin against the golden data: every tensor's bytes, and the embeddings of
//! the networks they hold. Damaged and hostile files get a sentence.

use burn::store::bridge;
use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use retort_core::backbone::{Backbone, NetworkConfig, networks};
use retort_core::checkpoint::{self, OpenOptions, Weights, dtype_name};
use retort_core::trainer::parameter_count;
use retort_host::failure::Failure;
use retort_snapshots::formula::{Images, crc32, parameter};
use retort_snapshots::{cpu, golden, json, tensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

fn list() -> Value {
    json(&golden("checkpoints/checkpoints.json"))
}

fn path(file: &Value) -> PathBuf {
    golden(&format!("checkpoints/{}", file["file"].as_str().unwrap()))
}

fn shape(entry: &Value) -> Vec<usize> {
    entry["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Equal but for the last digit of the JSON's decimals.
fn assert_same(got: &[f64], want: &[f64], key: &str) {
    assert_eq!(got.len(), want.len(), "{key}");
    let apart = got.iter().zip(want).find(|(a, b)| (*a - *b).abs() > 1e-15 * b.abs());
    assert_eq!(apart, None, "{key}");
}

#[test]
fn every_tensor_is_read_bit_for_bit() {
    for file in list()["files"].as_array().unwrap() {
        let weights = Weights::read(&path(file)).unwrap();
        let all: BTreeMap<String, _> = weights
            .tensors
            .iter()
            .map(|(key, tensor)| (format!("{}{key}", weights.prefix), tensor))
            .chain(weights.beside.iter().map(|(key, tensor)| (key.clone(), tensor)))
            .collect();
        // The list's keys are without that of the dictionary around them.
        let find = |key: &str| {
            let found = all.iter().find(|(full, _)| {
                full.strip_suffix(key)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with("dict."))
            });
            *found.unwrap_or_else(|| panic!("{}: no {key}", file["file"])).1
        };
        let mut count = 0;
        for entry in file["tensors"].as_array().into_iter().flatten() {
            count += 1;
            let key = entry["key"].as_str().unwrap();
            let tensor = find(key);
            assert_eq!(tensor.shape.to_vec(), shape(entry), "{key}");
            assert_eq!(dtype_name(tensor.dtype), entry["dtype"], "{key}");
            let data = bridge::to_data(tensor).unwrap();
            let sum = entry["crc32_of_little_endian_bytes"].as_u64().unwrap();
            assert_eq!(u64::from(crc32(data.as_bytes())), sum, "{key}");
            let first: Vec<f64> = data.iter::<f64>().take(3).collect();
            assert_same(&first, &floats(&entry["first3"])[..first.len()], key);
        }
        for (key, entry) in file["expected"].as_object().into_iter().flatten() {
            count += 1;
            let tensor = find(key);
            assert_eq!(tensor.shape.to_vec(), shape(entry), "{key}");
            assert_eq!(dtype_name(tensor.dtype), entry["dtype"], "{key}");
            let data = bridge::to_data(tensor).unwrap();
            assert_same(&data.iter::<f64>().collect::<Vec<_>>(), &floats(&entry["values"]), key);
        }
        assert_eq!(all.len(), count, "{}", file["file"]);
        assert!(count > 0, "{}", file["file"]);
    }
}

/// The number after a word in a sentence.
fn number(text: &str, word: &str) -> f64 {
    let mut words = text.split([' ', ',']).skip_while(|w| *w != word);
    words.nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("no {word} in {text}"))
}

#[test]
fn networks_loaded_from_them_embed_as_the_original_ones() {
    let list = list();
    let about = &list["expected_embeddings"];
    let want = tensors(&golden(&format!("checkpoints/{}", about["file"].as_str().unwrap())));
    let layer = about["embedding_layer"].as_str().unwrap();
    let (salt, gain) = (number(layer, "salt") as u32, number(layer, "gain"));
    let mut compared = 0;
    for file in list["files"].as_array().unwrap() {
        let path = path(file);
        let name = path.file_stem().unwrap().to_str().unwrap();
        let Some(want) = want.get(&format!("{name}/embedding")) else { continue };
        let size = want.shape()[1];
        let arch = file["arch"].as_str().unwrap();
        let device = cpu().inner();
        let mut options = OpenOptions { l2_norm: Some(false), ..OpenOptions::default() };
        let mut loaded = match checkpoint::open(&path, &options, &device) {
            Ok(loaded) => loaded,
            // A classifier's checkpoint: nothing is made up unless it was asked for.
            Err(e) => {
                let message = Failure::from(e).message;
                assert!(message.contains("--allow-missing 'embedding.*'"), "{message}");
                options.allow_missing = vec!["embedding.*".to_owned()];
                options.embedding = Some(size);
                let mut loaded = checkpoint::open(&path, &options, &device).unwrap();
                let mut state = checkpoint::state_dict(&loaded.backbone).unwrap();
                for (key, data) in &mut state {
                    if key.starts_with("embedding.") {
                        let shape = data.shape().to_vec();
                        let values = parameter(&format!("model.{key}"), &shape, salt, gain);
                        *data = TensorData::new(values, shape);
                    }
                }
                checkpoint::load_state_dict(&mut loaded.backbone, &state).unwrap();
                loaded
            }
        };
        assert_eq!((loaded.network.name.as_str(), loaded.network.embedding), (arch, size));
        loaded.backbone = loaded.backbone.cast(FloatDType::F64);
        let mut images = about["images"].clone();
        images["scale"] = images["scale"][arch].clone();
        let x = Tensor::from_data(Images::of(&images).data(), (&device, DType::F64));
        let got = loaded.backbone.forward_input(x).embedding.into_data();
        let worst = got.iter::<f64>().zip(want.iter::<f64>());
        let worst = worst.map(|(a, b)| (a - b).abs()).fold(0f64, f64::max);
        let scale = want.iter::<f64>().map(f64::abs).fold(0f64, f64::max);
        println!("{name}: {:.1e}", worst / scale);
        assert!(worst <= 1e-12 * scale, "{name}: {worst:e} of {scale}");
        compared += 1;
    }
    assert_eq!(compared, want.len());
}

#[test]
fn every_network_is_told_by_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let device = cpu().inner();
    for entry in networks() {
        let name = entry.name.to_owned();
        let mut config =
            NetworkConfig { name, embedding: 8, ..NetworkConfig::default().with("width", 6) };
        config.forget_foreign();
        let net = Backbone::new(&config, 3, &device).unwrap();
        // The larger ones differ from these in their number of blocks or their width alone.
        if parameter_count(&net) > 30_000_000 {
            continue;
        }
        checkpoint::export(&path, &net, "backbone.").unwrap();
        let opened = checkpoint::open(&path, &OpenOptions::default(), &device).unwrap();
        assert_eq!((&opened.network.name, opened.network.embedding), (&config.name, 8));
        assert_eq!(opened.image_size, entry.image_size);
        let [before, after] =
            [&net, &opened.backbone].map(|net| checkpoint::state_dict(net).unwrap());
        assert!(before == after, "{}", entry.name);
    }
}

fn error(path: &Path) -> String {
    let options = OpenOptions::default();
    let message = checkpoint::open(path, &options, &cpu().inner()).unwrap_err();
    let message = Failure::from(message).message;
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    message
}

/// A zip as `torch.save` writes it, with this pickle and one storage of 16 bytes.
fn zipped(path: &Path, pickle: &[u8], compressed: bool) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let method =
        if compressed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, content) in
        [("x/data.pkl", pickle), ("x/byteorder", b"little"), ("x/data/0", &[0; 16])]
    {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

/// `{"a": tensor}` of this shape with strides 0 over one storage of four floats.
fn expanded(rows: u32) -> Vec<u8> {
    let text = |s: &str| [&[b'X'][..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
    let int = |n: u32| [&[b'J'][..], &n.to_le_bytes()].concat();
    [
        b"\x80\x02}".to_vec(),
        text("a"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(4),
        b"tQK\x00".to_vec(),
        int(rows),
        int(rows),
        b"\x86K\x00K\x00\x86\x89}tRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn damaged_and_hostile_files_get_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let files = list();
    for file in files["files"].as_array().unwrap() {
        let bytes = std::fs::read(path(file)).unwrap();
        let target = at("cut.pth");
        for cut in [1, 9, 700, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&target, &bytes[..cut.min(bytes.len() - 1)]).unwrap();
            error(&target);
        }
        // Any bit may be wrong: an error or a network, but no panic.
        for i in (0..bytes.len().min(4000)).step_by(61) {
            let mut wrong = bytes[..bytes.len().min(1 << 20)].to_vec();
            wrong[i] ^= 0x55;
            std::fs::write(&target, &wrong).unwrap();
            let _ = Weights::read(&target);
        }
    }

    let system = [
        ("global", b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.".to_vec()),
        ("stack", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.".to_vec()),
        ("memo", b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x000h\x00h\x01\x93.".to_vec()),
        ("dropped", b"\x80\x02}cbuiltins\neval\nX\x02\x00\x00\x00id\x85R0.".to_vec()),
        ("inst", b"(S'id'\nios\nsystem\n.".to_vec()),
    ];
    for (name, pickle) in &system {
        let target = at(&format!("{name}.pth"));
        std::fs::write(&target, pickle).unwrap();
        let message = error(&target);
        assert!(message.contains("it asks to call"), "{name}: {message}");
        zipped(&target, pickle, false);
        assert!(error(&target).contains("it asks to call"), "{name}");
    }

    let bomb = [b"\x80\x02".to_vec(), vec![b']'; 50 << 20]].concat();
    zipped(&at("bomb.pth"), &bomb, true);
    assert!(error(&at("bomb.pth")).contains("more than 2000000 operations"));
    // A long key before the names of many tensors: 20 GB of names in a file of 60 KB.
    let text = |s: &str| [&[b'X'][..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
    let tensor = expanded(1)[9..].strip_suffix(b"s.").unwrap().to_vec();
    let item = |i: usize| [text(&i.to_string()), tensor.clone()].concat();
    let items: Vec<u8> = (0..20_000).flat_map(item).collect();
    let long = [b"\x80\x02}".to_vec(), text(&"k".repeat(1 << 20)), b"}(".to_vec(), items.clone()];
    zipped(&at("names.pth"), &[&long.concat()[..], b"us."].concat(), false);
    assert!(error(&at("names.pth")).contains("bytes, and may have 256"));
    // The same through the memo, from deep down.
    let deep: Vec<u8> = [b"\x80\x02".to_vec(), text(&"k".repeat(250)), b"q\x000".to_vec()].concat();
    let deep =
        [deep, b"}h\x00".repeat(900), b"}(".to_vec(), items, b"u".to_vec(), b"s".repeat(900)];
    zipped(&at("depth.pth"), &[&deep.concat()[..], b"."].concat(), false);
    assert!(error(&at("depth.pth")).contains("bytes, and may have 256"));
    let many: Vec<u8> = (0..100_001).flat_map(item).collect();
    let many = [&b"\x80\x02}("[..], &many, b"u."].concat();
    zipped(&at("many.pth"), &many, false);
    let message = error(&at("many.pth"));
    assert!(message.contains("more than 100000 tensors") || message.contains("operations"));
    zipped(&at("packed.pth"), &expanded(2), true);
    assert!(error(&at("packed.pth")).contains("its tensors are compressed"));
    let deep = [vec![b'('; 100_000], vec![b't'; 100_000], b".".to_vec()].concat();
    zipped(&at("deep.pth"), &deep, false);
    assert!(error(&at("deep.pth")).contains("nesting"));
    zipped(&at("views.pth"), &expanded(20_000), false);
    assert!(error(&at("views.pth")).contains("its tensors claim 1600000000 bytes"));
    zipped(&at("small.pth"), &expanded(2), false);
    assert!(error(&at("small.pth")).contains("name the network with --model"));
    std::fs::write(at("page.pth"), "<!DOCTYPE html><title>Virus scan warning</title>").unwrap();
    assert!(error(&at("page.pth")).contains("it is a web page"));
    std::fs::write(at("empty.pth"), "").unwrap();
    error(&at("empty.pth"));
    std::fs::write(at("other.pth"), json!({"a": 1}).to_string()).unwrap();
    error(&at("other.pth"));
}
