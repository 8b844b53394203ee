//! To a fixed size.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use retort_sdk::hyper;

use super::Transform;
use crate::Image;
use crate::part::Part;

hyper! {
    /// To the network's size, whatever the picture's sides.
    pub struct ToSize {}
}

pub(super) static PART: Part<super::Make> =
    Part::of::<ToSize>("resize", |_, size| Arc::new(Resize { width: size, height: size }));

/// To a fixed size, see [`Image::resized`].
#[derive(Clone, Copy, Debug)]
pub struct Resize {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
}

impl Transform for Resize {
    fn apply(&self, image: &Image, _rng: &mut ChaCha8Rng) -> Image {
        image.resized(self.width, self.height)
    }
}
