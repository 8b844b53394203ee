//! Moved by a few pixels.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use retort_sdk::hyper;

use super::Transform;
use crate::Image;
use crate::part::{Part, read};

hyper! {
    /// Moved by a few pixels, and mirrored half of the time if asked for.
    pub struct Moved {
        /// How far each way, in pixels.
        padding: usize = 4 => 0..=1024,
        /// Whether it is mirrored half of the time. Not for characters: a mirrored one is another.
        flip: bool = false,
    }
}

pub(super) static PART: Part<super::Make> = Part::of::<Moved>("random_crop_flip", |options, _| {
    let Moved { padding, flip } = read(options);
    Arc::new(RandomCropFlip { padding, flip })
});

/// Moves the picture by up to `padding` pixels each way, and mirrors every other one. What comes
/// into view takes the colour of the background ([`Image::border`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomCropFlip {
    /// In pixels.
    pub padding: usize,
    /// Mirror left and right with probability 1/2. Not for characters: a mirrored one is another.
    pub flip: bool,
}

impl Transform for RandomCropFlip {
    fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let &Image { width, height, channels, .. } = image;
        let padding = self.padding.min(width.max(height));
        let top = rng.random_range(0..=2 * padding);
        let left = rng.random_range(0..=2 * padding);
        let flip = rng.random_bool(0.5) && self.flip;

        let fill = &image.border()[..channels];
        let mut pixels = Vec::with_capacity(image.pixels.len());
        for y in top..top + height {
            let row = y.checked_sub(padding).filter(|&y| y < height).map(|y| y * width);
            for x in 0..width {
                let x = left + if flip { width - 1 - x } else { x };
                let column = x.checked_sub(padding).filter(|&x| x < width);
                pixels.extend_from_slice(match (row, column) {
                    (Some(row), Some(column)) => {
                        &image.pixels[(row + column) * channels..][..channels]
                    }
                    _ => fill,
                });
            }
        }
        Image { pixels, ..*image }
    }
}
