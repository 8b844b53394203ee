//! Cropping and resizing in Pillow's 8-bit arithmetic (`Image.crop`, then
//! `Image.resize(…, BILINEAR)`), bit for bit, of no more than the wanted part.

#![expect(clippy::inline_always, reason = "so that the loops use the vectors of their caller")]

use crate::Image;

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Area {
    /// All of a picture of that size.
    pub fn whole(width: usize, height: usize) -> Self {
        Self { left: 0, top: 0, width, height }
    }
}

/// Crop, resize, crop again, mirror: worked out for one size of picture, then applied to its pixels.
///
/// Triangle filter, widened when shrinking so that nothing aliases.
#[derive(Clone, Debug)]
pub struct Resized {
    columns: Taps,
    rows: Taps,
    mirror: bool,
}

impl Resized {
    /// Crops to `crop`, resizes that to `width` x `height`, crops the result to `window`. Areas must
    /// lie inside their pictures and not be empty.
    pub fn new(crop: Area, width: usize, height: usize, window: Area) -> Self {
        Self {
            columns: Taps::new((crop.left, crop.width), width, (window.left, window.width)),
            rows: Taps::new((crop.top, crop.height), height, (window.top, window.height)),
            mirror: false,
        }
    }

    /// Mirrors left and right, or not.
    #[must_use]
    pub fn mirrored(self, mirror: bool) -> Self {
        Self { mirror, ..self }
    }

    /// The part of the picture that matters.
    pub fn needs(&self) -> Area {
        let ((left, right), (top, bottom)) = (self.columns.reach(), self.rows.reach());
        Area { left, top, width: right - left, height: bottom - top }
    }

    /// The result, from a picture of which `part` holds at least what is [needed](Self::needs); its
    /// top left pixel is column `left`, row `top` of the whole picture.
    pub fn apply(&self, part: &Image, left: usize, top: usize) -> Image {
        let (width, height, channels) = (self.columns.len(), self.rows.len(), part.channels);
        let mut pixels = vec![0; width * height * channels];
        run(self, part, left, top, &mut pixels);
        Image { width, height, channels, pixels }
    }
}

/// Fixed-point digits of a weight.
const BITS: u32 = 22;

/// For each output: the first input and the weights of it and those that follow. Weights of an
/// output add up to 2^22, so sums of 8-bit values fit 32 bits and never exceed 255 once shifted.
#[derive(Clone, Debug)]
struct Taps {
    first: Vec<usize>,
    /// `[outputs, each]`, padded with zeros.
    weights: Vec<i32>,
    each: usize,
}

impl Taps {
    /// Resizes `from.1` inputs, starting at `from.0`, to `to`; keeps the outputs in `window`.
    fn new(from: (usize, usize), to: usize, window: (usize, usize)) -> Self {
        let outputs: Vec<(usize, Vec<i32>)> =
            (window.0..window.0 + window.1).map(|o| taps(o, from.1, to)).collect();
        let each = outputs.iter().map(|(_, weights)| weights.len()).max().unwrap_or(1);
        let mut weights = Vec::with_capacity(each * outputs.len());
        let mut first = Vec::with_capacity(outputs.len());
        for (start, own) in outputs {
            first.push(from.0 + start);
            weights.extend(own);
            weights.resize(each * first.len(), 0);
        }
        Self { first, weights, each }
    }

    fn len(&self) -> usize {
        self.first.len()
    }

    /// First input, and the one after the last that has a weight.
    fn reach(&self) -> (usize, usize) {
        let first = self.first.iter().min().copied().unwrap_or(0);
        let end = self.first.iter().zip(self.weights.chunks_exact(self.each));
        let end = end.map(|(first, weights)| {
            first + weights.iter().rposition(|&w| w != 0).map_or(1, |last| last + 1)
        });
        (first, end.max().unwrap_or(first + 1))
    }
}

/// First input and fixed-point weights of output `o`, as Pillow's `precompute_coeffs` has them.
fn taps(o: usize, from: usize, to: usize) -> (usize, Vec<i32>) {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let inverse = 1.0 / reach;
    let centre = (o as f64 + 0.5) * scale;
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(from);
    let weight = |x: usize| (1.0 - ((x as f64 - centre + 0.5) * inverse).abs()).max(0.0);
    let sum: f64 = (first..end).map(weight).sum();
    let one = f64::from(1_u32 << BITS);
    let mut weights: Vec<i32> =
        (first..end).map(|x| (weight(x) / sum * one + 0.5) as i32).collect();
    while weights.len() > 1 && weights.last() == Some(&0) {
        weights.pop();
    }
    (first, weights)
}

