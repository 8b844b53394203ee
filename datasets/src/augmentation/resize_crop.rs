//! The middle of a photograph.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use retort_sdk::hyper;

use super::Transform;
use crate::part::{Part, read};
use crate::{Area, DataError, Image, Picture, Resized};

hyper! {
    /// The shorter side resized, then the middle; as evaluations see photographs.
    pub struct Middle {
        /// The shorter side, in sides of the network's input.
        shorter: f64 = 256.0 / 224.0 => 1.0..=16.0,
    }
}

pub(super) static PART: Part<super::Make> = Part::of::<Middle>("resize_crop", |options, size| {
    let shorter = read::<Middle>(options).shorter;
    Arc::new(ResizeCrop { resize: (size as f64 * shorter).round() as usize, crop: size })
});

/// The evaluation's view of a photograph: the shorter side resized to `resize`, then the central
/// `crop` x `crop` pixels. torchvision's `Resize(resize)` and `CenterCrop(crop)`, bit for bit.
#[derive(Clone, Copy, Debug)]
pub struct ResizeCrop {
    /// The shorter side in pixels; less than `crop` counts as `crop`.
    pub resize: usize,
    /// Width and height of the result in pixels.
    pub crop: usize,
}

impl ResizeCrop {
    /// The usual proportion, 256 to 224.
    pub fn to(size: usize) -> Self {
        Self { resize: (size * 256 + 112) / 224, crop: size }
    }

    fn plan(self, (width, height): (usize, usize)) -> Resized {
        let (short, crop) = (self.resize.max(self.crop).max(1), self.crop.max(1));
        let long = |long: usize, other: usize| short * long / other;
        let (to_width, to_height) = if width < height {
            (short, long(height, width))
        } else {
            (long(width, height), short)
        };
        let start = |n: usize| ((n - crop) as f64 / 2.0).round_ties_even() as usize;
        let (left, top) = (start(to_width), start(to_height));
        let window = Area { left, top, width: crop, height: crop };
        Resized::new(Area::whole(width, height), to_width, to_height, window)
    }
}

impl Transform for ResizeCrop {
    fn apply(&self, image: &Image, _rng: &mut ChaCha8Rng) -> Image {
        if image.pixels.is_empty() {
            return image.clone();
        }
        self.plan((image.width, image.height)).apply(image)
    }

    fn load(&self, picture: Picture, _rng: &mut ChaCha8Rng) -> Result<Image, DataError> {
        let (width, height) = picture.size();
        if width == 0 || height == 0 {
            return picture.decode().map(Arc::unwrap_or_clone);
        }
        let (picture, _) = picture.reduced(width.min(height), self.resize.max(self.crop))?;
        let plan = self.plan(picture.size());
        picture.resized(&plan)
    }
}
