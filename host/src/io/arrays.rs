//! Arrays of numbers or names in files of any system: safetensors, NumPy's, PyTorch's, tables, texts.

mod numpy;
mod table;

use crate::failure::{Failure, Result};
use burn::store::bridge;
use burn::tensor::{DType, TensorData};
use retort_core::checkpoint::Weights;
use retort_core::fs::{open_regular, read_regular};
use retort_core::tensors::{dtype, header};
use retort_sdk::schema::nearest;
use safetensors::Dtype;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use zip::ZipArchive;

/// Endings of files of arrays.
pub const ENDINGS: [&str; 8] = ["safetensors", "npy", "npz", "pt", "pth", "csv", "tsv", "txt"];

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Its name in the file.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Values,
}

/// What an array holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Floats of any size, rounded to 32 bits.
    Floats(Vec<f32>),
    /// Whole numbers, and booleans.
    Signed(Vec<i64>),
    /// Whole numbers from 0.
    Unsigned(Vec<u64>),
    /// Texts.
    Names(Vec<String>),
    /// Elements of another type, which is called so.
    Unknown(String),
}

/// A file of arrays.
pub struct Arrays {
    path: PathBuf,
    kind: Kind,
}

impl std::fmt::Debug for Arrays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrays").field("path", &self.path).finish_non_exhaustive()
    }
}

enum Kind {
    Safetensors(Vec<u8>),
    Npz { zip: ZipArchive<Cursor<Vec<u8>>>, names: Vec<String>, size: u64 },
    Torch(Weights),
    Read(Vec<Array>),
}

