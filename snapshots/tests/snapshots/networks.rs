//! Networks against the original ones: embeddings, feature maps, running statistics and gradients, with
//! weights and images by the golden data's formula.

use burn::module::{Module as _, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Distribution, FloatDType, Gradients, Tensor, TensorData};
use retort_core::backbone::{self, Backbone, NetworkConfig, NetworkError};
use retort_core::checkpoint;
use retort_snapshots::formula::{Images, coefficient, parameter, scaled};
use retort_snapshots::{cpu, golden, json, tensors, workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Gradients by PyTorch's names, in its layouts.
struct Collect<'a> {
    path: Vec<(String, String)>,
    grads: &'a Gradients,
    out: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push((name.to_owned(), container.to_owned()));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = param.val().grad(self.grads) else { return };
        let inside =
            self.path.iter().rev().map(|(_, c)| c.as_str()).find(|c| c.starts_with("Struct"));
        let grad =
            if inside == Some("Struct:Linear") && D == 2 { grad.swap_dims(0, 1) } else { grad };
        let names = self.path.iter().filter(|(_, c)| !c.starts_with("Enum"));
        let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
        let name = names.join(".").replace("gamma", "weight").replace("beta", "bias");
        self.out.insert(name, grad.into_data().iter::<f64>().collect());
    }
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// |got - want| / |want|
fn apart(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference: Vec<f64> = got.iter().zip(want).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(want).max(1e-300)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Worst relative errors of a case: features and embedding, running statistics, gradients.
struct Errors {
    features: f64,
    statistics: f64,
    gradients: Vec<f64>,
}

/// A case's weights by the formula, under PyTorch's names.
fn weights(case: &Value, shapes: &Value, salt: u32, size: usize) -> BTreeMap<String, TensorData> {
    // The list of keys is for an embedding of 64 dimensions; unused heads aren't built.
    let mut state = BTreeMap::new();
    for entry in shapes.as_array().unwrap() {
        let key = entry["key"].as_str().unwrap();
        let bare = key.strip_prefix("model.").unwrap_or(key);
        let head = ["fc.", "last_linear."].iter().any(|p| bare.starts_with(p));
        if head || bare.ends_with("num_batches_tracked") {
            continue;
        }
        let mut shape: Vec<usize> = entry["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d.as_u64().unwrap() as usize)
            .collect();
        if bare.starts_with("embedding.") {
            shape[0] = size;
        }
        let values = match case["amplitudes"][key].as_f64() {
            Some(amplitude) => scaled(key, &shape, salt, amplitude),
            None => parameter(key, &shape, salt, case["gain"].as_f64().unwrap()),
        };
        state.insert(bare.to_owned(), TensorData::new(values, shape));
    }
    state
}

/// Relative errors of a case's gradients.
fn gradients(case: &Value, found: &BTreeMap<String, Vec<f64>>, dtype: FloatDType) -> Vec<f64> {
    let name = case["name"].as_str().unwrap();
    let mut gradients = Vec::new();
    let largest = case["gradient_norm_max"].as_f64().unwrap();
    for (key, want) in case["gradients"].as_object().unwrap() {
        let bare = key.strip_prefix("model.").unwrap_or(key);
        let got = found.get(bare);
        if want.is_null() {
            assert!(got.is_none(), "{name}: {key} should have no gradient");
            continue;
        }
        let got = got.unwrap_or_else(|| panic!("{name}: {key} has no gradient"));
        if want["numerically_zero"].as_bool() == Some(true) {
            let bound = if dtype == FloatDType::F64 { 1e-10 } else { 1e-3 };
            assert!(norm(got) <= bound * largest, "{name}: {key} should be zero: {}", norm(got));
            continue;
        }
        let length = want["norm"].as_f64().unwrap();
        let mut error = (norm(got) - length).abs() / length.max(1e-9 * largest);
        if dtype == FloatDType::F64 {
            let first = floats(&want["first4"]);
            let difference: Vec<f64> = got.iter().zip(&first).map(|(a, b)| a - b).collect();
            error = error.max(norm(&difference) / length.max(1e-9 * largest));
        }
        gradients.push(error);
    }
    gradients
}

fn run(
    case: &Value,
    shapes: &Value,
    file: &BTreeMap<String, TensorData>,
    dtype: FloatDType,
) -> Errors {
    let name = case["name"].as_str().unwrap();
    let salt = case["salt"].as_u64().unwrap() as u32;
    let size = case["embedding_size"].as_u64().unwrap() as usize;
    let config = NetworkConfig {
        name: case["arch"].as_str().unwrap().to_owned(),
        embedding: size,
        l2_norm: case["l2_norm"].as_bool().unwrap(),
        ..NetworkConfig::default()
    };
    let training = case["mode"] == "train";
    let device: Device = cpu();
    let mut net = Backbone::new(&config, 0, &device).unwrap();
    let state = weights(case, shapes, salt, size);
    checkpoint::load_state_dict(&mut net, &state).unwrap_or_else(|e| panic!("{name}: {e}"));
    // In evaluation mode gradients flow too: statistics frozen, everything else as it is.
    if !training {
        let frozen = NetworkConfig { frozen_batch_norm: true, ..config };
        let mut other = Backbone::new(&frozen, 0, &device).unwrap();
        checkpoint::load_state_dict(&mut other, &state).unwrap();
        net = other.set_require_grad(true);
    }
    let net = net.cast(dtype);
    let images = Images::of(&case["images"]);
    let x = Tensor::from_data(images.data(), (&device, DType::from(dtype)));
    let output = net.forward_input(x);

    let mut features = 0f64;
    for (want, got) in case["features"].as_array().unwrap().iter().zip(&output.features) {
        let got: Vec<f64> = got.to_data().iter::<f64>().collect();
        let n = got.len();
        let picks = |key: &str| file[want[key].as_str().unwrap()].iter::<f64>().collect::<Vec<_>>();
        let first = &got[..64.min(n)];
        let strided: Vec<f64> = (0..64).map(|j| got[j * n / 64]).collect();
        features = features.max(apart(first, &picks("first64")[..first.len()]));
        features = features.max(apart(&strided, &picks("strided64")));
        let mean = got.iter().sum::<f64>() / n as f64;
        let deviation = (got.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        for (key, got) in [("mean", mean), ("std", deviation)] {
            let scale = want["std"].as_f64().unwrap();
            features = features.max((got - want[key].as_f64().unwrap()).abs() / scale);
        }
    }
    assert_eq!(case["features"].as_array().unwrap().len(), output.features.len(), "{name}");
    let embedding: Vec<f64> = output.embedding.to_data().iter::<f64>().collect();
    let want: Vec<f64> =
        file[case["embedding"]["tensor"].as_str().unwrap()].iter::<f64>().collect();
    features = features.max(apart(&embedding, &want));

    let loss = if case["l2_norm"].as_bool().unwrap() {
        let n = embedding.len();
        let weights: Vec<f64> =
            (0..n).map(|i| coefficient("loss_weight", salt, i as u32) / 4096.0).collect();
        let weights = TensorData::new(weights, output.embedding.dims());
        let weights = Tensor::<2>::from_data(weights, (&device, DType::from(dtype)));
        (output.embedding * weights).mean()
    } else {
        output.embedding.powi_scalar(2).mean()
    };
    let grads = loss.backward();
    let mut collect = Collect { path: Vec::new(), grads: &grads, out: BTreeMap::new() };
    net.visit(&mut collect);
    let gradients = gradients(case, &collect.out, dtype);

    let mut statistics = 0f64;
    if training {
        for (key, data) in checkpoint::state_dict(&net.valid()).unwrap() {
            if key.contains("running_") {
                let want = &file[&format!("{name}/model.{key}")];
                // They are kept in 32 bits: the nearest ones, but for a rounding that went the other way.
                let rounding = if want.dtype() == DType::F32 { 6e-8 } else { 0.0 };
                let want: Vec<f64> = want.iter::<f64>().collect();
                let got: Vec<f64> = data.iter::<f64>().collect();
                statistics = statistics.max((apart(&got, &want) - rounding).max(0.0));
            }
        }
    }
    Errors { features, statistics, gradients }
}

/// The golden data's networks, and those that only timm's numbers are there for.
fn lists() -> [PathBuf; 2] {
    [golden("networks.json"), workspace().join("snapshots/references/networks.json")]
}

#[test]
fn networks_agree_with_the_original_ones() {
    for list in lists() {
        agree(&list);
    }
}

fn agree(list: &Path) {
    let (list, folder) = (json(list), list.parent().unwrap());
    let file = tensors(&folder.join(list["file"].as_str().unwrap()));
    let queue = Mutex::new(list["cases"].as_array().unwrap().iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    // Small batches don't fill the cores: two cases at a time.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((i, case)) = queue.lock().unwrap().next() else { return };
                    let shapes = &list["architectures"][case["arch"].as_str().unwrap()]
                        ["state_dict_for_embedding_size_64"];
                    let both = [FloatDType::F64, FloatDType::F32];
                    let both = both.map(|dtype| run(case, shapes, &file, dtype));
                    done.lock().unwrap().insert(i, both);
                }
            });
        }
    });
    let mut table = String::from(
        "worst relative error: features f64, f32; statistics f64, f32; gradients f64, f32 (median)\n",
    );
    let mut failed = Vec::new();
    let done = done.into_inner().unwrap();
    for (case, [exact, single]) in list["cases"].as_array().unwrap().iter().zip(done.values()) {
        let worst = |x: &[f64]| x.iter().copied().fold(0f64, f64::max);
        let tolerance = |key: &str| case["tolerance"][key].as_f64().unwrap();
        let (wide, narrow) = (worst(&exact.gradients), worst(&single.gradients));
        let middle = median(single.gradients.clone());
        let name = case["name"].as_str().unwrap();
        let _ = writeln!(
            table,
            "{name:42} {:.0e} {:.0e}  {:.0e} {:.0e}  {wide:.0e} {narrow:.0e} ({middle:.0e})",
            exact.features, single.features, exact.statistics, single.statistics
        );
        let advised = tolerance("feature_and_embedding_rel_l2");
        for (what, got, most) in [
            ("features in f64", exact.features, 1e-9),
            ("features in f32", single.features, advised),
            ("statistics in f64", exact.statistics, 1e-9),
            ("statistics in f32", single.statistics, advised),
            ("gradients in f64", wide, 1e-7),
            ("gradients in f32", narrow, tolerance("gradient_norm_rel")),
            ("median gradient in f32", middle, tolerance("gradient_norm_rel_median")),
        ] {
            if got.is_nan() || got > most {
                failed.push(format!("{name}: {what}: {got:.1e} is more than {most:.0e}"));
            }
        }
    }
    println!("{table}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn config(name: &str, embedding: usize) -> NetworkConfig {
    NetworkConfig { name: name.to_owned(), embedding, ..NetworkConfig::default() }
}

