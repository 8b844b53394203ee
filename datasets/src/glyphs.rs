//! Glyphs: invented characters, generated from a seed, so that everything works without a download.
//!
//! A class is a few strokes between the points of a grid; its images differ in pose, stroke, colour
//! and background. Every value comes from exact arithmetic (no sine, no exponential), so the
//! pictures are the same on every machine.

mod render;

use std::sync::{Arc, OnceLock};

use crate::dataset::{Entry, Opened, SPLITS};
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
    open,
    augmentation: |_| Arc::new(RandomCropFlip { padding: 3, flip: false }),
    evaluation: |_| Arc::new(Identity),
};

const CLASSES: usize = 160;
const IMAGES: usize = 24;
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
    let total = options.glyph_classes.unwrap_or(CLASSES);
    let images = options.glyph_images.unwrap_or(IMAGES);
    if !(4..=1_000_000).contains(&total) {
        return Err(DataError::option(
            "glyph-classes",
            format!("{total} classes are out of range"),
            "Ask for 4 (two to train on, two to test on) to 1000000",
        ));
    }
    let most = 20_000_000 / total;
    if !(2..=most).contains(&images) {
        return Err(DataError::option(
            "glyph-images",
            format!("{images} images of each of {total} classes are out of range"),
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
        seed: options.seed,
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
