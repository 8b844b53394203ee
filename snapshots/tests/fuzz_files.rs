//! Hostile files: valid ones changed at random, and ones that make sense in part. Whatever is in a file,
//! it is read or refused with one sentence, within 5 seconds and a bounded memory, without a panic.
//!
//! Each kind runs for 3 seconds here, always with the same inputs. For longer, and with others:
//! `RETORT_FUZZ_SECONDS=600 RETORT_FUZZ_SEED=7 cargo test --workspace --test fuzz_files -- --nocapture pth`
#![allow(clippy::unwrap_used, reason = "tests")]

mod fuzz;

use burn::store::bridge;
use burn::tensor::Device;
use fuzz::{Counting, Rng, Target, fuzz, headers, lists, matlab, pickles, pictures, seeds};
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_core::checkpoint::{self, OpenOptions, Weights};
use retort_datasets::{
    Options, Picture, RandomCropFlip, RandomResizedCrop, ResizeCrop, Split, Transform,
    augmentation_rng, open,
};
use retort_host::experiment::Experiment;
use retort_host::io::rows;
use retort_host::loss::tensors;
use retort_host::suite;
use std::collections::BTreeMap;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PICTURES: &str = "../../datasets/tests/datasets/pictures";

type Outcome = Result<(), String>;

