//! Tensors' numbers: parts of a file that aren't read before they are asked for.

use super::value::View;
use burn::store::bridge;
use burn::store::burn_pack::{Error, Tensor};
use burn::tensor::{DType, Shape, TensorData};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a tensor.
const LARGEST: u64 = 10 << 30;

/// Where a storage's bytes lie in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub offset: u64,
    pub bytes: u64,
    /// Their sum, if the container has one; 0 stands for none.
    pub crc32: u32,
}

/// All storages of a file, by their keys.
pub(super) type Places = BTreeMap<String, Place>;

/// A file with its storages.
#[derive(Debug)]
pub(super) struct Source {
    file: Arc<Mutex<File>>,
    places: Places,
}

impl Source {
    pub fn new(file: Arc<Mutex<File>>, places: Places) -> Arc<Self> {
        Arc::new(Source { file, places })
    }

    /// Bytes of a storage from a place in it on, which lie within it.
    fn read(&self, key: &str, place: Place, from: u64, count: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count as usize);
        {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(place.offset + from))?;
            (&mut *file).take(count).read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 != count {
            let why = format!("the file ends before the storage {key:?} does");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        let whole = count == place.bytes && place.crc32 != 0;
        if whole && crc32fast::hash(&bytes) != place.crc32 {
            let why = format!("the storage {key:?} has another sum than it was written with");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(bytes)
    }
}

/// The tensor that a view shows, if it lies within its storage.
pub(super) fn tensor(name: String, view: View, source: &Arc<Source>) -> Result<Tensor, String> {
    let View { storage, element, offset, shape, strides } = view;
    let key = storage.key;
    let shown = super::super::fit::shown(&name);
    let place =
        *source.places.get(&key).ok_or_else(|| format!("{shown} lacks its storage {key:?}"))?;
    let dtype = element.dtype.map_err(|dtype| format!("{shown} is of {dtype}"))?;
    if !storage.untyped && storage.element.size != element.size {
        return Err(format!("{shown} has another type than its storage {key:?}"));
    }
    let large = || format!("{shown} is too large");
    let count = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).ok_or_else(large)?;
    let bytes = count.checked_mul(element.size).filter(|&b| b <= LARGEST).ok_or_else(large)?;
    let first = offset.checked_add(storage.offset).ok_or_else(large)?;
    // Numbers of the storage from the view's first to its last.
    let reach = shape.iter().zip(&strides).try_fold(1u64, |reach, (&dim, &stride)| {
        (dim as u64).saturating_sub(1).checked_mul(stride)?.checked_add(reach)
    });
    let reach = if count == 0 { 0 } else { reach.ok_or_else(large)? };
    let end = first.checked_add(reach).and_then(|end| end.checked_mul(element.size));
    let end = end.ok_or_else(large)?;
    let declared = storage.count.checked_mul(storage.element.size).ok_or_else(large)?;
    if end > declared.min(place.bytes) {
        return Err(format!(
            "{shown} needs {end} bytes of its storage {key:?}, which has {}",
            declared.min(place.bytes)
        ));
    }
    let size = element.size;
    let (declared, source) = (Shape::from(shape.clone()), source.clone());
    Ok(bridge::deferred(name, dtype, declared.clone(), None, move || {
        let read = source.read(&key, place, first * size, reach * size);
        let read = read.map_err(|e| match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Error::ValidationError(e.to_string())
            }
            _ => Error::IoError(e.to_string()),
        })?;
        let mut data = if in_order(&shape, &strides) {
            read
        } else {
            gathered(&read, &shape, &strides, size as usize, bytes as usize)
        };
        if matches!(dtype, DType::Bool(_)) {
            for byte in &mut data {
                *byte = u8::from(*byte != 0);
            }
        }
        Ok(TensorData::from_bytes_vec(data, declared.clone(), dtype))
    }))
}

/// Whether a view's numbers lie one after the other, without gaps.
fn in_order(shape: &[usize], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    shape.iter().zip(strides).rev().all(|(&dim, &stride)| {
        let right = dim == 1 || stride == expected;
        expected = expected.saturating_mul(dim as u64);
        right
    })
}

/// A view's numbers, one after the other.
fn gathered(data: &[u8], shape: &[usize], strides: &[u64], size: usize, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    let mut at = vec![0; shape.len()];
    let mut from = 0;
    while out.len() < bytes {
        out.extend_from_slice(&data[from * size..(from + 1) * size]);
        for d in (0..shape.len()).rev() {
            at[d] += 1;
            from += strides[d] as usize;
            if at[d] < shape[d] {
                break;
            }
            from -= at[d] * strides[d] as usize;
            at[d] = 0;
        }
    }
    out
}
