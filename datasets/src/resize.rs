//! Cropping and resizing in Pillow's 8-bit arithmetic (`Image.crop`, then
//! `Image.resize(…, BILINEAR)`), bit for bit, of no more than the wanted part. Rows come first, then
//! columns. (Pillow 13 does columns first for some shapes, above all boxes that grow across and shrink
//! down; there the rounding between the passes makes some values differ by one grey level.)

#![expect(clippy::inline_always, reason = "so that the loops use the vectors of their caller")]

use crate::Image;
use crate::picture::keep;

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

    /// The same part of a picture `by` times smaller, whose sides were rounded up.
    pub(crate) fn divided(self, by: usize) -> Self {
        let Self { left, top, width, height } = self;
        Self { left: left / by, top: top / by, width: width / by, height: height / by }
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

    /// The result for a picture.
    pub fn apply(&self, image: &Image) -> Image {
        let (pixels, width, channels) = (&image.pixels, image.width, image.channels);
        self.apply_to(&Part { pixels, width, channels, left: 0, top: 0 })
    }

    /// The result, from a part of a picture that holds at least what is [needed](Self::needs).
    pub(crate) fn apply_to(&self, part: &Part) -> Image {
        let (width, height, channels) = (self.columns.len(), self.rows.len(), part.channels);
        let mut pixels = vec![0; width * height * channels];
        run(self, part, &mut pixels);
        Image { width, height, channels, pixels }
    }
}

/// Some columns and rows of a picture, from `left` and `top` on.
pub(crate) struct Part<'a> {
    pub pixels: &'a [u8],
    pub width: usize,
    pub channels: usize,
    pub left: usize,
    pub top: usize,
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

/// Both passes, with wide vectors if the processor has them.
fn run(plan: &Resized, part: &Part, output: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "the compiler can't see that AVX2 was just found")]
        // SAFETY: the processor has AVX2.
        return unsafe { wide::run(plan, part, output) };
    }
    passes(plan, part, output, across_two);
}

