//! What the header of a safetensors file may claim: checked before the library builds anything of it.

use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Bytes of a header. A training's checkpoint of ResNet-101 has some 300 thousand.
pub const LONGEST_HEADER: usize = 16 << 20;
/// Tensors in a file. A training's checkpoint of ResNet-101 has some two thousand.
pub const MOST_TENSORS: usize = 100_000;
/// Bytes of a tensor's name.
const LONGEST_NAME: usize = 256;
/// Dimensions of a tensor.
pub const MOST_DIMENSIONS: usize = 16;

/// The size of the header of a file of `length` bytes that begins with these.
pub fn size(first: [u8; 8], length: u64) -> Result<usize, String> {
    let size = u64::from_le_bytes(first);
    if size > length.saturating_sub(8) {
        return Err("its header is longer than it".to_owned());
    }
    if size > LONGEST_HEADER as u64 {
        return Err(format!("its header has {size} bytes, and may have {LONGEST_HEADER}"));
    }
    Ok(size as usize)
}

/// A header's JSON, if what it claims makes sense: how many tensors, of which names and dimensions, and
/// none twice.
pub fn parse(text: &[u8]) -> Result<Metadata, String> {
    let _: Claims = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    serde_json::from_slice(text).map_err(|e| e.to_string())
}

/// Checks a whole file's header; its size, and itself.
pub fn read(file: &[u8]) -> Result<(usize, Metadata), String> {
    check(file)?;
    SafeTensors::read_metadata(file).map_err(|e| e.to_string())
}

/// The tensors of a whole file whose header makes sense.
pub fn open(file: &[u8]) -> Result<SafeTensors<'_>, String> {
    check(file)?;
    SafeTensors::deserialize(file).map_err(|e| e.to_string())
}

fn check(file: &[u8]) -> Result<(), String> {
    let first = file.first_chunk().ok_or("it ends before its header")?;
    let size = size(*first, file.len() as u64)?;
    let _: Claims = serde_json::from_slice(&file[8..8 + size]).map_err(|e| e.to_string())?;
    Ok(())
}

/// Whether a tensor may have this name.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.len() > LONGEST_NAME {
        let (n, start) = (name.len(), name.chars().take(40).collect::<String>());
        return Err(format!(
            "the name of a tensor ({start:?}…) has {n} bytes, and may have {LONGEST_NAME}"
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("the name of the tensor {name:?} has control characters"));
    }
    Ok(())
}

/// A header without anything of it.
struct Claims;

/// A tensor's dimensions, counted.
#[derive(serde::Deserialize)]
struct Claim {
    #[serde(default)]
    shape: Vec<IgnoredAny>,
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Look)
    }
}

struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            check_name(&name).map_err(A::Error::custom)?;
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                let dimensions = map.next_value::<Claim>()?.shape.len();
                if dimensions > MOST_DIMENSIONS {
                    return Err(A::Error::custom(format!(
                        "the tensor {name:?} has {dimensions} dimensions, and may have {MOST_DIMENSIONS}"
                    )));
                }
            }
            if seen.len() == MOST_TENSORS {
                let problem = format!("it holds more than {MOST_TENSORS} tensors");
                return Err(A::Error::custom(problem));
            }
            let shown = format!("{name:?} is there twice");
            if !seen.insert(name) {
                return Err(A::Error::custom(shown));
            }
        }
        Ok(Claims)
    }
}
