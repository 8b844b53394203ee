//! Every loss pinned: snapshots on fixed embeddings, parity with the golden data, hostile plugins.
//! This library is what those tests share.

pub mod corpus;
pub mod facts;
pub mod formula;
pub mod handmade;
pub mod torch;

pub use retort_host::loss::case::{Case, Outcome, session, values};

use burn::tensor::{Device, TensorData};
use retort_core::Limits;
use retort_host::plugin::build::{self, Built, Cargo};
use retort_host::plugin::registry::Registry;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
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
    shared("golden", "RETORT_GOLDEN", file)
}

/// A file of the cases on which retort fell short once: in `RETORT_CASES`, or in `../shared/cases`
/// beside the workspace.
///
/// # Panics
/// If it isn't there: these tests are never skipped.
pub fn cases(file: &str) -> PathBuf {
    shared("cases", "RETORT_CASES", file)
}

/// A file of the recent losses' numbers: in `RETORT_GOLDEN_NEXT`, or in `../shared/golden-next` beside the
/// workspace.
///
/// # Panics
/// If it isn't there: these tests are never skipped.
pub fn golden_next(file: &str) -> PathBuf {
    shared("golden-next", "RETORT_GOLDEN_NEXT", file)
}

/// A file of a folder that a variable names, or that lies in `../shared` beside the workspace.
fn shared(folder: &str, variable: &str, file: &str) -> PathBuf {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new("../shared").join(folder));
    let path = workspace().join(&folder).join(file);
    assert!(
        path.exists(),
        "there is no {}: put {} beside the clone, or set {variable}",
        path.display(),
        folder.display()
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
            cargo: Cargo { profile: "dev".to_owned(), install: true, out: None },
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
