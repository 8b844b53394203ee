//! Augmentation: pure functions of a picture and a random stream.
//!
//! A new one is one file beside `random_affine.rs`, and one line in [`AUGMENTATIONS`].

mod random_affine;
mod random_crop_flip;
mod random_resized_crop;
mod resize;
mod resize_crop;

pub use random_affine::RandomAffine;
pub use random_crop_flip::RandomCropFlip;
pub use random_resized_crop::RandomResizedCrop;
pub use resize::Resize;
pub use resize_crop::ResizeCrop;

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use crate::part::{Chosen, Part, Values};
use crate::{DataError, Image, Picture};

/// All augmentations.
pub static AUGMENTATIONS: &[&Part<Make>] = &[
    &random_resized_crop::PART,
    &random_affine::PART,
    &random_crop_flip::PART,
    &resize::PART,
    &resize_crop::PART,
];

/// Makes an augmentation of its options, for networks that see so many pixels.
pub type Make = fn(&Values, usize) -> Arc<dyn Transform>;

/// Those of an experiment, one after the other; what isn't `size` pixels wide and high after the last is made
/// so by `fit`.
pub fn augmentation(
    chosen: &[Chosen],
    size: usize,
    fit: Arc<dyn Transform>,
) -> Result<Arc<dyn Transform>, String> {
    let one = |chosen: &Chosen| {
        let (part, options) = chosen.find("augmentation", AUGMENTATIONS)?;
        Ok((part.make)(&options, size))
    };
    let mut all = chosen.iter().map(one).collect::<Result<Vec<_>, String>>()?;
    all.push(Arc::new(Fit { size, fit }));
    Ok(Arc::new(Compose(all)))
}

/// A change to a picture.
pub trait Transform: Send + Sync {
    /// The changed picture: a pure function of `image` and what `rng` yields.
    fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image;

    /// The same from a picture that may not be decoded yet, with the same result; for those that
    /// need a part of it only.
    fn load(&self, picture: Picture, rng: &mut ChaCha8Rng) -> Result<Image, DataError> {
        Ok(self.apply(&*picture.decode()?, rng))
    }
}

/// No change.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl Transform for Identity {
    fn apply(&self, image: &Image, _rng: &mut ChaCha8Rng) -> Image {
        image.clone()
    }
}

/// One after the other.
#[derive(Clone)]
pub struct Compose(pub Vec<Arc<dyn Transform>>);

impl Transform for Compose {
    fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let Some((first, rest)) = self.0.split_first() else { return image.clone() };
        rest.iter().fold(first.apply(image, rng), |image, transform| transform.apply(&image, rng))
    }
}

/// Makes pictures of any other size into squares of this.
struct Fit {
    size: usize,
    fit: Arc<dyn Transform>,
}

impl Transform for Fit {
    fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        if [image.width, image.height] == [self.size; 2] {
            return image.clone();
        }
        let image = self.fit.apply(image, rng);
        if [image.width, image.height] == [self.size; 2] {
            return image;
        }
        image.resized(self.size, self.size)
    }
}
