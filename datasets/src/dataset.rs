//! What a data set is, and the list of them.

use std::path::PathBuf;
use std::sync::Arc;

use retort_sdk::schema::{self, Field};
use serde_json::Value;

use crate::managed::Managed;
use crate::part::{Values, unknown};
use crate::{
    DataError, Identity, Image, Picture, Transform, cars, cub, folder, glyphs, in_shop, omniglot,
    sop,
};

/// Which classes, and which of their pictures: training and test have no class in common, so a
/// network is tested on classes it has never seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Split {
    /// The classes to learn from.
    Train,
    /// The unseen classes to retrieve; each picture is a query among all others.
    Test,
    /// The pictures of the unseen classes to search with, where that is published.
    Query,
    /// The pictures of the unseen classes to search in. Labels are those of [`Query`](Self::Query).
    Gallery,
}

impl Split {
    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
            Self::Query => "query",
            Self::Gallery => "gallery",
        }
    }
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

    /// Sample `i` in its natural size. Callable from any thread.
    fn image(&self, i: usize) -> Result<Image, DataError>;

    /// Sample `i`, decoded as far as it is already.
    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        self.image(i).map(Picture::from)
    }

    /// The file that sample `i` is alone in, if there is one.
    fn file(&self, _i: usize) -> Option<PathBuf> {
        None
    }

    /// The number that the publisher gave a class, from 0: an index into all classes of the data set,
    /// not only the split's.
    fn class_id(&self, class: usize) -> usize {
        class
    }

    /// `[classes]`: which classes belong together (shoes, sofas); none without such a hierarchy.
    fn super_labels(&self) -> Option<&[usize]> {
        None
    }

    /// What turns a picture into a network's input when nothing is random.
    fn evaluation(&self) -> Arc<dyn Transform> {
        Arc::new(Identity)
    }

    /// Whether a sample that failed is to be left out, which is then counted; otherwise its error
    /// ends the run.
    fn skip(&self, _i: usize, _error: &DataError) -> bool {
        false
    }

    /// Why samples were left out so far, each once, in the order of the split.
    fn skipped(&self) -> Vec<String> {
        Vec::new()
    }

    /// What was left out or is odd about the files, for people: a sentence each.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Files that were read so far in spite of damage, each with what is wrong with it.
    fn damaged(&self) -> Vec<String> {
        Vec::new()
    }

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
    /// Width and height of a network's input in pixels, 8 to 1024; generated pictures are drawn so.
    pub size: usize,
    /// Class folders without a picture are left out, instead of being an error.
    pub skip_empty: bool,
    /// Decoded pictures are kept in so many bytes of memory; 0 keeps none.
    pub cache: u64,
    /// Pictures that can't be read are left out and counted, instead of ending the run.
    pub skip_corrupt: bool,
    /// JPEGs of which a crop is at least twice the network's input are decoded at 1/2, 1/4 or 1/8 of
    /// their size: faster, but other pixels than after a whole decoding (a few grey levels).
    pub scaled_decoding: bool,
    /// The data set's own options, as its [`Entry::options`] declare them.
    pub own: Values,
}

impl Options {
    /// One of the data set's own options set.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.own.insert(option.to_owned(), value.into());
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: None,
            size: 32,
            skip_empty: false,
            cache: 0,
            skip_corrupt: false,
            scaled_decoding: false,
            own: Values::new(),
        }
    }
}

/// One split of a data set, or why there is none.
pub type Opened = Result<Box<dyn Dataset>, DataError>;

/// Which splits a folder of files has.
pub type SplitsOf = fn(&Options) -> Result<Vec<Split>, DataError>;

/// One data set.
pub struct Entry {
    /// What users call it.
    pub name: &'static str,
    /// One line on what it holds.
    pub doc: &'static str,
    /// Its own options.
    pub options: fn() -> Vec<Field>,
    /// Which files are expected where; empty if it reads none.
    pub files: &'static str,
    /// Whether it reads files, so that [`Options::root`] is needed.
    pub needs_root: bool,
    /// 1 for grey pictures, 3 for colour.
    pub channels: usize,
    /// The usual width and height of a network's input.
    pub size: usize,
    /// What it can be opened as; see [`splits`].
    pub splits: &'static [Split],
    /// Which of these there are, where that is for the files to say.
    pub splits_of: Option<SplitsOf>,
    /// Opens a split.
    pub open: fn(Split, &Options) -> Opened,
    /// The augmentation that suits it, to so many pixels: one that keeps the class.
    pub augmentation: fn(usize) -> Arc<dyn Transform>,
    /// What turns its pictures into so many pixels for an evaluation.
    pub evaluation: fn(usize) -> Arc<dyn Transform>,
}

impl Entry {
    /// Its own options, checked and complete; a message about one that it doesn't have, or that is out of
    /// its range.
    pub fn resolve(&self, own: &Values) -> Result<Values, String> {
        schema::resolve(self.name, "option", &(self.options)(), own)
    }
}

/// Without options of its own.
pub(crate) fn no_options() -> Vec<Field> {
    Vec::new()
}

/// Without separate queries.
pub(crate) const SPLITS: &[Split] = &[Split::Train, Split::Test];

/// All data sets.
pub static DATASETS: &[Entry] = &[
    cub::ENTRY,
    cars::ENTRY,
    sop::ENTRY,
    in_shop::ENTRY,
    omniglot::ENTRY,
    folder::ENTRY,
    glyphs::ENTRY,
];

/// The data set of that name.
pub fn find(name: &str) -> Result<&'static Entry, DataError> {
    DATASETS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<&str> = DATASETS.iter().map(|entry| entry.name).collect();
        DataError::Unknown(unknown("data set", name, &names))
    })
}

/// What the data set of that name can be opened as.
pub fn splits(name: &str, options: &Options) -> Result<Vec<Split>, DataError> {
    let entry = find(name)?;
    match entry.splits_of {
        Some(splits) => splits(&resolved(entry, options)?),
        None => Ok(entry.splits.to_vec()),
    }
}

/// The options with the data set's own checked and complete.
fn resolved(entry: &Entry, options: &Options) -> Result<Options, DataError> {
    let own = entry.resolve(&options.own).map_err(|why| {
        DataError::option("data", why, "Leave out what isn't the data set's own, or name another")
    })?;
    Ok(Options { own, ..options.clone() })
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
    if options.cache > 0 && options.scaled_decoding {
        return Err(DataError::option(
            "scaled_decoding",
            "a cache keeps whole pictures, so pixels would depend on what fits into it",
            "Choose one: scaled_decoding, or the cache",
        ));
    }
    if let (false, Some(root)) = (entry.needs_root, &options.root) {
        return Err(DataError::option(
            "data-root",
            format!("data set {name:?} is generated, so it reads nothing from {}", root.display()),
            "Leave the folder out, or name the data set that it holds",
        ));
    }
    if !entry.splits.contains(&split) {
        let there: Vec<&str> = entry.splits.iter().map(|split| split.name()).collect();
        return Err(DataError::option(
            "split",
            format!("data set {name:?} has no {} split", split.name()),
            format!("It has {}", there.join(", ")),
        ));
    }
    let options = &resolved(entry, options)?;
    let opened = (entry.open)(split, options)?;
    let evaluation = (entry.evaluation)(options.size);
    Ok(Box::new(Managed::new(opened, evaluation, options)))
}