#[test]
fn parameters_and_multiplications_are_counted_right() {
    for list in lists() {
        let list = json(&list);
        for (name, architecture) in list["architectures"].as_object().unwrap() {
            let keys = architecture["state_dict_for_embedding_size_64"].as_array().unwrap();
            let counted = |entry: &&Value| {
                let bare = entry["key"].as_str().unwrap().trim_start_matches("model.").to_owned();
                let head = bare.starts_with("fc.") || bare.starts_with("last_linear.");
                entry["parameter"] == true && !head
            };
            let size = |entry: &Value| {
                let shape = entry["shape"].as_array().unwrap().iter();
                shape.map(|d| d.as_u64().unwrap() as usize).product::<usize>()
            };
            let expected: usize = keys.iter().filter(counted).map(size).sum();
            let summary = backbone::summary(&config(name, 64), [64, 64]).unwrap();
            assert_eq!(summary.parameters, expected, "{name}");
            let pooled = architecture["num_ftrs"].as_u64().unwrap() as usize;
            assert_eq!(summary.features.last().unwrap(), &[1, pooled], "{name}");
        }
        // The published networks with their own heads, as PyTorch counts them.
        for fact in list["facts"].as_array().into_iter().flatten() {
            let number = |key: &str| fact[key].as_u64().unwrap();
            let (name, size) = (fact["network"].as_str().unwrap(), number("size") as usize);
            let summary = backbone::summary(&config(name, 512), [size; 2]).unwrap();
            let (parameters, macs) = summary.embedding();
            let body = number("parameters") - number("head_parameters");
            assert_eq!((summary.parameters - parameters) as u64, body, "{name}");
            assert_eq!(summary.macs - macs, number("macs") - number("head_macs"), "{name}");
        }
    }
}

