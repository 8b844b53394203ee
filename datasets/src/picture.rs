//! 8-bit pictures: decoding, resizing, colour.

use crate::DataError;

/// An 8-bit picture, row-major and interleaved: channel `c` of pixel (`x`, `y`) is
/// `pixels[(y * width + x) * channels + c]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `height * width * channels` values.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{}x{})", self.height, self.width, self.channels)
    }
}

impl Image {
    /// Decodes a PNG or JPEG file. `file` names it in errors. Grey stays grey, everything else
    /// becomes RGB; 16 bits become 8; transparency is dropped.
    pub fn decode(bytes: &[u8], file: &str) -> Result<Self, DataError> {
        let advice = "The file is damaged or not a picture: fetch it again";
        let decoded = image::load_from_memory(bytes)
            .map_err(|error| DataError::file(file, error.to_string(), advice))?;
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let (channels, pixels) = if decoded.color().has_color() {
            (3, decoded.into_rgb8().into_raw())
        } else {
            (1, decoded.into_luma8().into_raw())
        };
        Ok(Self { width, height, channels, pixels })
    }

    /// The picture with 1 or 3 channels: grey is repeated, colour becomes luma (ITU-R 601).
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        let pixels = match (self.channels, channels) {
            (1, 3) => self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            (3, 1) => self.pixels.chunks_exact(3).map(luma).collect(),
            _ => return self,
        };
        Self { channels, pixels, ..self }
    }

    /// The picture at another size: triangle filter, widened when shrinking so that nothing
    /// aliases, in Pillow's 8-bit arithmetic (`Image.resize(…, BILINEAR)`, bit for bit).
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        let mut image = self.clone();
        if width != image.width {
            image.pixels =
                resample(&image.pixels, image.height, image.width, image.channels, width);
            image.width = width;
        }
        if height != image.height {
            image.pixels =
                resample(&image.pixels, 1, image.height, image.width * image.channels, height);
            image.height = height;
        }
        image
    }

    /// The background: the median of the outermost pixels, per channel (the second and third are
    /// 0 in a grey picture).
    pub fn border(&self) -> [u8; 3] {
        let mut counts = [[0_usize; 256]; 3];
        let row = self.width * self.channels;
        let mut total = 0;
        let mut count = |values: &[u8]| {
            for pixel in values.chunks_exact(self.channels) {
                total += 1;
                for (counts, &value) in counts.iter_mut().zip(pixel) {
                    counts[usize::from(value)] += 1;
                }
            }
        };
        for (y, values) in self.pixels.chunks_exact(row.max(1)).enumerate() {
            if y == 0 || y + 1 == self.height {
                count(values);
            } else {
                count(&values[..self.channels]);
                count(&values[row - self.channels..]);
            }
        }
        counts.map(|counts| {
            let mut below = 0;
            let median = counts.iter().position(|&n| {
                below += n;
                2 * below > total
            });
            median.unwrap_or(0) as u8
        })
    }
}

fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [0, 1, 2].map(|c| u32::from(rgb[c]));
    ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
}

/// Resamples the middle axis of `pixels` `[outer, from, inner]` to `[outer, to, inner]`.
fn resample(pixels: &[u8], outer: usize, from: usize, inner: usize, to: usize) -> Vec<u8> {
    const BITS: u32 = 22;
    let taps: Vec<(usize, Vec<i64>)> = (0..to).map(|o| taps(o, from, to, BITS)).collect();
    let mut output = Vec::with_capacity(outer * to * inner);
    for slab in 0..outer {
        let slab = &pixels[slab * from * inner..][..from * inner];
        for (first, weights) in &taps {
            for i in 0..inner {
                let column = slab[first * inner + i..].iter().step_by(inner);
                let sum: i64 = weights.iter().zip(column).map(|(w, &p)| w * i64::from(p)).sum();
                output.push(((sum + (1 << (BITS - 1))) >> BITS).clamp(0, 255) as u8);
            }
        }
    }
    output
}

/// First input and fixed-point weights of output `o`.
fn taps(o: usize, from: usize, to: usize, bits: u32) -> (usize, Vec<i64>) {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let centre = (o as f64 + 0.5) * scale;
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(from);
    let weight = |x: usize| (1.0 - (x as f64 - centre + 0.5).abs() / reach).max(0.0);
    let sum: f64 = (first..end).map(weight).sum();
    let one = f64::from(1_u32 << bits);
    (first, (first..end).map(|x| (weight(x) / sum * one + 0.5) as i64).collect())
}