/// Reads all of a checkpoint that isn't giant, and opens the network in it.
fn weights(path: &Path) -> Outcome {
    let read = Weights::read(path).map_err(|e| e.to_string());
    if let Ok(weights) = &read {
        let _ = weights.network();
        for tensor in weights.tensors.values().chain(weights.beside.values()).take(50) {
            if tensor.byte_len() < 16 << 20 {
                let _ = bridge::to_data(tensor);
            }
        }
    }
    let device = Device::flex();
    let afresh = OpenOptions { allow_missing: vec!["*".to_owned()], ..OpenOptions::default() };
    let _ = checkpoint::load(path, &device);
    let opened = checkpoint::open(path, &OpenOptions::default(), &device);
    // What a user may ask for makes nothing giant either; a large network isn't made anew each time.
    let small = read.as_ref().is_ok_and(|w| {
        w.network().is_ok_and(|n| n.own.get("width").is_none_or(|w| w.as_u64() < Some(64)))
    });
    if small {
        let _ = checkpoint::open(path, &afresh, &device);
    }
    read.map(|_| ())?;
    opened.map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn pth() {
    let run = |bytes: &[u8], dir: &Path| {
        let path = dir.join("x.pth");
        std::fs::write(&path, bytes).unwrap();
        weights(&path)
    };
    let seeds = [vec![tiny_pth()], seeds(&["corpus/pth"])].concat();
    fuzz(&Target { name: "pth", memory: 512 << 20, seeds, make: &pickles::make, run: &run });
}

/// A checkpoint of a tiny network, with losses and a training.
fn tiny() -> Vec<u8> {
    let config = NetworkConfig { embedding: 2, ..NetworkConfig::default().with("width", 2) };
    let net = Backbone::new(&config, 0, &Device::flex()).unwrap();
    let data = burn::tensor::TensorData::new(vec![1f32, 2.0], [2]);
    let losses = [BTreeMap::from([("param.a".to_owned(), data.clone())])];
    let training = checkpoint::Training {
        progress: serde_json::json!({"step": 3}),
        tensors: BTreeMap::from([("x".to_owned(), data)]),
    };
    let notes = BTreeMap::from([("epoch".to_owned(), "1".to_owned())]);
    checkpoint::encode(&net, &config, 32, &losses, &notes, Some(&training)).unwrap()
}

/// The same as PyTorch would save it.
fn tiny_pth() -> Vec<u8> {
    let bytes = tiny();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut state: Vec<_> = tensors
        .iter()
        .filter(|(name, _)| name.starts_with("blocks.") || name.starts_with("embedding."))
        .map(|(name, view)| (name.to_owned(), view.shape().to_vec(), view.data().to_vec()))
        .collect();
    state.sort();
    pickles::state_dict(&state)
}

#[test]
fn safetensors() {
    let run = |bytes: &[u8], dir: &Path| {
        let path = dir.join("x.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let outcome = weights(&path);
        let _ = tensors::read(&path);
        let mut reader = rows::Reader::open(&path).map_err(|e| e.message)?;
        for name in reader.names().into_iter().take(20) {
            for (from, count) in [(0, 1), (1, 2), (usize::MAX, 1), (0, usize::MAX)] {
                let _ = reader.rows(&name, from, count);
            }
        }
        outcome
    };
    let seeds = [vec![tiny()], seeds(&["corpus/safetensors"])].concat();
    fuzz(&Target {
        name: "safetensors",
        memory: 256 << 20,
        seeds,
        make: &headers::make,
        run: &run,
    });
}

#[test]
fn mat() {
    let run = |bytes: &[u8], dir: &Path| {
        std::fs::write(dir.join("cars_annos.mat"), bytes).unwrap();
        let options = Options { root: Some(dir.to_owned()), ..Options::default() };
        let [train, test] = [Split::Train, Split::Test].map(|split| open("cars", split, &options));
        test.map_err(|e| e.to_string())?;
        train.map(|_| ()).map_err(|e| e.to_string())
    };
    let seeds = seeds(&["corpus/mat"]);
    fuzz(&Target { name: "mat", memory: 192 << 20, seeds, make: &matlab::make, run: &run });
}

#[test]
fn images() {
    let transforms: [&dyn Transform; 3] = [
        &ResizeCrop::to(24),
        &RandomResizedCrop::to(24),
        &RandomCropFlip { padding: 3, flip: true },
    ];
    let run = |bytes: &[u8], _: &Path| {
        let picture = Picture::new(bytes.to_vec(), "x.jpg").map_err(|e| e.to_string())?;
        let (width, height) = picture.size();
        let small = width * height < 1 << 20;
        for transform in &transforms[..if small { 3 } else { 2 }] {
            let _ = transform.load(picture.clone(), &mut augmentation_rng(1, 2, 3, 0, 0));
        }
        let image = picture.decode().map_err(|e| e.to_string())?;
        assert_eq!(image.pixels.len(), image.width * image.height * image.channels);
        if small {
            let png = image.to_png().unwrap();
            assert!(*Picture::new(png, "y.png").unwrap().decode().unwrap() == *image);
            let _ = image.to_jpeg(80);
        }
        Ok(())
    };
    let seeds = seeds(&["corpus/images", PICTURES]);
    fuzz(&Target { name: "images", memory: 1280 << 20, seeds, make: &pictures::make, run: &run });
}

#[test]
fn manifests() {
    let run = |bytes: &[u8], dir: &Path| {
        let (kind, content) = match bytes.split_first() {
            Some((kind, content)) => (lists::KINDS[usize::from(*kind) % 6], content),
            None => return Ok(()),
        };
        let dir = &dir.join(kind);
        for folder in ["img", "a", "b", "c"] {
            std::fs::create_dir_all(dir.join(folder)).unwrap();
            std::fs::write(dir.join(folder).join("1.jpg"), "x").unwrap();
        }
        let file = dir.join(match kind {
            "sop" => "Ebay_train.txt",
            "in_shop" => "list_eval_partition.txt",
            "omniglot" => "images_background_small1.zip",
            _ => "list.txt",
        });
        std::fs::write(&file, content).unwrap();
        let text = String::from_utf8_lossy(content);
        // Such a message may quote a long line; it is cut where it is printed.
        let cut = |message: String| message.chars().take(1000).collect::<String>();
        match kind {
            "experiment" => {
                let read = Experiment::read(Some(&file), Experiment::default(), &[]);
                return read.map(|_| ()).map_err(|e| cut(e.message));
            }
            "suite" => {
                let read = suite::Suite::parse(&text, &file);
                return read.map(|_| ()).map_err(|e| cut(e.message));
            }
            "omniglot" => {
                std::fs::copy(&file, dir.join("images_background_small2.zip")).unwrap();
            }
            _ => {}
        }
        let mut options = Options { root: Some(dir.clone()), ..Options::default() };
        if kind == "folder" {
            options = options.with("train_classes", file.display().to_string());
        }
        let data = open(kind, Split::Train, &options).map_err(|e| e.to_string())?;
        for i in (0..data.len()).take(3) {
            let _ = data.image(i);
            assert!(data.labels()[i] < data.classes().len());
        }
        Ok(())
    };
    let pictures = seeds(&[PICTURES]);
    let seeds = seeds(&["corpus/manifests"]);
    let make = |rng: &mut Rng, _: &[Vec<u8>]| lists::make(rng, &pictures);
    fuzz(&Target { name: "manifests", memory: 640 << 20, seeds, make: &make, run: &run });
}
