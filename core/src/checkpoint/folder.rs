//! Weights in several files: a folder of Hugging Face, and an index that says which tensor lies in which
//! file beside it.

use crate::fs::read_regular;
use crate::tensors::header::{MOST_TENSORS, check_name};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a folder's weights are called, the first that is there.
const NAMES: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
];

/// Bytes of an index.
const LONGEST_INDEX: u64 = 16 << 20;
/// Files of an index.
const MOST_FILES: usize = 1000;

/// The file with the weights in a folder as Hugging Face's libraries write it.
pub fn weights_in(folder: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// The files that a checkpoint lies in: itself, and those of an index.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    if is_named_index(path)
        && let Ok((index, _)) = read(path)
    {
        files.extend(index.into_keys().map(|name| beside(path, &name)));
    }
    files
}

/// Whether a file has an index's name.
pub(super) fn is_named_index(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
}

/// An index's tensors by the file they lie in.
pub(super) type Index = BTreeMap<String, Vec<String>>;

/// An index as it is written.
#[derive(Deserialize)]
struct Written {
    weight_map: BTreeMap<String, String>,
}

/// Reads an index; with its text.
pub(super) fn read(path: &Path) -> Result<(Index, Vec<u8>), String> {
    let bytes = read_regular(path, LONGEST_INDEX).map_err(|e| e.to_string())?;
    let written: Written = serde_json::from_slice(&bytes).map_err(|e| {
        format!("it is no index of weights (a text in JSON with a `weight_map`): {e}; name the file with \
                 the weights")
    })?;
    if written.weight_map.len() > MOST_TENSORS {
        return Err(format!("it names more than {MOST_TENSORS} tensors"));
    }
    let mut index = Index::new();
    for (tensor, file) in written.weight_map {
        check_name(&tensor)?;
        // A file beside it, and nothing else: what an index says is as hostile as any file.
        let plain = !file.is_empty()
            && file.len() <= 255
            && !file.starts_with('.')
            && !file.chars().any(|c| matches!(c, '/' | '\\' | ':') || c.is_control());
        if !plain {
            return Err(format!(
                "it says that {tensor} lies in {:?}, which is no file beside it",
                super::fit::shown(&file)
            ));
        }
        index.entry(file).or_default().push(tensor);
        if index.len() > MOST_FILES {
            return Err(format!("it names more than {MOST_FILES} files"));
        }
    }
    Ok((index, bytes))
}

/// A file beside an index.
pub(super) fn beside(index: &Path, name: &str) -> PathBuf {
    index.with_file_name(name)
}
