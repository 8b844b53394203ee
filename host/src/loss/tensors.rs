//! Tensors in safetensors files: what `retort loss eval` reads and writes.

use crate::failure::{Failure, Result};
use burn::tensor::{DType, Tensor, TensorData};
use retort_core::fs::read_regular;
use retort_core::tensors::{self, header};
use retort_core::{Feature, Session, Setup};
use retort_sdk::schema::nearest;
use safetensors::{Dtype, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tensors of a file, by name.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    tensors: BTreeMap<String, TensorData>,
}

/// Names that an input file may hold; those that end in a dot are followed by a name or a number.
const KNOWN: [&str; 10] = [
    "target",
    "source",
    "labels",
    "ids",
    "sample_labels",
    "target_features.",
    "source_features.",
    "param.",
    "buffer.",
    "random.",
];

/// The greatest size of a dimension, and the greatest number of classes or samples.
pub const MOST: usize = i32::MAX as usize;

/// Reads a file of inputs.
pub fn read(path: &Path) -> Result<File> {
    let bytes = read_regular(path, u64::MAX).map_err(|e| Failure::file("read", path, e))?;
    let parsed = header::open(&bytes).map_err(|e| {
        Failure::file("read", path, format!("it isn't a whole safetensors file ({e})"))
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in parsed.iter() {
        let known = |k: &&str| name == *k || (k.ends_with('.') && name.starts_with(*k));
        if !KNOWN.iter().any(known) {
            return Err(Failure::new(format!(
                "{} holds a tensor {name}, which is no input of a loss; inputs are: {}",
                path.display(),
                KNOWN
                    .map(|k| if k.ends_with('.') { format!("{k}…") } else { k.to_owned() })
                    .join(", ")
            )));
        }
        let shape = view.shape();
        if shape.iter().any(|&size| size == 0 || size > MOST) {
            return Err(Failure::new(format!(
                "{}: tensor {name} has shape {shape:?}; every dimension must be 1 to {MOST}",
                path.display()
            )));
        }
        tensors.insert(name.to_owned(), decode(name, &view, path)?);
    }
    Ok(File { path: path.to_owned(), tensors })
}

/// Values as 64-bit numbers: floats as `f64`, which holds each of the smaller types exactly.
fn decode(name: &str, view: &TensorView, path: &Path) -> Result<TensorData> {
    let shape = view.shape().to_vec();
    if shape.contains(&0) {
        return Err(Failure::new(format!(
            "{}: tensor {name} has shape {shape:?}: there is nothing in it",
            path.display()
        )));
    }
    let bytes = view.data();
    macro_rules! values {
        ($ty:ty, $as:ty) => {
            TensorData::new(
                bytes
                    .as_chunks::<{ size_of::<$ty>() }>()
                    .0
                    .iter()
                    .map(|b| <$ty>::from_le_bytes(*b) as $as)
                    .collect::<Vec<$as>>(),
                shape,
            )
        };
    }
    Ok(match view.dtype() {
        Dtype::F64 => values!(f64, f64),
        Dtype::F32 => values!(f32, f64),
        Dtype::I64 => values!(i64, i64),
        Dtype::I32 => values!(i32, i64),
        Dtype::I16 => values!(i16, i64),
        Dtype::I8 => values!(i8, i64),
        // Beyond 63 bits they are other numbers, and equal ones stay equal, which is all that labels need.
        Dtype::U64 => values!(u64, i64),
        Dtype::U32 => values!(u32, i64),
        Dtype::U16 => values!(u16, i64),
        Dtype::U8 => values!(u8, i64),
        other => {
            return Err(Failure::new(format!(
                "{}: tensor {name} has type {other:?}; use F32 or F64, and whole numbers such as I64 for indices",
                path.display()
            )));
        }
    })
}

fn is_state(name: &str) -> bool {
    name.starts_with("param.") || name.starts_with("buffer.")
}

impl File {
    fn wrong(&self, name: &str, why: &str) -> Failure {
        Failure::new(format!("{}: tensor {name} {why}", self.path.display()))
    }

    /// Parameters and buffers, under the names of `Session::load_state`.
    pub fn state(&self) -> BTreeMap<String, TensorData> {
        let state = self.tensors.iter().filter(|(name, _)| is_state(name));
        state.map(|(name, data)| (name.clone(), data.clone())).collect()
    }

    /// Refuses parameters and buffers that the loss didn't ask for in its step.
    pub fn check_state(&self, session: &Session) -> Result<()> {
        let asked = session.state_used();
        let mut given = self.tensors.keys().filter(|name| is_state(name));
        let Some(name) = given.find(|&name| !asked.contains(name)) else { return Ok(()) };
        let all: Vec<&str> = asked.iter().map(String::as_str).collect();
        let has = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        let near = nearest(name, &all).map(|n| format!("; did you mean {n}?"));
        Err(self.wrong(
            name,
            &format!(
                "is no state of {}{} State of this loss: {has}",
                session.name(),
                near.unwrap_or_else(|| ".".to_owned()),
            ),
        ))
    }

    fn floats<const D: usize>(&self, name: &str, setup: &Setup) -> Result<Option<Tensor<D>>> {
        let Some(data) = self.tensors.get(name) else { return Ok(None) };
        if data.rank() != D {
            let shape = data.shape().to_vec();
            return Err(self.wrong(name, &format!("has shape {shape:?}; it needs {D} dimensions")));
        }
        if !data.dtype().is_float() {
            return Err(self.wrong(name, "holds integers; it must hold floats"));
        }
        let options = (&setup.device, DType::from(setup.dtype));
        Ok(Some(Tensor::from_data(data.clone(), options)))
    }

    /// The target's embeddings, a leaf of the graph. A file of feature maps may do without.
    pub fn target(&self, setup: &Setup) -> Result<Option<Tensor<2>>> {
        let target = self.floats::<2>("target", setup)?;
        if target.is_none() && !self.tensors.contains_key("target_features.0") {
            return Err(self.wrong("target", "is missing: the target's embeddings, [n, d] floats"));
        }
        Ok(target.map(Tensor::require_grad))
    }

    /// Samples of the training set, if the file has the class of each.
    pub fn samples(&self) -> Option<usize> {
        self.tensors.get("sample_labels").map(TensorData::num_elements)
    }

    /// The target's feature maps, leaves of the graph.
    pub fn target_features(&self, setup: &Setup) -> Result<Vec<Feature>> {
        let features = self.features("target_features", setup)?.into_iter();
        Ok(features.map(|f| f.map(Tensor::require_grad, Tensor::require_grad)).collect())
    }

    /// The source's embeddings.
    pub fn source(&self, setup: &Setup) -> Result<Option<Tensor<2>>> {
        self.floats("source", setup)
    }

    /// `name.0`, `name.1` … as far as they go; maps `[n, c, h, w]` or vectors `[n, c]`.
    pub fn features(&self, name: &str, setup: &Setup) -> Result<Vec<Feature>> {
        let mut list = Vec::new();
        while let Some(data) = self.tensors.get(&format!("{name}.{}", list.len())) {
            let key = format!("{name}.{}", list.len());
            let feature = match data.rank() {
                2 => self.floats(&key, setup)?.map(Feature::Vector),
                _ => self.floats(&key, setup)?.map(Feature::Map),
            };
            list.extend(feature);
        }
        let count = self.tensors.keys().filter(|k| k.starts_with(&format!("{name}."))).count();
        if count != list.len() {
            return Err(self.wrong(
                &format!("{name}.{}", list.len()),
                "is missing: feature maps are numbered from 0 without a gap",
            ));
        }
        Ok(list)
    }

    /// Labels, which a loss may only compare: any numbers; none if the file has none.
    pub fn labels(&self) -> Result<Vec<i64>> {
        self.integers("labels")
    }

    fn integers(&self, name: &str) -> Result<Vec<i64>> {
        let Some(data) = self.tensors.get(name) else { return Ok(Vec::new()) };
        if data.rank() != 1 || data.dtype().is_float() {
            return Err(self.wrong(name, "must hold integers [n]"));
        }
        Ok(data.iter::<i64>().collect())
    }

    /// Numbers of samples or classes, below [`MOST`]; none if the file has none.
    pub fn indices(&self, name: &str) -> Result<Vec<i64>> {
        let values = self.integers(name)?;
        match values.iter().find(|&&v| usize::try_from(v).map_or(true, |v| v >= MOST)) {
            Some(bad) => {
                let why = format!("holds {bad}; it must not be negative, and be below {MOST}");
                Err(self.wrong(name, &why))
            }
            None => Ok(values),
        }
    }

    /// Refuses ids beyond the number of samples.
    pub fn check_ids(&self, samples: usize) -> Result<()> {
        match self.indices("ids")?.into_iter().find(|&id| id as usize >= samples) {
            Some(bad) => {
                let why =
                    format!("holds {bad}, but there are {samples} (--samples), counted from 0");
                Err(self.wrong("ids", &why))
            }
            None => Ok(()),
        }
    }

    /// Refuses classes of samples that aren't as many as there are samples.
    pub fn check_samples(&self, samples: usize) -> Result<()> {
        match self.samples() {
            Some(n) if n != samples => {
                let why = format!("holds {n} classes, but there are {samples} samples (--samples)");
                Err(self.wrong("sample_labels", &why))
            }
            _ => Ok(()),
        }
    }

    /// What replaces the step's random draws.
    pub fn draws(&self) -> Result<Vec<TensorData>> {
        let mut list = Vec::new();
        while let Some(data) = self.tensors.get(&format!("random.{}", list.len())) {
            list.push(data.clone());
        }
        let count = self.tensors.keys().filter(|k| k.starts_with("random.")).count();
        if count != list.len() {
            let name = format!("random.{}", list.len());
            return Err(self.wrong(&name, "is missing: draws are numbered from 0 without a gap"));
        }
        Ok(list)
    }

    /// Refuses inputs whose first dimension isn't the batch's.
    pub fn check_rows(&self, n: usize) -> Result<()> {
        for (name, data) in &self.tensors {
            let shape = data.shape().to_vec();
            let rows = shape.first().copied().unwrap_or(1);
            let per_row =
                !is_state(name) && !name.starts_with("random.") && name != "sample_labels";
            if rows != n && per_row {
                let why = format!(
                    "has {rows} rows, but target has {n}; each row is one sample, and its shape is \
                     {shape:?}"
                );
                return Err(self.wrong(name, &why));
            }
        }
        Ok(())
    }
}

/// Writes tensors in their own types, whole or not at all.
pub fn write(path: &Path, tensors: &BTreeMap<String, TensorData>) -> Result<()> {
    retort_core::fs::atomic_write(path, &encode(path, tensors)?).map_err(Failure::new)
}

/// Writes tensors to a file that isn't there yet. One that is stays, and must hold the same.
pub fn write_new(path: &Path, tensors: &BTreeMap<String, TensorData>) -> Result<()> {
    if std::fs::symlink_metadata(path).is_err() {
        return write(path, tensors);
    }
    let there = read_regular(path, 1 << 30).map_err(|e| Failure::file("read", path, e))?;
    if there == encode(path, tensors)? {
        return Ok(());
    }
    Err(Failure::file("write", path, "it is there and holds something else; take another name"))
}

/// The bytes of a file for `path`.
fn encode(path: &Path, named: &BTreeMap<String, TensorData>) -> Result<Vec<u8>> {
    let named = named.iter().map(|(name, data)| (name.clone(), data));
    tensors::write(named, None).map_err(|e| Failure::file("write", path, e))
}