#[test]
fn sizes_are_refused_exactly_where_a_network_cant_compute_them() {
    let device = Device::flex();
    for entry in backbone::networks() {
        let config = config(entry.name, 8);
        let summary = |h: usize, w: usize| backbone::summary(&config, [h, w]).map(|s| s.features);
        assert!(summary(entry.image_size, entry.image_size).is_ok(), "{}", entry.name);
        let name = |e: NetworkError| matches!(e, NetworkError::Pictures { .. });
        assert!(summary(0, 64).is_err_and(name), "{}", entry.name);
        // One network of a kind; the others take the same.
        if !["convnet", "resnet18", "bn_inception", "vit_small"].contains(&entry.name) {
            continue;
        }
        let net = Backbone::blank(&config, &device).unwrap();
        for side in 1..72 {
            let run = || net.forward_input(Tensor::zeros([1, 3, 64, side], &device)).embedding;
            let ran = catch_unwind(AssertUnwindSafe(run)).is_ok_and(|e| e.dims() == [1, 8]);
            // Burn would leave out the pixels that make no whole patch, and pool windows that lie in
            // nothing but padding; timm and PyTorch refuse both.
            let ran = match entry.name {
                "vit_small" => ran && side % 16 == 0,
                "bn_inception" => ran && side >= 31,
                _ => ran,
            };
            assert_eq!(net.check([64, side]).is_ok(), ran, "{}: {side}", entry.name);
        }
    }
}