/// Both passes, with the widest vectors that the processor has.
fn run(plan: &Resized, part: &Image, left: usize, top: usize, output: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn wide(plan: &Resized, part: &Image, left: usize, top: usize, output: &mut [u8]) {
            passes(plan, part, left, top, output);
        }
        #[expect(unsafe_code, reason = "the compiler can't see that AVX2 was just found")]
        // SAFETY: the processor has AVX2.
        return unsafe { wide(plan, part, left, top, output) };
    }
    passes(plan, part, left, top, output);
}

#[inline(always)]
fn passes(plan: &Resized, part: &Image, left: usize, top: usize, output: &mut [u8]) {
    let (columns, rows, channels) = (&plan.columns, &plan.rows, part.channels);
    let (first, end) = rows.reach();
    let (row, line) = (part.width * channels, columns.len() * channels);
    // Spare bytes behind each row, so that four can be read at a pixel of three.
    let mut padded = vec![0; row + 4 * columns.each + 4];
    let mut narrowed = vec![0; (end - first) * line];
    for (y, narrowed) in (first..end).zip(narrowed.chunks_exact_mut(line)) {
        padded[..row].copy_from_slice(&part.pixels[(y - top) * row..][..row]);
        match channels {
            3 => match columns.each {
                1 => across_rgb::<1>(columns, left, &padded, narrowed),
                2 => across_rgb::<2>(columns, left, &padded, narrowed),
                3 => across_rgb::<3>(columns, left, &padded, narrowed),
                4 => across_rgb::<4>(columns, left, &padded, narrowed),
                5 => across_rgb::<5>(columns, left, &padded, narrowed),
                6 => across_rgb::<6>(columns, left, &padded, narrowed),
                _ => across(columns, left, channels, &padded, narrowed),
            },
            _ => across(columns, left, channels, &padded, narrowed),
        }
        if plan.mirror {
            match channels {
                3 => narrowed.as_chunks_mut::<3>().0.reverse(),
                _ => narrowed.reverse(),
            }
        }
    }
    for (y, output) in output.chunks_exact_mut(line).enumerate() {
        let weights = &rows.weights[y * rows.each..][..rows.each];
        let start = (rows.first[y] - first) * line;
        let end = (start + rows.each * line).min(narrowed.len());
        down(weights, &narrowed[start..end], output);
    }
}

/// Rounds a weighted sum.
#[inline(always)]
fn round(sum: i32) -> u8 {
    (sum >> BITS) as u8
}

const HALF: i32 = 1 << (BITS - 1);

/// One row of RGB, with `N` weights for each output: a vector of four lanes for each pixel.
#[inline(always)]
fn across_rgb<const N: usize>(taps: &Taps, left: usize, input: &[u8], output: &mut [u8]) {
    let (weights, []) = taps.weights.as_chunks::<N>() else { return };
    let (output, _) = output.as_chunks_mut::<3>();
    for ((output, &first), weights) in output.iter_mut().zip(&taps.first).zip(weights) {
        let input = &input[3 * (first - left)..][..3 * N + 1];
        let mut sums = [HALF; 4];
        for (k, &weight) in weights.iter().enumerate() {
            for (sum, &value) in sums.iter_mut().zip(&input[3 * k..3 * k + 4]) {
                *sum += weight * i32::from(value);
            }
        }
        *output = [round(sums[0]), round(sums[1]), round(sums[2])];
    }
}

/// One row.
#[inline(always)]
fn across(taps: &Taps, left: usize, channels: usize, input: &[u8], output: &mut [u8]) {
    let outputs = taps.first.iter().zip(taps.weights.chunks_exact(taps.each));
    for ((&first, weights), output) in outputs.zip(output.chunks_exact_mut(channels)) {
        let input = &input[channels * (first - left)..];
        for (c, output) in output.iter_mut().enumerate() {
            let values = input[c..].iter().step_by(channels);
            let sum: i32 = weights.iter().zip(values).map(|(w, &v)| w * i32::from(v)).sum();
            *output = round(HALF + sum);
        }
    }
}

/// One output row from the input rows that `rows` holds, one after the other.
#[inline(always)]
fn down(weights: &[i32], rows: &[u8], output: &mut [u8]) {
    const LANES: usize = 32;
    let line = output.len();
    let (blocks, _) = output.as_chunks_mut::<LANES>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let mut sums = [HALF; LANES];
        for (row, &weight) in rows.chunks_exact(line).zip(weights) {
            let (values, _) = row[b * LANES..].as_chunks::<LANES>();
            for (sum, &value) in sums.iter_mut().zip(&values[0]) {
                *sum += weight * i32::from(value);
            }
        }
        for (output, &sum) in block.iter_mut().zip(&sums) {
            *output = round(sum);
        }
    }
    for x in line / LANES * LANES..line {
        let column = rows.iter().skip(x).step_by(line);
        let sum: i32 = weights.iter().zip(column).map(|(w, &v)| w * i32::from(v)).sum();
        output[x] = round(HALF + sum);
    }
}