impl Arrays {
    /// Opens a file; what it is is told by its content, or else by its ending.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |why: &dyn std::fmt::Display| Failure::file("read", path, why);
        let mut head = Vec::new();
        let file = open_regular(path).map_err(|e| fail(&e))?;
        file.take(64).read_to_end(&mut head).map_err(|e| fail(&e))?;
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        let ends = |list: &[&str]| list.iter().any(|e| ending == *e);
        let whole = || read_regular(path, u64::MAX).map_err(|e| fail(&e));
        let name = || path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let kind = if head.starts_with(numpy::MAGIC) {
            let array = numpy::read(&whole()?, &name()).map_err(|why| fail(&why))?;
            Kind::Read(vec![array])
        } else if head.starts_with(b"PK") && (ends(&["npz"]) || !ends(&["pt", "pth"])) {
            let bytes = whole()?;
            let size = bytes.len() as u64;
            let zip = ZipArchive::new(Cursor::new(bytes));
            let zip = zip.map_err(|e| fail(&format!("it isn't a whole zip archive ({e})")))?;
            let names = zip
                .file_names()
                .filter_map(|name| name.ok()?.strip_suffix(".npy").map(str::to_owned));
            let names: Vec<String> = names.collect();
            if !names.is_empty() || ends(&["npz"]) {
                Kind::Npz { zip, names, size }
            } else {
                Kind::Torch(Weights::read(path)?)
            }
        } else if head.starts_with(b"PK") || ends(&["pt", "pth"]) {
            Kind::Torch(Weights::read(path)?)
        } else if ends(&["safetensors"]) || head.get(8) == Some(&b'{') {
            let bytes = whole()?;
            header::open(&bytes)
                .map_err(|e| fail(&format!("it isn't a whole safetensors file ({e})")))?;
            Kind::Safetensors(bytes)
        } else {
            let text = String::from_utf8(whole()?).map_err(|_| {
                fail(&"it is no file of arrays: those are safetensors, .npy, .npz, .pt, .pth, CSV, and \
                       texts in UTF-8 with a label on each line")
            })?;
            let is_table = ends(&["csv", "tsv"]);
            let read = if is_table { table::columns(&text) } else { table::lines(&text) };
            Kind::Read(read.map_err(|why| fail(&why))?)
        };
        Ok(Arrays { path: path.to_owned(), kind })
    }

    /// The array of this name; or else, if `or_only`, the only one.
    pub fn find(&mut self, wanted: &str, or_only: bool) -> Result<Array> {
        let names = self.names();
        let name = match names.as_slice() {
            [only] if or_only => only.as_str(),
            _ => wanted,
        };
        if let Some(found) = self.read(name)? {
            return Ok(found);
        }
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let near = nearest(wanted, &known).map(|near| format!(" (did you mean {near}?)"));
        let list: Vec<String> = names.iter().map(|name| self.described(name)).collect();
        Err(Failure::new(format!(
            "{} has no tensor {wanted}{}; it has {}",
            self.path.display(),
            near.unwrap_or_default(),
            if list.is_empty() { "none".to_owned() } else { list.join(", ") }
        )))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = match &self.kind {
            Kind::Safetensors(bytes) => {
                let file = header::open(bytes);
                file.map_or_else(
                    |_| vec![],
                    |f| f.iter().map(|(name, _)| name.to_owned()).collect(),
                )
            }
            Kind::Npz { names, .. } => names.clone(),
            Kind::Torch(weights) => {
                let inside = weights.tensors.keys().map(|key| format!("{}{key}", weights.prefix));
                inside.chain(weights.beside.keys().cloned()).collect()
            }
            Kind::Read(arrays) => arrays.iter().map(|array| array.name.clone()).collect(),
        };
        names.sort_unstable();
        names.dedup();
        names
    }

    /// A name with its shape, where that is known at once.
    fn described(&self, name: &str) -> String {
        let shape = match &self.kind {
            Kind::Safetensors(bytes) => {
                let file = header::open(bytes).ok();
                file.and_then(|file| Some(file.tensor(name).ok()?.shape().to_vec()))
            }
            Kind::Npz { .. } => None,
            Kind::Torch(weights) => torch(weights, name).map(|t| t.shape.to_vec()),
            Kind::Read(arrays) => {
                arrays.iter().find(|a| a.name == name).map(|array| array.shape.clone())
            }
        };
        shape.map_or_else(|| name.to_owned(), |shape| format!("{name} {shape:?}"))
    }

    fn read(&mut self, name: &str) -> Result<Option<Array>> {
        let path = &self.path;
        let fail =
            |why: &dyn std::fmt::Display| Failure::file("read", path, format!("{name}: {why}"));
        match &mut self.kind {
            Kind::Read(arrays) => Ok(arrays.iter().find(|array| array.name == name).cloned()),
            Kind::Safetensors(bytes) => {
                let file = header::open(bytes).map_err(|e| fail(&e))?;
                let Ok(view) = file.tensor(name) else { return Ok(None) };
                let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
                let values = match (view.dtype(), dtype(view.dtype())) {
                    // One byte each.
                    (Dtype::BOOL, _) => {
                        Values::Signed(bytes.iter().map(|&b| i64::from(b != 0)).collect())
                    }
                    (_, Some(dtype)) => {
                        values(&TensorData::from_bytes_vec(bytes, shape.clone(), dtype))
                    }
                    (unknown, None) => Values::Unknown(format!("{unknown:?}")),
                };
                Ok(Some(Array { name: name.to_owned(), shape, values }))
            }
            Kind::Torch(weights) => {
                let Some(tensor) = torch(weights, name) else { return Ok(None) };
                let data = bridge::to_data(tensor).map_err(|e| fail(&e))?;
                let (name, shape) = (name.to_owned(), data.shape().to_vec());
                Ok(Some(Array { name, shape, values: values(&data) }))
            }
            Kind::Npz { zip, names, size } => {
                if !names.iter().any(|known| known == name) {
                    return Ok(None);
                }
                let file = format!("{name}.npy");
                // As much as a file of that size may hold, compressed: what is more is a bomb.
                let most = (64 << 20) + 16 * *size;
                let entry = zip.by_name(&file).map_err(|e| fail(&e))?;
                let mut bytes = Vec::new();
                entry.take(most + 1).read_to_end(&mut bytes).map_err(|e| fail(&e))?;
                if bytes.len() as u64 > most {
                    return Err(fail(&format!(
                        "it unpacks to more than {most} bytes; save it uncompressed"
                    )));
                }
                numpy::read(&bytes, name).map(Some).map_err(|why| fail(&why))
            }
        }
    }
}

/// A tensor of a PyTorch file, by its whole name.
fn torch<'a>(weights: &'a Weights, name: &str) -> Option<&'a burn::store::burn_pack::Tensor> {
    let inside = name.strip_prefix(weights.prefix.as_str());
    inside.and_then(|key| weights.tensors.get(key)).or_else(|| weights.beside.get(name))
}

fn values(data: &TensorData) -> Values {
    match data.dtype() {
        DType::F64 => Values::Floats(data.iter::<f64>().map(|x| x as f32).collect()),
        DType::F32 | DType::F16 | DType::BF16 => Values::Floats(data.iter::<f32>().collect()),
        DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::Bool(_) => {
            Values::Signed(data.iter::<i64>().collect())
        }
        DType::U64 | DType::U32 | DType::U16 | DType::U8 => {
            Values::Unsigned(data.iter::<u64>().collect())
        }
        other => Values::Unknown(format!("{other:?}")),
    }
}