#[test]
fn networks_that_see_colour_take_grey_pictures_as_such() {
    for entry in backbone::networks() {
        let mut grey = config(entry.name, 8);
        grey.set_channels(1).unwrap();
        assert_eq!(grey.channels, if entry.any_channels { 1 } else { 3 }, "{}", entry.name);
        let forced = NetworkConfig { channels: 1, ..config(entry.name, 8) };
        let built = Backbone::blank(&forced, &Device::flex());
        assert_eq!(built.is_ok(), entry.any_channels, "{}", entry.name);
    }
    let error = config("resnet5", 8).set_channels(3).unwrap_err().to_string();
    assert!(error.contains("did you mean resnet50?"), "{error}");
}

#[test]
fn embeddings_begin_orthogonal() {
    for (name, size) in [("resnet18", 64), ("resnet18", 600), ("vit_small", 384)] {
        let net = Backbone::new(&config(name, size), 7, &Device::flex()).unwrap();
        let state = checkpoint::state_dict(&net).unwrap();
        let weight = &state["embedding.weight"];
        let (rows, columns) = (weight.shape()[0], weight.shape()[1]);
        assert_eq!(rows, size);
        let w: Vec<f64> = weight.iter::<f64>().collect();
        let (short, long) = (rows.min(columns), rows.max(columns));
        let at = |i: usize, k: usize| {
            if rows <= columns { w[i * columns + k] } else { w[k * columns + i] }
        };
        for i in 0..short.min(40) {
            for j in 0..=i {
                let dot: f64 = (0..long).map(|k| at(i, k) * at(j, k)).sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((dot - expected).abs() < 1e-5, "{name} {size}: {i}, {j}: {dot}");
            }
        }
        assert!(state["embedding.bias"].iter::<f64>().all(|b| b == 0.0));
    }
}

#[test]
fn a_frozen_batch_norm_neither_learns_nor_counts() {
    let device = cpu();
    for name in ["convnet", "resnet18", "bn_inception"] {
        let frozen = NetworkConfig { frozen_batch_norm: true, ..config(name, 8) };
        let net = Backbone::new(&frozen, 1, &device).unwrap();
        let before = checkpoint::state_dict(&net.valid()).unwrap();
        let x = Tensor::<4>::random([4, 3, 32, 32], Distribution::Normal(0.0, 1.0), &device);
        let output = net.forward_input(x.clone()).embedding;
        let grads = output.clone().powi_scalar(3).sum().backward();
        let mut collect = Collect { path: Vec::new(), grads: &grads, out: BTreeMap::new() };
        net.visit(&mut collect);
        // Convolutions and the embedding learn; nothing of a batch norm does.
        assert!(collect.out.contains_key("embedding.weight"), "{name}");
        let norms: Vec<&String> = before.keys().filter(|k| k.contains("running_mean")).collect();
        assert!(!norms.is_empty());
        for norm in norms {
            let layer = norm.trim_end_matches("running_mean");
            for part in ["weight", "bias"] {
                assert!(!collect.out.contains_key(&format!("{layer}{part}")), "{name}: {layer}");
            }
        }
        assert!(before == checkpoint::state_dict(&net.valid()).unwrap(), "{name}");
        // In training it computes what it does in evaluation.
        let valid = net.valid().forward_input(x.inner()).embedding;
        let [a, b] = [output.into_data(), valid.into_data()].map(|d| d.iter::<f64>().collect());
        let (a, b): (Vec<f64>, Vec<f64>) = (a, b);
        assert!(apart(&a, &b) < 1e-5, "{name}");
    }
}
