//! Augmentation: pure functions of a picture and a random stream.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{Area, DataError, Image, Picture, Resized};

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
}

impl RandomResizedCrop {
    /// With torchvision's ranges.
    pub fn to(size: usize) -> Self {
        Self { size, scale: (0.08, 1.0), ratio: (3.0 / 4.0, 4.0 / 3.0) }
    }

    /// Where the part is, and whether it is mirrored.
    fn draw(self, (width, height): (usize, usize), rng: &mut ChaCha8Rng) -> (Area, bool) {
        (self.area(width, height, rng), rng.random_bool(0.5))
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

/// One after the other.
#[derive(Clone)]
pub struct Compose(pub Vec<Arc<dyn Transform>>);

impl Transform for Compose {
    fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let Some((first, rest)) = self.0.split_first() else { return image.clone() };
        rest.iter().fold(first.apply(image, rng), |image, transform| transform.apply(&image, rng))
    }
}

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

/// Turns, resizes, moves and shears around the centre by random amounts, uniform up to the given
/// ones either way. Bilinear.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomAffine {
    /// Turn by up to so many degrees.
    pub rotate: f32,
    /// Resize by a factor between 1 - `scale` and 1 + `scale`.
    pub scale: f32,
    /// Move by up to this part of the width, and of the height.
    pub translate: f32,
    /// Slant by up to so many degrees.
    pub shear: f32,
    /// What comes into view; none: the colour of the background ([`Image::border`]).
    pub fill: Option<u8>,
}

impl Transform for RandomAffine {
    fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let mut up_to = |most: f32| most * (2.0 * rng.random::<f32>() - 1.0);
        let (sin, cos) = up_to(self.rotate).to_radians().sin_cos();
        let scale = (1.0 + up_to(self.scale)).max(0.01);
        let move_x = up_to(self.translate) * image.width as f32;
        let move_y = up_to(self.translate) * image.height as f32;
        let slant = up_to(self.shear).to_radians().tan();

        // Where an output pixel comes from: the inverse of scale * rotation * shear.
        let inverse = [
            [(cos - slant * -sin) / scale, (sin - slant * cos) / scale],
            [-sin / scale, cos / scale],
        ];
        let fill = self.fill.map_or_else(|| image.border(), |value| [value; 3]);
        match image.channels {
            1 => warp(image, inverse, [move_x, move_y], [fill[0]]),
            _ => warp(image, inverse, [move_x, move_y], fill),
        }
    }
}

/// `output(p) = image(inverse * (p - centre - shift) + centre)`, in 16.16 fixed point.
fn warp<const C: usize>(
    image: &Image,
    inverse: [[f32; 2]; 2],
    shift: [f32; 2],
    fill: [u8; C],
) -> Image {
    let (width, height) = (image.width, image.height);
    let fixed = |value: f32| (value * 65_536.0).clamp(-1e12, 1e12) as i64;
    let centre = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
    let corner = [-centre[0] - shift[0], -centre[1] - shift[1]];
    let [[xx, xy], [yx, yy]] = inverse.map(|row| row.map(fixed));
    let start =
        [0, 1].map(|i| fixed(inverse[i][0] * corner[0] + inverse[i][1] * corner[1] + centre[i]));

    let (pixels, []) = image.pixels.as_chunks::<C>() else { return image.clone() };
    let at = |x: i64, y: i64| {
        let inside = (0..width as i64).contains(&x) && (0..height as i64).contains(&y);
        if inside { pixels[y as usize * width + x as usize] } else { fill }
    };
    let mut output = Vec::with_capacity(image.pixels.len());
    for row in 0..height as i64 {
        let (mut x, mut y) = (start[0] + row * xy, start[1] + row * yy);
        for _ in 0..width {
            let (left, top) = (x >> 16, y >> 16);
            let (fx, fy) = ((x >> 8 & 255) as u32, (y >> 8 & 255) as u32);
            let corners =
                if (0..width as i64 - 1).contains(&left) && (0..height as i64 - 1).contains(&top) {
                    let first = top as usize * width + left as usize;
                    let (upper, lower) = (&pixels[first..][..2], &pixels[first + width..][..2]);
                    [upper[0], upper[1], lower[0], lower[1]]
                } else {
                    [at(left, top), at(left + 1, top), at(left, top + 1), at(left + 1, top + 1)]
                };
            for c in 0..C {
                let [a, b, d, e] = corners.map(|corner| u32::from(corner[c]));
                let (upper, lower) = (a * (256 - fx) + b * fx, d * (256 - fx) + e * fx);
                output.push(((upper * (256 - fy) + lower * fy + 0x8000) >> 16) as u8);
            }
            x += xx;
            y += yx;
        }
    }
    Image { pixels: output, ..*image }
}
