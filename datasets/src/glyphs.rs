//! Glyphs: invented characters, generated from a seed, so that everything works without a download.
//!
//! A class is a few strokes between the points of a grid; its images differ in pose, stroke, colour
//! and background. Every value comes from exact arithmetic (no sine, no exponential), so the
//! pictures are the same on every machine.

mod render;

use std::sync::{Arc, OnceLock};

use retort_sdk::{Hyper as _, hyper};

use crate::dataset::{Entry, Opened, SPLITS};
use crate::part::read;
use crate::{DataError, Dataset, Identity, Image, Options, RandomCropFlip, Split};

pub(crate) const ENTRY: Entry = Entry {
    name: "glyphs",
    doc: "Generated characters in many poses, colours and backgrounds; needs no files (any size, RGB)",
    files: "",
    needs_root: false,
    channels: 3,
    size: 32,
    splits: SPLITS,
    splits_of: None,
    options: Glyphset::fields,
    open,
    augmentation: |_| Arc::new(RandomCropFlip { padding: 3, flip: false }),
    evaluation: |_| Arc::new(Identity),
};

hyper! {
    /// How many, and which.
    pub struct Glyphset {
        /// Seed of the characters.
        seed: usize = 0,
        /// Classes over both splits; the first half trains.
        classes: usize = 160 => 4..=1_000_000,
        /// Pictures of each class.
        images: usize = 24 => 2..=5_000_000,
    }
}

/// Images beyond this many bytes are drawn anew each time: drawing takes less than a millisecond.
const CACHE: usize = 256 << 20;

struct Glyphs {
    classes: Vec<String>,
    labels: Vec<usize>,
    /// The first class of the split.
    first: usize,
    images: usize,
    seed: u64,
    size: usize,
    cache: Vec<OnceLock<Image>>,
}

/// The first half of the classes trains. A class looks the same however many there are.
fn open(split: Split, options: &Options) -> Opened {
    let Glyphset { seed, classes: total, images } = read(&options.own);
    let most = 20_000_000 / total;
    if images > most {
        return Err(DataError::option(
            "data.images",
            format!("{images} images of each of {total} classes are too many"),
            format!("Ask for 2 (one to find the other) to {most}"),
        ));
    }
    let classes = match split {
        Split::Train => 0..total.div_ceil(2),
        _ => total.div_ceil(2)..total,
    };
    let cached = (CACHE / (3 * options.size * options.size)).min(images * classes.len());
    Ok(Box::new(Glyphs {
        first: classes.start,
        labels: (0..classes.len()).flat_map(|label| std::iter::repeat_n(label, images)).collect(),
        classes: classes.map(|class| format!("glyph{class:06}")).collect(),
        images,
        seed: seed as u64,
        size: options.size,
        cache: std::iter::repeat_with(OnceLock::new).take(cached).collect(),
    }))
}

impl Dataset for Glyphs {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        format!("glyphs/glyph{:06}/{:03}", self.first + i / self.images, i % self.images)
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        let draw = || {
            let (class, instance) = (self.first + i / self.images, i % self.images);
            render::draw(self.seed, class as u64, instance as u64, self.size)
        };
        Ok(self.cache.get(i).map_or_else(draw, |cell| cell.get_or_init(draw).clone()))
    }
}
