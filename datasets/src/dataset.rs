//! What a data set is, and the list of them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{DataError, Image, Transform, glyphs, omniglot};

/// Which classes: the two splits have no class in common, so a network is tested on classes it has
/// never seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// The classes to learn from.
    Train,
    /// The unseen classes to retrieve.
    Test,
}

/// The labelled pictures of one split.
pub trait Dataset: Send + Sync {
    /// The data set's name in [`DATASETS`].
    fn name(&self) -> &str;

    /// The split's classes, for instance `Korean/character01`.
    fn classes(&self) -> &[String];

    /// `[len]`: the class of each sample, an index into [`classes`](Self::classes).
    fn labels(&self) -> &[usize];

    /// Where sample `i` comes from, for messages.
    fn describe(&self, i: usize) -> String;

    /// Sample `i`, at the size that [`Options::size`] asked for. Callable from any thread.
    fn image(&self, i: usize) -> Result<Image, DataError>;

    /// Number of samples.
    fn len(&self) -> usize {
        self.labels().len()
    }

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.labels().is_empty()
    }
}

/// What may be asked of a data set. An option that is set and means nothing to the data set is
/// refused, so that a forgotten `--dataset` does not go unnoticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Folder with the published files; none for data that is generated.
    pub root: Option<PathBuf>,
    /// Seed of generated data. Data on disk does not depend on it.
    pub seed: u64,
    /// Width and height of the pictures in pixels, 8 to 1024.
    pub size: usize,
    /// `glyphs`: number of classes over both splits, default 160.
    pub glyph_classes: Option<usize>,
    /// `glyphs`: number of pictures per class, default 24.
    pub glyph_images: Option<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { root: None, seed: 0, size: 32, glyph_classes: None, glyph_images: None }
    }
}

/// One split of a data set, or why there is none.
pub type Opened = Result<Box<dyn Dataset>, DataError>;

/// One data set.
pub struct Entry {
    /// What users call it.
    pub name: &'static str,
    /// One line on what it holds.
    pub doc: &'static str,
    /// Whether it reads files, so that [`Options::root`] is needed.
    pub needs_root: bool,
    /// 1 for grey pictures, 3 for colour.
    pub channels: usize,
    /// Opens a split.
    pub open: fn(Split, &Options) -> Opened,
    /// The augmentation that suits it: one that keeps the class.
    pub augmentation: fn() -> Arc<dyn Transform>,
}

/// All data sets.
pub static DATASETS: &[Entry] = &[glyphs::ENTRY, omniglot::ENTRY];

/// The data set of that name.
pub fn find(name: &str) -> Result<&'static Entry, DataError> {
    let names = || DATASETS.iter().map(|entry| entry.name);
    DATASETS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let lower = name.to_lowercase();
        let nearest = names()
            .map(|known| (strsim::jaro_winkler(&lower, known), known))
            .filter(|(similarity, _)| *similarity > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        DataError::UnknownDataset {
            name: name.to_owned(),
            nearest: nearest.map(|(_, known)| known.to_owned()),
            known: names().collect::<Vec<_>>().join(", "),
        }
    })
}

/// Opens one split of the data set of that name.
pub fn open(name: &str, split: Split, options: &Options) -> Opened {
    let entry = find(name)?;
    if !(8..=1024).contains(&options.size) {
        return Err(DataError::option(
            "size",
            format!("{} pixels is out of range", options.size),
            "Pictures may be 8 to 1024 pixels wide",
        ));
    }
    if let (false, Some(root)) = (entry.needs_root, &options.root) {
        return Err(DataError::option(
            "data-root",
            format!("data set {name:?} is generated, so it reads nothing from {}", root.display()),
            "Leave the folder out, or name the data set that it holds",
        ));
    }
    (entry.open)(split, options)
}
