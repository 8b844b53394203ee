//! Pictures in files: listed once, read when asked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::archive::{LARGEST_FILE, Seen};
use crate::dataset::Entry;
use crate::{DataError, Dataset, Image, Options, Picture, read_regular, read_text};

/// Bytes that a list of pictures may have: more than twice those of the longest published one.
const LONGEST_LIST: u64 = 16 << 20;

/// One picture of a published list.
pub(crate) struct Sample {
    /// The published number of its class, from 0.
    pub class: usize,
    /// What its class is called.
    pub name: String,
    /// Where it is, below the data set's folder.
    pub path: PathBuf,
    /// What its class belongs to.
    pub super_class: Option<usize>,
}

/// A split whose pictures are files.
pub(crate) struct Files {
    name: &'static str,
    folder: PathBuf,
    classes: Vec<String>,
    ids: Vec<usize>,
    super_labels: Option<Vec<usize>>,
    labels: Vec<usize>,
    paths: Vec<PathBuf>,
    advice: &'static str,
}

impl Files {
    /// The samples of a split in their order; their classes in the order of their numbers.
    pub fn new(entry: &Entry, folder: &Path, samples: Vec<Sample>) -> Result<Self, DataError> {
        Self::among(entry, folder, &[], samples)
    }

    /// Likewise, with the classes of `others` too, so that two splits can share labels.
    pub fn among(
        entry: &Entry,
        folder: &Path,
        others: &[Sample],
        samples: Vec<Sample>,
    ) -> Result<Self, DataError> {
        let at = || folder.display().to_string();
        if samples.is_empty() {
            return Err(DataError::file(at(), "it has no pictures of this split", entry.files));
        }
        let inside =
            |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(sample) = samples.iter().find(|sample| !inside(&sample.path)) {
            let problem = format!("its list names {}, outside the folder", sample.path.display());
            return Err(DataError::file(at(), problem, entry.files));
        }
        let mut classes: BTreeMap<usize, (String, Option<usize>)> = BTreeMap::new();
        for Sample { class, name, super_class, .. } in others.iter().chain(&samples) {
            classes.entry(*class).or_insert_with(|| (name.clone(), *super_class));
        }
        let ids: Vec<usize> = classes.keys().copied().collect();
        let super_labels = classes.values().map(|(_, super_class)| *super_class).collect();
        let label = |class| ids.binary_search(&class).unwrap_or_default();
        Ok(Self {
            name: entry.name,
            folder: folder.to_owned(),
            labels: samples.iter().map(|sample| label(sample.class)).collect(),
            ids,
            super_labels,
            classes: classes.into_values().map(|(name, _)| name).collect(),
            paths: samples.into_iter().map(|sample| sample.path).collect(),
            advice: entry.files,
        })
    }
}

impl Dataset for Files {
    fn name(&self) -> &str {
        self.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        self.file(i).unwrap_or_default().display().to_string()
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        Ok(std::sync::Arc::unwrap_or_clone(self.picture(i)?.decode()?))
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        let path = self.folder.join(&self.paths[i]);
        let file = path.display().to_string();
        let bytes = read_regular(&path, LARGEST_FILE).map_err(|error| {
            let advice = format!("Unpack or fetch it again. {}", self.advice);
            DataError::file(&file, format!("it cannot be read ({error})"), advice)
        })?;
        Picture::new(bytes, &file)
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        self.paths.get(i).map(|path| self.folder.join(path))
    }

    fn class_id(&self, class: usize) -> usize {
        self.ids.get(class).copied().unwrap_or(class)
    }

    fn super_labels(&self) -> Option<&[usize]> {
        self.super_labels.as_deref()
    }
}

/// The folder that the user gave.
pub(crate) fn root<'a>(entry: &Entry, options: &'a Options) -> Result<&'a Path, DataError> {
    let none = DataError::NoRoot { dataset: entry.name, expected: entry.files };
    let root = options.root.as_deref().ok_or(none)?;
    if !root.is_dir() {
        let file = root.display().to_string();
        return Err(DataError::file(file, "there is no such folder", entry.files));
    }
    Ok(root)
}