/// First the rows, two at a time, then the columns.
#[inline(always)]
fn passes(
    plan: &Resized,
    part: &Part,
    output: &mut [u8],
    across: impl Fn(&Taps, &Part, [&[u8]; 2], &mut [u8]),
) {
    let (columns, rows, channels) = (&plan.columns, &plan.rows, part.channels);
    let (first, end) = rows.reach();
    let (row, line) = (part.width * channels, columns.len() * channels);
    // Spare bytes behind each row, so that whole vectors can be read at its end.
    let spare = row + 3 * columns.each + 16;
    let mut padded = vec![0; 2 * spare];
    let mut narrowed = SCRATCH.take();
    narrowed.resize((end - first).next_multiple_of(2) * line, 0);
    for (pair, narrowed) in narrowed.chunks_exact_mut(2 * line).enumerate() {
        for (i, padded) in padded.chunks_exact_mut(spare).enumerate() {
            let y = (first + 2 * pair + i).min(end - 1);
            padded[..row].copy_from_slice(&part.pixels[(y - part.top) * row..][..row]);
        }
        across(columns, part, [&padded[..spare], &padded[spare..]], narrowed);
        for narrowed in narrowed.chunks_exact_mut(line).filter(|_| plan.mirror) {
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
    keep(&SCRATCH, narrowed);
}

std::thread_local! {
    /// The rows between the passes: getting memory anew for each picture takes as long as a pass.
    static SCRATCH: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

/// Rounds a weighted sum.
#[inline(always)]
fn round(sum: i32) -> u8 {
    (sum >> BITS) as u8
}

const HALF: i32 = 1 << (BITS - 1);

/// Two rows, one output after the other.
#[inline(always)]
fn across_two(taps: &Taps, part: &Part, input: [&[u8]; 2], output: &mut [u8]) {
    let channels = part.channels;
    let line = taps.len() * channels;
    for (input, output) in input.into_iter().zip(output.chunks_exact_mut(line)) {
        let outputs = taps.first.iter().zip(taps.weights.chunks_exact(taps.each));
        for ((&first, weights), output) in outputs.zip(output.chunks_exact_mut(channels)) {
            let input = &input[channels * (first - part.left)..];
            for (c, output) in output.iter_mut().enumerate() {
                let values = input[c..].iter().step_by(channels);
                let sum: i32 = weights.iter().zip(values).map(|(w, &v)| w * i32::from(v)).sum();
                *output = round(HALF + sum);
            }
        }
    }
}

/// With AVX2: two rows of RGB side by side, two weights at a time.
#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        _mm_set_epi64x, _mm_setr_epi8, _mm_shuffle_epi8, _mm256_add_epi32, _mm256_cvtepu8_epi16,
        _mm256_extract_epi32, _mm256_madd_epi16, _mm256_set1_epi32, _mm256_setr_epi8,
        _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32,
    };

    use super::{BITS, HALF, Part, Resized, Taps, across_two, passes};

    #[target_feature(enable = "avx2")]
    pub(super) fn run(plan: &Resized, part: &Part, output: &mut [u8]) {
        if part.channels != 3 {
            return passes(plan, part, output, across_two);
        }
        let halves = halves(&plan.columns);
        passes(plan, part, output, |taps, part, input, output| match taps.each.div_ceil(2) {
            1 => across_rgb::<1>(taps, &halves, part, input, output),
            2 => across_rgb::<2>(taps, &halves, part, input, output),
            3 => across_rgb::<3>(taps, &halves, part, input, output),
            _ => across_rgb::<0>(taps, &halves, part, input, output),
        });
    }

    /// Bits of a weight's lower half: both halves fit 16 bits, and their products with pixels 32.
    const LOW: u32 = BITS / 2;

    /// For each two weights of an output: their upper halves in one number, and their lower halves.
    fn halves(taps: &Taps) -> Vec<[i32; 2]> {
        let pair = |pair: &[i32]| {
            let [a, b] = [pair[0], pair.get(1).copied().unwrap_or(0)];
            let low = (1 << LOW) - 1;
            [(a >> LOW) | (b >> LOW) << 16, (a & low) | (b & low) << 16]
        };
        taps.weights.chunks_exact(taps.each).flat_map(|own| own.chunks(2).map(pair)).collect()
    }

    /// The next eight bytes.
    #[inline(always)]
    fn eight(row: &[u8], at: usize) -> i64 {
        row[at..].first_chunk::<8>().map_or(0, |bytes| i64::from_le_bytes(*bytes))
    }

    /// Puts three of the bytes at a pixel, and the fourth where another follows, which overwrites it.
    #[inline(always)]
    fn put(row: &mut [u8], pixel: usize, bytes: i32) {
        let bytes = bytes.to_le_bytes();
        match row.get_mut(3 * pixel..3 * pixel + 4) {
            Some(place) => place.copy_from_slice(&bytes),
            None => row[3 * pixel..].copy_from_slice(&bytes[..3]),
        }
    }

    /// `N` pairs of weights for each output; 0: as many as there are.
    #[target_feature(enable = "avx2")]
    fn across_rgb<const N: usize>(
        taps: &Taps,
        halves: &[[i32; 2]],
        part: &Part,
        [above, below]: [&[u8]; 2],
        output: &mut [u8],
    ) {
        // R R G G B B of two neighbours, for each of the two rows.
        let pairs = _mm_setr_epi8(0, 3, 1, 4, 2, 5, -1, -1, 8, 11, 9, 12, 10, 13, -1, -1);
        let bytes = _mm256_setr_epi8(
            0, 4, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, -1, -1, -1, -1,
            -1, -1, -1, -1, -1, -1, -1, -1, -1,
        );
        let each = if N == 0 { taps.each.div_ceil(2) } else { N };
        let (upper, lower) = output.split_at_mut(3 * taps.len());
        for (i, (first, weights)) in taps.first.iter().zip(halves.chunks_exact(each)).enumerate() {
            let start = 3 * (first - part.left);
            let (mut high, mut low) = (_mm256_setzero_si256(), _mm256_set1_epi32(HALF));
            for (k, &[of_high, of_low]) in weights.iter().enumerate() {
                let at = start + 6 * k;
                let pixels = _mm_set_epi64x(eight(below, at), eight(above, at));
                let pixels = _mm256_cvtepu8_epi16(_mm_shuffle_epi8(pixels, pairs));
                let of_high = _mm256_madd_epi16(pixels, _mm256_set1_epi32(of_high));
                let of_low = _mm256_madd_epi16(pixels, _mm256_set1_epi32(of_low));
                (high, low) = (_mm256_add_epi32(high, of_high), _mm256_add_epi32(low, of_low));
            }
            let sum = _mm256_add_epi32(_mm256_slli_epi32::<{ LOW as i32 }>(high), low);
            let sum = _mm256_shuffle_epi8(_mm256_srli_epi32::<{ BITS as i32 }>(sum), bytes);
            put(upper, i, _mm256_extract_epi32::<0>(sum));
            put(lower, i, _mm256_extract_epi32::<4>(sum));
        }
    }

    #[cfg(test)]
    mod tests {
        use super::super::*;

        #[test]
        fn wide_vectors_give_the_same_pixels() {
            let pixels: Vec<u8> = (0..97 * 41 * 3_u64).map(|i| (i * i * 31 % 256) as u8).collect();
            let part = Part { pixels: &pixels, width: 97, channels: 3, left: 0, top: 0 };
            for (width, height) in [(1, 1), (97, 41), (64, 64), (13, 9), (96, 40), (300, 7)] {
                let all = Area::whole(width, height);
                let plan = Resized::new(Area::whole(97, 41), width, height, all);
                let mut plain = vec![0; 3 * width * height];
                passes(&plan, &part, &mut plain, across_two);
                assert!(plan.apply_to(&part).pixels == plain, "to {width}x{height}");
            }
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
    for (x, output) in output.iter_mut().enumerate().skip(line / LANES * LANES) {
        let column = rows.iter().skip(x).step_by(line);
        let sum: i32 = weights.iter().zip(column).map(|(w, &v)| w * i32::from(v)).sum();
        *output = round(HALF + sum);
    }
}
