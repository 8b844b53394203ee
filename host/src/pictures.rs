//! Pictures of a folder, or a single one, as a data set of one class.

use crate::experiment::Data;
use crate::failure::{Failure, Result};
use retort_core::fs::read_regular;
use retort_datasets::{
    Compose, DataError, Dataset, Image, Resize, ResizeCrop, Transform, is_picture,
};
use std::collections::BTreeSet;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a picture's file.
const LARGEST: u64 = 256 << 20;

/// Pictures, in the order of their paths.
pub struct Pictures {
    /// Their files.
    pub files: Vec<PathBuf>,
    labels: Vec<usize>,
    classes: Vec<String>,
    transform: Arc<dyn Transform>,
}

impl std::fmt::Debug for Pictures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pictures").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Pictures {
    /// The pictures in a folder and the folders in it, each once, or the one that `path` names. Files
    /// whose names begin with a dot are no pictures.
    pub fn open(path: &Path, transform: Arc<dyn Transform>) -> Result<Self> {
        let mut files = Vec::new();
        if path.is_dir() {
            collect(path, &mut BTreeSet::new(), &mut files)?;
        } else {
            files.push(path.to_owned());
        }
        if files.is_empty() {
            return Err(Failure::new(format!(
                "{} holds no picture: files named .jpg, .png or another picture's ending, also in folders of it",
                path.display()
            )));
        }
        let labels = vec![0; files.len()];
        Ok(Pictures { files, labels, classes: vec![path.display().to_string()], transform })
    }
}

/// `seen` are the folders that were read: links may lead to one again in more ways than can be walked.
fn collect(folder: &Path, seen: &mut BTreeSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |e| Failure::file("read the folder", folder, e);
    if !seen.insert(folder.canonicalize().map_err(fail)?) {
        return Ok(());
    }
    let entries: std::result::Result<Vec<_>, _> =
        std::fs::read_dir(folder).map_err(fail)?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(fail)?.iter().map(DirEntry::path).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            collect(&path, seen, files)?;
        } else if path.file_name().is_some_and(|n| is_picture(&n.to_string_lossy())) {
            files.push(path);
        }
    }
    Ok(())
}

impl Dataset for Pictures {
    fn name(&self) -> &'static str {
        "pictures"
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        self.files.get(i).map_or_else(String::new, |file| file.display().to_string())
    }

    fn image(&self, i: usize) -> std::result::Result<Image, DataError> {
        let file = self.describe(i);
        let bytes = read_regular(&self.files[i], LARGEST).map_err(|e| DataError::File {
            file: file.clone(),
            problem: e.to_string(),
            advice: "Name a picture that is there and may be read".to_owned(),
        })?;
        Image::decode(&bytes, &file)
    }

    fn evaluation(&self) -> Arc<dyn Transform> {
        self.transform.clone()
    }
}

/// What makes a picture of any size into a network's input: what the network's data set does with its own,
/// or what is usual for photographs where none is known.
pub fn evaluation(data: Option<&Data>, size: usize) -> Result<Arc<dyn Transform>> {
    Ok(match data {
        // A generated data set's own pictures have that size already.
        Some(data) => Arc::new(Compose(vec![
            (data.entry()?.evaluation)(size),
            Arc::new(Resize { width: size, height: size }),
        ])),
        None => Arc::new(ResizeCrop::to(size)),
    })
}