/// The first of the folders `below` the root, or the root itself, that holds `what`.
pub(crate) fn locate(
    entry: &Entry,
    options: &Options,
    below: &[&str],
    what: &[&str],
) -> Result<PathBuf, DataError> {
    let root = root(entry, options)?;
    let folders = std::iter::once(root.to_owned()).chain(below.iter().map(|name| root.join(name)));
    let mut found = folders.filter(|folder| what.iter().any(|what| folder.join(what).exists()));
    found.next().ok_or_else(|| {
        let what = what.join(" or ");
        let problem = format!("neither it nor {} in it holds {what}", below.join(" or "));
        DataError::file(root.display().to_string(), problem, entry.files)
    })
}

/// The text of a list.
pub(crate) fn text(entry: &Entry, path: &Path) -> Result<String, DataError> {
    read_text(path, LONGEST_LIST).map_err(|error| {
        let problem = format!("it cannot be read ({error})");
        DataError::file(path.display().to_string(), problem, entry.files)
    })
}

/// A line of a list that isn't as it should be.
pub(crate) fn bad_line(entry: &Entry, path: &Path, line: usize, why: &str) -> DataError {
    let problem = format!("line {line}: {why}");
    let advice = format!("Unpack or fetch it again. {}", entry.files);
    DataError::file(path.display().to_string(), problem, advice)
}

/// Names of the folders in a folder, and of the pictures, both in byte order; without what other
/// systems leave behind (`._x.jpg`, `Thumbs.db`, `__MACOSX`).
pub(crate) fn list(folder: &Path) -> Result<(Vec<String>, Vec<String>), DataError> {
    let error = |error: std::io::Error| {
        DataError::file(folder.display().to_string(), error.to_string(), "Make it readable")
    };
    let (mut folders, mut pictures) = (Vec::new(), Vec::new());
    for item in fs::read_dir(folder).map_err(error)? {
        let item = item.map_err(error)?;
        let Ok(name) = item.file_name().into_string() else {
            let problem = format!("the name of {} isn't UTF-8", item.path().display());
            let file = folder.display().to_string();
            return Err(DataError::file(file, problem, "Rename it"));
        };
        if item.path().is_dir() {
            if !name.starts_with('.') && name != "__MACOSX" {
                folders.push(name);
            }
        } else if is_picture(&name) {
            pictures.push(name);
        }
    }
    folders.sort_unstable();
    pictures.sort_unstable();
    Ok((folders, pictures))
}

/// Whether a file of this name is a picture. (TIFF is listed, so that its pictures are missed, but can't
/// be read.)
pub fn is_picture(name: &str) -> bool {
    const EXTENSIONS: [&str; 9] =
        ["jpg", "jpeg", "png", "ppm", "bmp", "pgm", "tif", "tiff", "webp"];
    let extension = Path::new(name).extension().and_then(|e| e.to_str()).unwrap_or_default();
    !name.starts_with("._") && EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// All pictures of a class, in its folder and those in it, each folder once.
pub(crate) fn pictures(
    entry: &Entry,
    folder: &Path,
    class: &str,
) -> Result<Vec<PathBuf>, DataError> {
    /// How deep folders are searched.
    const DEEPEST: usize = 8;
    fn walk(
        top: &Path,
        at: &Path,
        depth: usize,
        seen: &mut Seen,
        found: &mut Vec<PathBuf>,
    ) -> Result<(), DataError> {
        let folder = top.join(at);
        let error = |error: std::io::Error| {
            DataError::file(folder.display().to_string(), error.to_string(), "Make it readable")
        };
        if !seen.first(&folder).map_err(error)? {
            return Ok(());
        }
        let (folders, pictures) = list(&folder)?;
        found.extend(pictures.into_iter().map(|name| at.join(name)));
        for name in folders.into_iter().filter(|_| depth < DEEPEST) {
            walk(top, &at.join(name), depth + 1, seen, found)?;
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(folder, Path::new(class), 0, &mut Seen::default(), &mut found)?;
    if found.is_empty() {
        let file = folder.join(class).display().to_string();
        let advice = format!("Unpack it again, or remove the folder. {}", entry.files);
        return Err(DataError::file(file, "the class has no pictures", advice));
    }
    Ok(found)
}
