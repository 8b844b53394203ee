//! Tensors in safetensors files: read whole, and written.

pub mod header;

use burn::store::bridge;
use burn::store::burn_pack::Tensor;
use burn::tensor::{BoolStore, DType, Shape, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The types that both know.
const TYPES: [(Dtype, DType); 13] = [
    (Dtype::F64, DType::F64),
    (Dtype::F32, DType::F32),
    (Dtype::F16, DType::F16),
    (Dtype::BF16, DType::BF16),
    (Dtype::I64, DType::I64),
    (Dtype::I32, DType::I32),
    (Dtype::I16, DType::I16),
    (Dtype::I8, DType::I8),
    (Dtype::U64, DType::U64),
    (Dtype::U32, DType::U32),
    (Dtype::U16, DType::U16),
    (Dtype::U8, DType::U8),
    (Dtype::BOOL, DType::Bool(BoolStore::Native)),
];

/// Burn's type for a file's; none for one that retort doesn't read.
pub fn dtype(of: Dtype) -> Option<DType> {
    TYPES.iter().find(|(file, _)| *file == of).map(|(_, burn)| *burn)
}

/// What is in a file.
#[derive(Debug)]
pub struct File {
    /// Its tensors; the values of each are copied when they are asked for.
    pub tensors: BTreeMap<String, Tensor>,
    /// Its metadata.
    pub metadata: HashMap<String, String>,
}

/// Reads a whole file.
///
/// # Errors
///
/// Its header makes no sense, or has a tensor of a type that retort doesn't read.
pub fn read(bytes: &Arc<Vec<u8>>) -> Result<File, String> {
    let (header, parsed) = header::read(bytes)
        .map_err(|e| format!("it isn't a whole safetensors file ({e}); use another copy of it"))?;
    let mut tensors = BTreeMap::new();
    for (name, info) in parsed.tensors().into_iter().collect::<BTreeMap<_, _>>() {
        let dtype = dtype(info.dtype)
            .ok_or_else(|| format!("{name} has type {:?}, which isn't supported", info.dtype))?;
        let (from, to) = (8 + header + info.data_offsets.0, 8 + header + info.data_offsets.1);
        let (bytes, shape) = (bytes.clone(), info.shape.clone());
        let read =
            move || Ok(TensorData::from_bytes_vec(bytes[from..to].to_vec(), shape.clone(), dtype));
        let shape = Shape::from(info.shape.clone());
        tensors.insert(name.clone(), bridge::deferred(name, dtype, shape, None, read));
    }
    Ok(File { tensors, metadata: parsed.metadata().clone().unwrap_or_default() })
}

/// The bytes of a file with these tensors, under these names.
///
/// # Errors
///
/// A tensor is of a type that no such file holds.
pub fn write<'a>(
    tensors: impl IntoIterator<Item = (String, &'a TensorData)>,
    metadata: Option<BTreeMap<String, String>>,
) -> Result<Vec<u8>, String> {
    let view = |(name, data): (String, &'a TensorData)| {
        let dtype = TYPES.iter().find(|(_, burn)| *burn == data.dtype()).map(|(file, _)| *file);
        let dtype = dtype.ok_or_else(|| {
            format!("{name} is of the type {:?}, which no safetensors file holds", data.dtype())
        })?;
        let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
        let view = view.map_err(|e| format!("{name}: {e}"))?;
        Ok((name, view))
    };
    let views: Vec<_> = tensors.into_iter().map(view).collect::<Result<_, String>>()?;
    let metadata = metadata.map(|all| all.into_iter().collect());
    safetensors::serialize(views, metadata).map_err(|e| e.to_string())
}
