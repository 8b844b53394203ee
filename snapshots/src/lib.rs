//! Every loss pinned: snapshots on fixed embeddings, parity with the golden data, hostile plugins.
//! This library is what those tests share.

mod tolerance;

pub use tolerance::Tolerance;

use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_core::{Feature, Inputs, Limits, LossError, Session, Setup};
use retort_host::evaluation::Evaluation;
use retort_host::plugin::build::{self, Built};
use retort_host::plugin::registry::Registry;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of the golden data: in `RETORT_GOLDEN`, or in `../shared/golden` beside the workspace.
///
/// # Panics
/// If it isn't there: these tests are never skipped.
pub fn golden(file: &str) -> PathBuf {
    let folder = std::env::var_os("RETORT_GOLDEN").map_or_else(
        || workspace().join("../shared/golden"),
        |path| workspace().join(PathBuf::from(path)),
    );
    let path = folder.join(file);
    assert!(
        path.exists(),
        "the golden data has no {}: put it beside the clone as shared/golden, or set RETORT_GOLDEN",
        path.display()
    );
    path
}

/// A JSON file.
///
/// # Panics
/// If it can't be read.
pub fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The tensors of a safetensors file.
///
/// # Panics
/// If it can't be read, or holds other types than F32, F64 and I64.
pub fn tensors(path: &Path) -> BTreeMap<String, TensorData> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parsed = SafeTensors::deserialize(&bytes);
    let parsed = parsed.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let tensor = |view: &safetensors::tensor::TensorView| {
        let dtype = match view.dtype() {
            Dtype::F32 => burn::tensor::DType::F32,
            Dtype::F64 => burn::tensor::DType::F64,
            Dtype::I64 => burn::tensor::DType::I64,
            other => panic!("{}: unexpected type {other:?}", path.display()),
        };
        TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype)
    };
    parsed.iter().map(|(name, view)| (name.to_owned(), tensor(&view))).collect()
}

/// A pack crate of the workspace, built as a native library and as a component; once a process.
///
/// # Panics
/// If it can't be built.
pub fn built(pack: &str) -> Built {
    static DONE: OnceLock<Mutex<BTreeMap<String, Built>>> = OnceLock::new();
    let mut done = DONE.get_or_init(Mutex::default).lock().unwrap_or_else(|e| panic!("{e}"));
    let build = || {
        let options = build::Options {
            native: true,
            wasm: true,
            profile: "dev".to_owned(),
            install: true,
            out: None,
        };
        let built = build::build(&workspace().join(pack), &options);
        built.unwrap_or_else(|e| panic!("{pack}: {}", e.message))
    };
    done.entry(pack.to_owned()).or_insert_with(build).clone()
}

/// The three ways to name a loss of a pack crate: built in (for `plugins` only), native, component.
///
/// # Panics
/// If the pack can't be built.
pub fn load_paths(pack: &str, loss: &str) -> Vec<(&'static str, String)> {
    let Built { native: Some(native), wasm: Some(wasm) } = built(pack) else {
        panic!("{pack}: both forms were asked for");
    };
    let file = |path: PathBuf| format!("{}#{loss}", path.display());
    let mut paths = vec![("native", file(native)), ("wasm", file(wasm))];
    if pack == "plugins" {
        paths.insert(0, ("built in", loss.to_owned()));
    }
    paths
}

/// A loss on a batch.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// `[n, d]`
    pub target: Option<TensorData>,
    /// `[n, d']`
    pub source: Option<TensorData>,
    /// Maps `[n, c, h, w]` or vectors `[n, c]`.
    pub target_features: Vec<TensorData>,
    /// As the target's.
    pub source_features: Vec<TensorData>,
    /// `[n]`
    pub labels: Vec<i64>,
    /// `[n]`
    pub ids: Vec<i64>,
    /// Classes of the training set.
    pub classes: usize,
    /// Samples of the training set.
    pub samples: usize,
    /// Class of every sample of the training set.
    pub sample_labels: Vec<i64>,
    /// Replaces the step's random draws.
    pub draws: Vec<TensorData>,
    /// Views of each sample.
    pub views: usize,
    /// Parameters and buffers, as in `Session::load_state`.
    pub state: BTreeMap<String, TensorData>,
    /// Hyperparameters.
    pub hyper: Map<String, Value>,
}

/// What a loss gives.
#[derive(Clone, Debug)]
pub struct Result {
    /// The loss.
    pub value: f64,
    /// What it reports beside.
    pub terms: BTreeMap<String, f64>,
    /// Gradients: `target`, `target_features.…` and `param.…`.
    pub gradients: BTreeMap<String, Vec<f64>>,
    /// Parameters and buffers after the step.
    pub state: BTreeMap<String, TensorData>,
}

