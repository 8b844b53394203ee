//! Pictures that belong to no data set.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::LARGEST_FILE;
use crate::dataset::Opened;
use crate::managed::Managed;
use crate::walk::{Walk, is_picture};
use crate::{DataError, Dataset, Image, Options, Picture, Transform, read_regular};

/// Pictures in the order of their paths.
struct Loose {
    files: Vec<PathBuf>,
    labels: Vec<usize>,
    classes: Vec<String>,
    remarks: Vec<String>,
}

/// The pictures of a folder and of those in it, or the one that `path` names, as a data set of one class.
/// `evaluation` makes them into a network's input; those that can't be read are left out if `skip_corrupt`.
pub fn loose(path: &Path, evaluation: Arc<dyn Transform>, skip_corrupt: bool) -> Opened {
    let name = path.display().to_string();
    let (mut files, mut remarks) = (vec![path.to_owned()], Vec::new());
    if path.is_dir() {
        let found =
            Walk::new(path).and_then(|mut walk| Ok((walk.files(Path::new(""))?, walk.remark())));
        let (found, remark) = found.map_err(|(path, error)| {
            DataError::file(path.display().to_string(), error.to_string(), "Make it readable")
        })?;
        (files, remarks) = (found, remark.into_iter().collect());
        files.retain(|file| is_picture(file));
        files.sort();
        files = files.iter().map(|file| path.join(file)).collect();
    }
    if files.is_empty() {
        let advice = "Give a folder with files named .jpg, .png or another picture's ending, also in folders of it";
        return Err(DataError::file(name, "it holds no picture", advice));
    }
    let labels = vec![0; files.len()];
    let pictures = Loose { files, labels, classes: vec![name], remarks };
    let options = Options { skip_corrupt, ..Options::default() };
    Ok(Box::new(Managed::new(Box::new(pictures), evaluation, &options)))
}

impl Dataset for Loose {
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

    fn image(&self, i: usize) -> Result<Image, DataError> {
        self.picture(i)?.decode().map(Arc::unwrap_or_clone)
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        let file = self.describe(i);
        let bytes = read_regular(&self.files[i], LARGEST_FILE).map_err(|error| {
            let advice = "Name a picture that is there and may be read";
            DataError::file(&file, error.to_string(), advice)
        })?;
        Picture::new(bytes, &file)
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        self.files.get(i).cloned()
    }

    fn remarks(&self) -> Vec<String> {
        self.remarks.clone()
    }
}
