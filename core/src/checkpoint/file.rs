//! What is in a file of weights, whatever wrote it: keys, shapes and types; values on demand.

use super::{About, CheckpointError, guess, header, pickle};
use crate::backbone::NetworkConfig;
use crate::fs::{open_regular, read_regular};
use burn::store::bridge;
use burn::store::burn_pack::Tensor;
use burn::store::pytorch_reader::{FileFormat, PytorchError, PytorchReader};
use burn::tensor::{BoolStore, DType, Shape, TensorData};
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// How a file holds its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// retort's own: safetensors with what is needed to build the network again.
    Retort,
    /// Safetensors of any other origin.
    Safetensors,
    /// `torch.save` since PyTorch 1.6.
    Zip,
    /// `torch.save` of PyTorch 0.1.10 to 1.5.
    Legacy,
    /// `torch.save` before that.
    Tar,
    /// A pickle alone, which has no tensors.
    Pickle,
}

impl Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Container::Retort => "retort",
            Container::Safetensors => "safetensors",
            Container::Zip => "PyTorch zip",
            Container::Legacy => "PyTorch legacy",
            Container::Tar => "PyTorch tar",
            Container::Pickle => "pickle",
        })
    }
}

/// A file of weights. Only shapes are read when it is opened (of safetensors, all of it).
#[derive(Debug)]
pub struct Weights {
    /// How the file holds them.
    pub container: Container,
    /// What stands before every key in the file: `model_state_dict.module.`.
    pub prefix: String,
    /// The network's tensors, without that.
    pub tensors: BTreeMap<String, Tensor>,
    /// Tensors of anything else, such as an optimiser's, under their full keys.
    pub beside: BTreeMap<String, Tensor>,
    /// The file's size in bytes.
    pub size: u64,
    /// What retort wrote into its own.
    about: Option<String>,
}

/// Keys under which state dictionaries are saved, and prefixes that wrappers put before a network's
/// own. Of several networks in a file the first in this order counts.
const WRAPPERS: [&str; 6] =
    ["model_state_dict.", "state_dict.", "teacher.", "module.", "model.", "backbone."];

impl Weights {
    /// Reads a `.pth` of any age, or a `.safetensors`; nothing in it is ever executed.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let fail = |why: String| CheckpointError::unreadable(path, &why);
        let mut head = Vec::new();
        let file = open_regular(path).map_err(|e| fail(e.to_string()))?;
        let size = file.metadata().map_err(|e| fail(e.to_string()))?.len();
        file.take(512).read_to_end(&mut head).map_err(|e| fail(e.to_string()))?;
        let start = String::from_utf8_lossy(&head[..head.len().min(64)]).trim().to_lowercase();
        if start.starts_with("<!doctype") || start.starts_with("<html") {
            return Err(fail(
                "it is a web page: the server sent this in place of the file".to_owned(),
            ));
        }
        if start.starts_with("version https://git-lfs") {
            return Err(fail("it is a pointer of Git LFS: run `git lfs pull`".to_owned()));
        }
        let named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
        let zip = head.starts_with(b"PK");
        let mut weights = if (named && !zip) || head.get(8) == Some(&b'{') {
            safetensors(path)
        } else {
            pytorch(path, &head)
        }
        .map_err(fail)?;
        weights.size = size;
        let named = weights.tensors.len() + weights.beside.len();
        if named > header::MOST_TENSORS {
            return Err(fail(format!("it holds more than {} tensors", header::MOST_TENSORS)));
        }
        for name in weights.tensors.keys().chain(weights.beside.keys()) {
            header::check_name(name).map_err(fail)?;
        }
        // Views share storages, and one of stride 0 claims any size.
        let all = || weights.tensors.values().chain(weights.beside.values());
        let claimed = all().fold(0u64, |sum, t| sum.saturating_add(t.byte_len() as u64));
        if claimed > (64 << 20) + 16 * size {
            return Err(fail(format!(
                "its tensors claim {claimed} bytes, but it has {size}: it is damaged or hostile"
            )));
        }
        if weights.tensors.is_empty() {
            return Err(fail("it holds no tensors".to_owned()));
        }
        Ok(weights)
    }

    fn new(container: Container, all: BTreeMap<String, Tensor>) -> Self {
        let (mut prefix, mut tensors, mut beside) = (String::new(), all, BTreeMap::new());
        // Each of them once, or a key could make it go on for as long as it likes.
        for _ in WRAPPERS {
            let inside = |w: &&&str| tensors.keys().any(|key| key.starts_with(**w));
            let Some(wrapper) = WRAPPERS.iter().find(inside) else { break };
            let (mut inside, outside) = (BTreeMap::new(), std::mem::take(&mut tensors));
            for (key, tensor) in outside {
                match key.strip_prefix(wrapper) {
                    Some(key) => inside.insert(key.to_owned(), tensor),
                    None => beside.insert(format!("{prefix}{key}"), tensor),
                };
            }
            prefix += wrapper;
            tensors = inside;
        }
        Weights { container, prefix, tensors, beside, size: 0, about: None }
    }

    /// The network by retort's own word, else the one that has these keys and shapes, or why none has.
    pub fn network(&self) -> Result<NetworkConfig, String> {
        match &self.about {
            None => self.guess(),
            Some(about) => serde_json::from_str::<About>(about)
                .map(|about| about.network)
                .map_err(|e| format!("its metadata is damaged, or of a newer retort: {e}")),
        }
    }

    /// The network that has these keys and shapes.
    pub(super) fn guess(&self) -> Result<NetworkConfig, String> {
        guess::network(&self.tensors)
    }
}

