//! Turned, slanted, resized and moved.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use retort_sdk::{choice, hyper};

use super::Transform;
use crate::Image;
use crate::part::{Part, read};

choice! {
    /// What comes into view.
    pub enum Fill { Background = "background", Black = "black", White = "white" }
}

hyper! {
    /// Turned, slanted, resized and moved around the centre, each by a random amount up to this, either way.
    pub struct Affine {
        /// In degrees.
        rotate: f64 = 10.0 => 0.0..=180.0,
        /// Factors between 1 - scale and 1 + scale.
        scale: f64 = 0.15 => 0.0..=0.95,
        /// In widths and heights.
        translate: f64 = 0.1 => 0.0..=1.0,
        /// In degrees.
        shear: f64 = 10.0 => 0.0..=80.0,
        /// The colour of what comes into view; the background's is that of the picture's border.
        fill: Fill = Fill::Background,
    }
}

pub(super) static PART: Part<super::Make> = Part::of::<Affine>("random_affine", |options, _| {
    let Affine { rotate, scale, translate, shear, fill } = read(options);
    let [rotate, scale, translate, shear] = [rotate, scale, translate, shear].map(|x| x as f32);
    let fill = match fill {
        Fill::Background => None,
        Fill::Black => Some(0),
        Fill::White => Some(u8::MAX),
    };
    Arc::new(RandomAffine { rotate, scale, translate, shear, fill })
});

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
