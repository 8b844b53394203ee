//! A random part of a photograph.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use retort_sdk::hyper;

use super::Transform;
use crate::part::{Part, read};
use crate::{Area, DataError, Image, Picture, Resized};

hyper! {
    /// A random part of a photograph, resized, and mirrored half of the time.
    ///
    /// torchvision's RandomResizedCrop and RandomHorizontalFlip.
    pub struct RandomPart {
        /// Least part of the picture's area.
        scale_min: f64 = 0.08 => 0.0..=1.0,
        /// Greatest part of it.
        scale_max: f64 = 1.0 => 0.0..=1.0,
        /// Least width to height.
        ratio_min: f64 = 3.0 / 4.0 => 0.01..=100.0,
        /// Greatest width to height.
        ratio_max: f64 = 4.0 / 3.0 => 0.01..=100.0,
        /// Whether it is mirrored half of the time. Not for characters: a mirrored one is another.
        flip: bool = true,
    }
}

pub(super) static PART: Part<super::Make> =
    Part::of::<RandomPart>("random_resized_crop", |options, size| {
        let RandomPart { scale_min, scale_max, ratio_min, ratio_max, flip } = read(options);
        let (scale, ratio) = (sorted(scale_min, scale_max), sorted(ratio_min, ratio_max));
        Arc::new(RandomResizedCrop { size, scale, ratio, flip })
    });

fn sorted(a: f64, b: f64) -> (f64, f64) {
    (a.min(b), a.max(b))
}

/// The training's view of a photograph: a random part, resized to `size` x `size`, mirrored with
/// probability 1/2. torchvision's `RandomResizedCrop(size)` with its usual 8 to 100 % of the area and
/// sides 3:4 to 4:3, and `RandomHorizontalFlip`; the same distribution and the same pixels for the
/// same box, but not torch's random numbers.
#[derive(Clone, Copy, Debug)]
pub struct RandomResizedCrop {
    /// Width and height of the result in pixels.
    pub size: usize,
    /// Least and greatest part of the picture's area.
    pub scale: (f64, f64),
    /// Least and greatest width to height.
    pub ratio: (f64, f64),
    /// Whether it is mirrored half of the time.
    pub flip: bool,
}

impl RandomResizedCrop {
    /// With torchvision's ranges.
    pub fn to(size: usize) -> Self {
        Self { size, scale: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0), flip: true }
    }

    /// Where the part is, and whether it is mirrored.
    fn draw(self, (width, height): (usize, usize), rng: &mut ChaCha8Rng) -> (Area, bool) {
        (self.area(width, height, rng), rng.random_bool(0.5) && self.flip)
    }

    fn plan(self, (crop, mirror): (Area, bool)) -> Resized {
        let size = self.size.max(1);
        Resized::new(crop, size, size, Area::whole(size, size)).mirrored(mirror)
    }

    fn area(self, width: usize, height: usize, rng: &mut ChaCha8Rng) -> Area {
        let mut between = |(low, high): (f64, f64)| low + (high - low) * rng.random::<f64>();
        let tries = [(); 10].map(|()| {
            let area = (width * height) as f64 * between(self.scale);
            let ratio = between((self.ratio.0.ln(), self.ratio.1.ln())).exp();
            [(area * ratio).sqrt(), (area / ratio).sqrt()].map(|x| x.round_ties_even() as usize)
        });
        let fits = |[w, h]: &[usize; 2]| (1..=width).contains(w) && (1..=height).contains(h);
        if let Some([w, h]) = tries.into_iter().find(fits) {
            let top = rng.random_range(0..=height - h);
            let left = rng.random_range(0..=width - w);
            return Area { left, top, width: w, height: h };
        }
        // The central part, as near to the allowed ratios as the picture is.
        let own = width as f64 / height as f64;
        let round = |x: f64, most: usize| (x.round_ties_even() as usize).clamp(1, most);
        let (w, h) = if own < self.ratio.0 {
            (width, round(width as f64 / self.ratio.0, height))
        } else if own > self.ratio.1 {
            (round(height as f64 * self.ratio.1, width), height)
        } else {
            (width, height)
        };
        Area { left: (width - w) / 2, top: (height - h) / 2, width: w, height: h }
    }
}

impl Transform for RandomResizedCrop {
    fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        if image.pixels.is_empty() {
            return image.clone();
        }
        self.plan(self.draw((image.width, image.height), rng)).apply(image)
    }

    fn load(&self, picture: Picture, rng: &mut ChaCha8Rng) -> Result<Image, DataError> {
        let (width, height) = picture.size();
        if width == 0 || height == 0 {
            return picture.decode().map(Arc::unwrap_or_clone);
        }
        let (crop, mirror) = self.draw((width, height), rng);
        let (picture, by) = picture.reduced(crop.width.min(crop.height), self.size)?;
        picture.resized(&self.plan((crop.divided(by), mirror)))
    }
}