/// The type's name in PyTorch.
pub fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F32 | DType::Flex32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::I8 => "int8",
        DType::U64 => "uint64",
        DType::U32 => "uint32",
        DType::U16 => "uint16",
        DType::U8 => "uint8",
        DType::Bool(_) => "bool",
        DType::QFloat(_) => "quantized",
    }
}

fn pytorch(path: &Path, head: &[u8]) -> Result<Weights, String> {
    pickle::inspect(path, head).map_err(|why| damaged(&why))?;
    let reader = PytorchReader::new(path).map_err(|e| match e {
        PytorchError::InvalidFormat(why) => why,
        other => damaged(&other.to_string()),
    })?;
    let container = match reader.metadata().format_type {
        FileFormat::Zip => Container::Zip,
        FileFormat::Legacy => Container::Legacy,
        FileFormat::Tar => Container::Tar,
        FileFormat::Pickle => Container::Pickle,
    };
    let tensors = reader.into_tensors().into_iter();
    Ok(Weights::new(container, tensors.map(|(k, t)| (k, bridge::from_pytorch(t))).collect()))
}

fn damaged(why: &str) -> String {
    if why.contains("retort ran nothing") || why.contains("TorchScript") {
        return why.to_owned();
    }
    format!("it isn't a whole PyTorch checkpoint ({why}); use another copy of it")
}

fn safetensors(path: &Path) -> Result<Weights, String> {
    let bytes = read_regular(path, u64::MAX).map_err(|e| e.to_string())?;
    let (header, metadata) = header::read(&bytes)
        .map_err(|e| format!("it isn't a whole safetensors file ({e}); use another copy of it"))?;
    let about = metadata.metadata().as_ref().and_then(|m| m.get("retort")).cloned();
    let bytes = Arc::new(bytes);
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors().into_iter().collect::<BTreeMap<_, _>>() {
        let dtype = match info.dtype {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I64 => DType::I64,
            Dtype::I32 => DType::I32,
            Dtype::I16 => DType::I16,
            Dtype::I8 => DType::I8,
            Dtype::U64 => DType::U64,
            Dtype::U32 => DType::U32,
            Dtype::U16 => DType::U16,
            Dtype::U8 => DType::U8,
            Dtype::BOOL => DType::Bool(BoolStore::Native),
            other => return Err(format!("{name} has type {other:?}, which isn't supported")),
        };
        let shape = Shape::from(info.shape.clone());
        let (from, to) = (8 + header + info.data_offsets.0, 8 + header + info.data_offsets.1);
        let (bytes, declared) = (bytes.clone(), info.shape.clone());
        let read = move || {
            let bytes = bytes[from..to].to_vec();
            Ok(TensorData::from_bytes_vec(bytes, declared.clone(), dtype))
        };
        tensors.insert(name.clone(), bridge::deferred(name, dtype, shape, None, read));
    }
    let Some(about) = about else { return Ok(Weights::new(Container::Safetensors, tensors)) };
    // The losses' state, and what else the training needs to go on.
    let is_beside = |name: &str| name.starts_with("loss.") || name.starts_with(super::TRAINING);
    let (beside, tensors) = tensors.into_iter().partition(|(name, _)| is_beside(name));
    let prefix = String::new();
    Ok(Weights {
        container: Container::Retort,
        prefix,
        tensors,
        beside,
        size: 0,
        about: Some(about),
    })
}