/// A session of a loss, by a name that says where it comes from.
pub fn session(
    name: &str,
    hyper: &Map<String, Value>,
    device: &Device,
    dtype: FloatDType,
    limits: &Limits,
) -> std::result::Result<Session, String> {
    let mut registry = Registry::new(limits.clone()).map_err(|e| e.to_string())?;
    let found = registry.find(name).map_err(|e| e.to_string())?;
    let hyper = found.resolve(hyper).map_err(|e| e.to_string())?;
    let code = found.create(&hyper, limits).map_err(|e| e.to_string())?;
    let setup = Setup { device: device.clone(), dtype, seed: 1, limits: limits.clone() };
    Ok(Session::new(&found.definition.name, code, setup))
}

impl Case {
    /// Random embeddings and feature maps of `n` samples in classes of two; a formula, the same
    /// everywhere.
    pub fn example(n: usize, d: usize, salt: u64) -> Self {
        let values = |shape: &[usize], salt: u64| {
            let mut x = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut next = || {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
            };
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
            TensorData::new(values, shape)
        };
        let features = |salt: u64, extra: usize| {
            vec![
                values(&[n, 3 + extra, 4, 4], salt),
                values(&[n, 4 + extra, 2, 2], salt + 1),
                values(&[n, 5 + extra], salt + 2),
            ]
        };
        Case {
            target: Some(values(&[n, d], salt + 1)),
            source: Some(values(&[n, d + 4], salt + 1000)),
            target_features: features(salt + 2000, 0),
            source_features: features(salt + 3000, 2),
            labels: (0..n as i64).map(|i| i / 2).collect(),
            sample_labels: (0..n as i64).map(|i| i / 2).collect(),
            ids: (0..n as i64).collect(),
            classes: n.div_ceil(2),
            samples: n,
            views: 1,
            ..Case::default()
        }
    }

    /// The inputs of a step; the target is a leaf of the graph.
    pub fn inputs(&self, device: &Device, dtype: FloatDType) -> Inputs {
        let options = || (device, burn::tensor::DType::from(dtype));
        let feature = |data: &TensorData, leaf: bool| {
            if data.rank() == 4 {
                let map = Tensor::from_data(data.clone(), options());
                Feature::Map(if leaf { map.require_grad() } else { map })
            } else {
                let vector = Tensor::from_data(data.clone(), options());
                Feature::Vector(if leaf { vector.require_grad() } else { vector })
            }
        };
        let target = self.target.clone();
        Inputs {
            target: target.map(|t| Tensor::from_data(t, options()).require_grad()),
            source: self.source.clone().map(|s| Tensor::from_data(s, options())),
            target_features: self.target_features.iter().map(|x| feature(x, true)).collect(),
            source_features: self.source_features.iter().map(|x| feature(x, false)).collect(),
            labels: self.labels.clone(),
            ids: self.ids.clone(),
            classes: self.classes,
            samples: self.samples,
            sample_labels: self.sample_labels.clone().into(),
            draws: self.draws.clone(),
            views: self.views,
            ..Inputs::default()
        }
    }

    /// Runs a loss for one step.
    pub fn run(
        &self,
        name: &str,
        device: &Device,
        dtype: FloatDType,
    ) -> std::result::Result<Result, String> {
        let mut session = session(name, &self.hyper, device, dtype, &Limits::default())?;
        let error = |e: LossError| e.to_string();
        session.load_state(self.state.clone()).map_err(error)?;
        let inputs = self.inputs(device, dtype);
        let evaluation = Evaluation::run(&mut session, &inputs).map_err(error)?;
        let gradients = evaluation.gradients(&session, &inputs);
        session.commit();
        let Evaluation { value, terms, .. } = evaluation;
        Ok(Result { value, terms, gradients: numbers(gradients), state: session.state() })
    }
}

fn numbers(tensors: BTreeMap<String, TensorData>) -> BTreeMap<String, Vec<f64>> {
    tensors.into_iter().map(|(name, data)| (name, data.iter::<f64>().collect())).collect()
}

/// The CPU, with autodiff.
pub fn cpu() -> Device {
    Device::flex().autodiff()
}

/// Names of the losses that are built in.
///
/// # Panics
/// If the built-in pack is broken.
pub fn losses() -> Vec<String> {
    let registry = Registry::new(Limits::default()).unwrap_or_else(|e| panic!("{e}"));
    registry.builtin().description.losses.iter().map(|l| l.name.clone()).collect()
}

/// The program, built by the same `cargo test`.
///
/// # Panics
/// If it isn't where cargo puts it.
pub fn retort() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
    let name = format!("retort{}", std::env::consts::EXE_SUFFIX);
    let found = test.ancestors().map(|dir| dir.join(&name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} isn't beside {}: run `cargo build` first", test.display())
    })
}
