//! Pictures of a folder, or a single one, as a data set of one class.

use crate::experiment::Data;
use crate::failure::{Failure, Result};
use retort_datasets::{ChaCha8Rng, DataError, Dataset, Image, Resize, Transform, augmentation_rng};
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Endings of the files that are taken for pictures.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

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
    /// The pictures in a folder and the folders in it, or the one that `path` names. Files whose
    /// names begin with a dot are no pictures.
    pub fn open(path: &Path, transform: Arc<dyn Transform>) -> Result<Self> {
        let mut files = Vec::new();
        if path.is_dir() {
            collect(path, &mut files)?;
        } else {
            files.push(path.to_owned());
        }
        if files.is_empty() {
            return Err(Failure::new(format!(
                "{} holds no picture: files named .jpg, .jpeg or .png, also in folders of it",
                path.display()
            )));
        }
        let labels = vec![0; files.len()];
        Ok(Pictures { files, labels, classes: vec![path.display().to_string()], transform })
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |e| Failure::file("read the folder", folder, e);
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
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|e| ENDINGS.iter().any(|k| e.eq_ignore_ascii_case(k)))
        {
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
        let bytes = std::fs::read(&file).map_err(|e| DataError::File {
            file: file.clone(),
            problem: e.to_string(),
            advice: "Name a picture that is there and may be read".to_owned(),
        })?;
        let image = Image::decode(&bytes, &file)?;
        Ok(self.transform.apply(&image, &mut augmentation_rng(0, 0, i, 0, 0)))
    }
}

/// What makes a picture of any size into a network's input: what the network's data set does with its own,
/// or what is usual for photographs where none is known.
pub fn evaluation(data: Option<&Data>, size: usize) -> Arc<dyn Transform> {
    match data {
        Some(_) => Arc::new(Resize { width: size, height: size }),
        None => Arc::new(ResizeCrop { resize: (size * 256 + 112) / 224, crop: size }),
    }
}

/// The shorter side resized to `resize`, then the central `crop` x `crop` pixels.
struct ResizeCrop {
    resize: usize,
    crop: usize,
}

impl Transform for ResizeCrop {
    fn apply(&self, image: &Image, _rng: &mut ChaCha8Rng) -> Image {
        let &ResizeCrop { resize, crop } = self;
        let (width, height) = (image.width.max(1), image.height.max(1));
        let image = if width < height {
            image.resized(resize, resize * height / width)
        } else {
            image.resized(resize * width / height, resize)
        };
        let start = |n: usize| ((n - crop) as f64 / 2.0).round_ties_even() as usize;
        let (left, top, channels) = (start(image.width), start(image.height), image.channels);
        let rows = (top..top + crop).flat_map(|y| {
            let first = (y * image.width + left) * channels;
            image.pixels[first..first + crop * channels].iter().copied()
        });
        Image { width: crop, height: crop, channels, pixels: rows.collect() }
    }
}
