//! Pictures in files: listed once, read when asked for.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::archive::LARGEST_FILE;
use crate::dataset::Entry;
use crate::walk::{self, Walk, is_picture};
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
    /// The folder without links in its path: what no picture's file lies outside of.
    within: PathBuf,
    remarks: Vec<String>,
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
        let within = folder.canonicalize().map_err(|error| {
            DataError::file(at(), format!("it cannot be read ({error})"), entry.files)
        })?;
        let label = |class| ids.binary_search(&class).unwrap_or_default();
        Ok(Self {
            name: entry.name,
            folder: folder.to_owned(),
            within,
            remarks: Vec::new(),
            labels: samples.iter().map(|sample| label(sample.class)).collect(),
            ids,
            super_labels,
            classes: classes.into_values().map(|(name, _)| name).collect(),
            paths: samples.into_iter().map(|sample| sample.path).collect(),
            advice: entry.files,
        })
    }

    /// The same, with what was noticed on the way.
    pub fn remarking(self, remarks: Vec<String>) -> Self {
        Self { remarks, ..self }
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
        if path.canonicalize().is_ok_and(|real| !real.starts_with(&self.within)) {
            let problem = format!("it is a link that leads out of {}", self.folder.display());
            return Err(DataError::file(file, problem, "Put the picture itself there"));
        }
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

    fn remarks(&self) -> Vec<String> {
        self.remarks.clone()
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

/// The first of the folders `below` the root, or the root itself, that holds `what`. (Some archives unpack to
/// a folder in a folder of the same name.)
pub(crate) fn locate(
    entry: &Entry,
    options: &Options,
    below: &[&str],
    what: &[&str],
) -> Result<PathBuf, DataError> {
    let root = root(entry, options)?;
    let nested = |name: &&str| [root.join(name), root.join(name).join(name)];
    let folders = std::iter::once(root.to_owned()).chain(below.iter().flat_map(nested));
    let mut found = folders.filter(|folder| what.iter().any(|what| folder.join(what).exists()));
    found.next().ok_or_else(|| {
        let what = what.join(" or ");
        let problem = format!("neither it nor {} in it holds {what}", below.join(" or "));
        DataError::file(root.display().to_string(), problem, entry.files)
    })
}

/// The text of a list, without a byte-order mark.
pub(crate) fn text(entry: &Entry, path: &Path) -> Result<String, DataError> {
    let text = read_text(path, LONGEST_LIST).map_err(|error| {
        let problem = format!("it cannot be read ({error})");
        DataError::file(path.display().to_string(), problem, entry.files)
    })?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// A line of a list that isn't as it should be.
pub(crate) fn bad_line(entry: &Entry, path: &Path, line: usize, why: &str) -> DataError {
    let problem = format!("line {line}: {why}");
    let advice = format!("Unpack or fetch it again. {}", entry.files);
    DataError::file(path.display().to_string(), problem, advice)
}

/// Class folders, and the pictures in each and in its own folders.
pub(crate) struct Classes {
    /// Names of the class folders, in byte order.
    pub names: Vec<String>,
    /// `[names]`: paths below the data set's folder, in byte order within a folder.
    pub pictures: Vec<Vec<PathBuf>>,
    /// What was left out, for people.
    pub remarks: Vec<String>,
}

/// The classes in the folder `at` below a data set's folder.
pub(crate) fn classes(entry: &Entry, walk: &mut Walk, at: &Path) -> Result<Classes, DataError> {
    let failed = |failed| unreadable(entry, failed);
    let folders = walk.list(at).map_err(failed)?.folders;
    let (mut names, mut all) = (Vec::new(), Vec::new());
    for folder in folders {
        let mut pictures = walk.files(&folder).map_err(failed)?;
        pictures.retain(|path| is_picture(path));
        names.push(walk::text(folder.file_name().unwrap_or_default()));
        all.push(pictures);
    }
    Ok(Classes { names, pictures: all, remarks: walk.remark().into_iter().collect() })
}

/// A folder that can't be read.
pub(crate) fn unreadable(entry: &Entry, (path, error): walk::Failed) -> DataError {
    let advice = format!("Make it readable. {}", entry.files);
    DataError::file(path.display().to_string(), error.to_string(), advice)
}

impl Classes {
    /// Refuses classes without a picture, or leaves them out where that is asked for.
    pub fn without_empty(
        mut self,
        entry: &Entry,
        folder: &Path,
        options: &Options,
    ) -> Result<Self, DataError> {
        const SHOWN: usize = 10;
        let numbered = self.names.iter().zip(&self.pictures);
        let empty: Vec<&str> =
            numbered.filter(|(_, p)| p.is_empty()).map(|(name, _)| name.as_str()).collect();
        if empty.is_empty() {
            return Ok(self);
        }
        let n = empty.len();
        let list = empty.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        let list = if n > SHOWN { format!("{list} and {} more", n - SHOWN) } else { list };
        let what = match n {
            1 => format!("the class {list} has no pictures"),
            _ => format!("{n} classes have no pictures: {list}"),
        };
        if !options.skip_empty {
            let links = self
                .remarks
                .iter()
                .map(|remark| format!(" ({remark})"))
                .collect::<Vec<_>>()
                .concat();
            let advice = format!(
                "Unpack it again, remove such folders, or leave them out (on_empty_class = \"skip\"). {}",
                entry.files
            );
            let folder = folder.display().to_string();
            return Err(DataError::file(folder, format!("{what}{links}"), advice));
        }
        self.remarks.push(format!("{}: {what}, and left out", folder.display()));
        let kept = self.names.into_iter().zip(self.pictures).filter(|(_, p)| !p.is_empty());
        (self.names, self.pictures) = kept.unzip();
        Ok(self)
    }
}
