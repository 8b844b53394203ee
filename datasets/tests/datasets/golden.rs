//! Parity with the reference implementation's data: which files, in which order, of which class, and
//! the pixels after the transforms. Whatever cases the golden files list.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::{crc32, golden, golden_json};
use retort_datasets::{
    Area, Dataset, Image, Options, Picture, ResizeCrop, Resized, Split, Transform,
    augmentation_rng, open,
};
use safetensors::SafeTensors;
use serde_json::Value;

/// Published name to ours.
fn our_name(name: &str) -> &str {
    match name {
        "SOP" => "sop",
        other => other,
    }
}

fn golden_root() -> PathBuf {
    let root = golden_json("datasets.json")["root"].as_str().unwrap().to_owned();
    golden().join(root)
}

fn opened(name: &str, split: &str, root: &Path) -> Box<dyn Dataset> {
    let split = if split == "train" { Split::Train } else { Split::Test };
    let options = Options { root: Some(root.to_owned()), size: 224, ..Options::default() };
    open(our_name(name), split, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Paths below the root with the published class numbers.
fn items(data: &dyn Dataset, root: &Path) -> Vec<(String, u64)> {
    let item = |i: usize| {
        let path = data.file(i).unwrap();
        let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        (path, data.class_id(data.labels()[i]) as u64)
    };
    (0..data.len()).map(item).collect()
}

#[test]
fn the_same_files_in_the_same_order_with_the_same_classes() {
    let (json, root) = (golden_json("datasets.json"), golden_root());
    for (name, splits) in json["datasets"].as_object().unwrap() {
        for (split, expected) in splits.as_object().unwrap() {
            let data = opened(name, split, &root);
            let listed: Vec<(String, u64)> =
                serde_json::from_value(expected["items"].clone()).unwrap();
            assert_eq!(items(&*data, &root), listed, "{name} {split}");
            assert_eq!(data.len() as u64, expected["samples"], "{name} {split}");
            assert_eq!(data.classes().len() as u64, expected["distinct_labels"]);
            let ids: Vec<usize> = (0..data.classes().len()).map(|c| data.class_id(c)).collect();
            assert!(ids.is_sorted(), "{name} {split}: {ids:?}");
            let range: (u64, u64) =
                serde_json::from_value(expected["class_range"].clone()).unwrap();
            assert!(ids.iter().all(|&id| (range.0..range.1).contains(&(id as u64))));
        }
    }
}

#[test]
fn what_crd_draws_its_negatives_from() {
    let (json, root) = (golden_json("datasets.json"), golden_root());
    for (name, splits) in json["datasets"].as_object().unwrap() {
        let (data, expected) = (opened(name, "train", &root), &splits["train"]["crd"]);
        let first = &expected["negatives_of_first_label"];
        let label = first["label"].as_u64().unwrap() as usize;
        let own = (0..data.classes().len()).find(|&c| data.class_id(c) == label).unwrap();
        // Class after class, as the reference lists them.
        let mut all: Vec<usize> = (0..data.len()).collect();
        all.sort_by_key(|&i| data.labels()[i]);
        let of = |same: bool| -> Vec<u64> {
            let chosen = all.iter().filter(|&&i| (data.labels()[i] == own) == same);
            chosen.map(|&i| i as u64).collect()
        };
        let list = |value: &Value| -> Vec<u64> { serde_json::from_value(value.clone()).unwrap() };
        let positives = list(&expected["positives_of_first_label"]);
        assert_eq!(of(true), positives, "{name}");
        let others = of(false);
        assert_eq!(others.len() as u64, first["count"]);
        assert_eq!(others[..5], list(&first["first5"]));
        assert_eq!(others[others.len() - 5..], list(&first["last5"]));
    }
}

#[test]
fn matlab_files_of_other_makings_say_the_same() {
    let root = golden_root().join("cars196");
    let expected = [Split::Train, Split::Test].map(|split| cars(&root, split));
    let mut variants = 0;
    for variant in std::fs::read_dir(root.join("variants")).unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let variant = variant.unwrap().path();
        std::fs::copy(&variant, folder.path().join("cars_annos.mat")).unwrap();
        let found = [Split::Train, Split::Test].map(|split| cars(folder.path(), split));
        assert_eq!(found, expected, "{}", variant.display());
        variants += 1;
    }
    assert!(variants > 0);
}

/// Files, classes and class names of a split of Cars.
fn cars(root: &Path, split: Split) -> (Vec<(String, u64)>, Vec<String>) {
    let options = Options { root: Some(root.to_owned()), ..Options::default() };
    let data = open("cars", split, &options).unwrap();
    (items(&*data, root), data.classes().to_vec())
}

/// Where the published file is: samples of the transforms, or a picture of a set.
fn path(file: &Value) -> PathBuf {
    let file = file.as_str().unwrap();
    let root = golden_root();
    let below = ["", "cars196", "CUB_200_2011", "Stanford_Online_Products"];
    let candidates = below.iter().map(|folder| root.join(folder).join(file));
    candidates.clone().find(|path| path.is_file()).unwrap_or_else(|| panic!("{file} is missing"))
}

fn evaluation(path: &Path, size: &Value) -> Image {
    let side = |key: &str| size[key].as_u64().unwrap_or_default() as usize;
    let transform = ResizeCrop { resize: side("resize"), crop: side("crop") };
    let name = path.display().to_string();
    let picture = Picture::new(std::fs::read(path).unwrap(), &name).unwrap();
    let random = &mut augmentation_rng(0, 0, 0, 0, 0);
    transform.load(picture, random).unwrap().with_channels(3)
}

fn mean(values: &[u8]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64
}

/// How many values differ, and by how much at most.
fn differences(found: &[u8], expected: &[u8]) -> (usize, u8) {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    (differences.clone().filter(|d| *d > 0).count(), differences.max().unwrap_or(0))
}

#[test]
fn evaluation_pixels_are_torchvisions() {
    let json = golden_json("datasets.json");
    let bytes = std::fs::read(golden().join("datasets.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let size = serde_json::json!({"resize": 256, "crop": 224});
    let mut compared = 0;
    for case in json["transforms"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let found = evaluation(&path(&case["file"]), &size);
        let expected = &case["crop_u8"];
        let off = (mean(&found.pixels) - expected["mean"].as_f64().unwrap()).abs();
        assert!(off < 1e-9, "{name}: the mean is off by {off}");
        let same = u64::from(crc32(&found.pixels)) == expected["crc32"];
        assert!(same, "{name}: some pixel differs");
        let first: Vec<u8> =
            serde_json::from_value(expected["first_32_values_hwc"].clone()).unwrap();
        assert_eq!(differences(&found.pixels[..first.len()], &first), (0, 0), "{name}");
        compared += first.len();
        if let Ok(tensor) = tensors.tensor(&format!("{name}/crop_u8_hwc_rgb")) {
            assert_eq!(differences(&found.pixels, tensor.data()), (0, 0), "{name}");
            compared += tensor.data().len();
        }
        // As the network sees them: [3, 224, 224], normalised.
        for (network, constants) in constants() {
            for (tensor, indices) in [
                ("first32", (0..32).collect::<Vec<usize>>()),
                ("strided64", (0..64).map(|j| j * found.pixels.len() / 64).collect()),
            ] {
                let tensor = tensors.tensor(&format!("{name}/{network}.{tensor}")).unwrap();
                let expected = tensor.data().as_chunks::<4>().0.iter();
                for (i, expected) in indices.into_iter().zip(expected) {
                    let area = found.width * found.height;
                    let (channel, pixel) = (i / area, i % area);
                    let (from, scale, mean, std) = constants[channel];
                    let value = f64::from(found.pixels[3 * pixel + from]) / 255.0 * scale;
                    let off = (value - mean) / std - f64::from(f32::from_le_bytes(*expected));
                    let in_greys = (off * std / scale * 255.0).abs();
                    assert!(in_greys < 1e-3, "{name}/{network}[{i}] is off by {in_greys} greys");
                }
            }
        }
    }
    println!("evaluation: {compared} values, all the same");
    assert!(compared > 1_000_000);
}

/// For each channel that a network sees: which one it is, and its scale, mean and standard deviation.
fn constants() -> BTreeMap<&'static str, [(usize, f64, f64, f64); 3]> {
    BTreeMap::from([
        ("resnet", [(0, 1.0, 0.485, 0.229), (1, 1.0, 0.456, 0.224), (2, 1.0, 0.406, 0.225)]),
        ("inception", [(2, 255.0, 104.0, 1.0), (1, 255.0, 117.0, 1.0), (0, 255.0, 128.0, 1.0)]),
    ])
}

#[test]
fn random_crops_of_fixed_boxes_match_bit_for_bit() {
    let json = golden_json("datasets.json");
    let bytes = std::fs::read(golden().join("datasets.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let size = json["random_resized_crop"]["output"].as_u64().unwrap() as usize;
    let cases = json["resized_crops"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let [top, left, height, width]: [usize; 4] =
            serde_json::from_value(case["top_left_height_width"].clone()).unwrap();
        let plan =
            Resized::new(Area { left, top, width, height }, size, size, Area::whole(size, size))
                .mirrored(case["flip"].as_bool().unwrap());
        let file = path(&case["file"]);
        let picture = Picture::new(std::fs::read(&file).unwrap(), name).unwrap();
        let found = picture.resized(&plan).unwrap().with_channels(3).pixels;
        assert_eq!(u64::from(crc32(&found)), case["crc32_u8_hwc"], "{name}: some pixel differs");
        let strided = tensors.tensor(case["tensor"].as_str().unwrap()).unwrap();
        let n = strided.data().len();
        let picked: Vec<u8> = (0..n).map(|j| found[j * found.len() / n]).collect();
        assert_eq!(differences(&picked, strided.data()), (0, 0), "{name}");
    }
}
