//! Convolutions on the CPU: tiles of the picture laid out as columns that stay in the cache (im2col), one matrix
//! product a tile, forward and backward. Burn's own lays out the whole batch, and convolves pictures with gradients
//! as if they were filters.
//!
//! How work is cut depends on shapes alone, so results are the same bytes on any number of threads.

use super::flex::{numbers, tensor};
use super::record::recorded;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::{DType, Tensor};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Numbers of a tile's columns: 768 KiB, which a core's second cache holds.
const TILE: usize = 192 * 1024;
/// Numbers that partial sums of a weight's gradient may take together: 32 MiB.
const SUMS: usize = 8 << 20;

/// What a convolution goes over.
#[derive(Clone, Copy, Debug)]
struct Shape {
    pictures: usize,
    channels: usize,
    height: usize,
    width: usize,
    filters: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    /// Height and width of the result.
    out: [usize; 2],
}

impl Shape {
    fn new(
        x: [usize; 4],
        weight: [usize; 4],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Option<Self> {
        let [pictures, channels, height, width] = x;
        let [filters, of, kernel_height, kernel_width] = weight;
        let kernel = [kernel_height, kernel_width];
        let size = |i: usize, size: usize| {
            let all = (size + 2 * padding[i]).checked_sub(kernel[i])?;
            Some(all / stride[i] + 1)
        };
        let out = [size(0, height)?, size(1, width)?];
        let whole = of == channels && x.iter().chain(&weight).all(|&size| size > 0);
        whole.then_some(Shape {
            pictures,
            channels,
            height,
            width,
            filters,
            kernel,
            stride,
            padding,
            out,
        })
    }

    /// Numbers under a filter.
    fn taps(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    /// Numbers of a picture's channel.
    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Numbers of a picture.
    fn picture(&self) -> usize {
        self.channels * self.plane()
    }

    /// Numbers of a picture's channel in the result.
    fn out_plane(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Numbers of a picture in the result.
    fn out_picture(&self) -> usize {
        self.filters * self.out_plane()
    }

    /// Whether a picture is its own columns.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

    /// Positions of the result in a tile.
    fn tile(&self) -> usize {
        (TILE / self.taps()).clamp(256, 512)
    }

    /// Pictures whose work is done together: several small ones fill a tile.
    fn group(&self) -> usize {
        let small = (self.tile() / self.out_plane()).clamp(1, self.pictures.div_ceil(2));
        // As many groups for one thread as for another of two.
        let groups = self.pictures.div_ceil(small).next_multiple_of(2).min(self.pictures);
        self.pictures.div_ceil(groups)
    }

    /// Rows of the result, tile by tile, of one picture.
    fn bands(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.out[0];
        let bands = self.out_plane().div_ceil(self.tile()).clamp(1, rows);
        (0..bands).map(move |i| i * rows / bands..(i + 1) * rows / bands)
    }

    /// Columns of the result whose tap `at` lies in the picture.
    fn inside(&self, at: usize) -> Range<usize> {
        let (stride, padding) = (self.stride[1], self.padding[1]);
        let first = padding.saturating_sub(at).div_ceil(stride).min(self.out[1]);
        let end = (self.width + padding).saturating_sub(at).div_ceil(stride).min(self.out[1]);
        first..end.max(first)
    }

    /// The picture's row under tap `at` of a row of the result, if there is one.
    fn row(&self, row: usize, at: usize) -> Option<usize> {
        (row * self.stride[0] + at).checked_sub(self.padding[0]).filter(|&y| y < self.height)
    }
}

/// A matrix in a slice: how far its rows and its columns are apart.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    numbers: &'a [f32],
    row: usize,
    column: usize,
}

/// `[m, k]` by `[k, n]` into `out`, whose rows are `row` apart; added to it, if so asked.
fn product(out: &mut [f32], row: usize, a: Matrix, b: Matrix, [m, k, n]: [usize; 3], add: bool) {
    let reach = |x: Matrix, rows: usize, columns: usize| {
        assert!((rows - 1) * x.row + (columns - 1) * x.column < x.numbers.len());
    };
    reach(a, m, k);
    reach(b, k, n);
    assert!((m - 1) * row + n <= out.len());
    // SAFETY: the furthest number of each matrix lies in its slice, as was just looked at, and `out` is
    // borrowed alone.
    #[expect(unsafe_code, reason = "the matrix product that Burn uses takes pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            row as isize,
            add,
            a.numbers.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.numbers.as_ptr(),
            b.column as isize,
            b.row as isize,
            f32::from(u8::from(add)),
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

thread_local! {
    /// A tile's columns, and several pictures' results side by side.
    static SCRATCH: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Runs `f` with room for so many numbers each; what they are is anything.
fn with_scratch<T>(lengths: [usize; 2], f: impl FnOnce(&mut [f32], &mut [f32]) -> T) -> T {
    SCRATCH.with_borrow_mut(|buffers| {
        for (buffer, length) in buffers.iter_mut().zip(lengths) {
            if buffer.len() < length {
                buffer.resize(length, 0.0);
            }
        }
        let [one, other] = buffers;
        f(&mut one[..lengths[0]], &mut other[..lengths[1]])
    })
}

/// The columns `[taps, positions]` of some rows of the result of pictures `x`.
fn lay_out(x: &[f32], shape: Shape, rows: Range<usize>, columns: &mut [f32]) {
    let width = shape.out[1];
    let positions = x.len() / shape.picture() * rows.len() * width;
    let mut lines = columns.chunks_exact_mut(positions);
    for channel in 0..shape.channels {
        for (i, j) in taps(shape) {
            let inside = shape.inside(j);
            let Some(line) = lines.next() else { return };
            let mut parts = line.chunks_exact_mut(width);
            for picture in x.chunks_exact(shape.picture()) {
                let plane = &picture[channel * shape.plane()..][..shape.plane()];
                for row in rows.clone() {
                    let Some(out) = parts.next() else { return };
                    let Some(y) = shape.row(row, i) else {
                        out.fill(0.0);
                        continue;
                    };
                    out[..inside.start].fill(0.0);
                    out[inside.end..].fill(0.0);
                    let from = &plane[y * shape.width..][..shape.width];
                    if inside.is_empty() {
                        continue;
                    }
                    let first = inside.start * shape.stride[1] + j - shape.padding[1];
                    let out = &mut out[inside.clone()];
                    if shape.stride[1] == 1 {
                        out.copy_from_slice(&from[first..first + out.len()]);
                    } else {
                        let from = from[first..].iter().step_by(shape.stride[1]);
                        out.iter_mut().zip(from).for_each(|(to, x)| *to = *x);
                    }
                }
            }
        }
    }
}

/// Adds columns `[taps, positions]` to where [`lay_out`] took them from.
fn put_back(columns: &[f32], shape: Shape, rows: Range<usize>, x: &mut [f32]) {
    let width = shape.out[1];
    let positions = x.len() / shape.picture() * rows.len() * width;
    let mut lines = columns.chunks_exact(positions);
    for channel in 0..shape.channels {
        for (i, j) in taps(shape) {
            let inside = shape.inside(j);
            let Some(line) = lines.next() else { return };
            let mut parts = line.chunks_exact(width);
            for picture in x.chunks_exact_mut(shape.picture()) {
                let plane = &mut picture[channel * shape.plane()..][..shape.plane()];
                for row in rows.clone() {
                    let Some(from) = parts.next() else { return };
                    let Some(y) = shape.row(row, i).filter(|_| !inside.is_empty()) else {
                        continue;
                    };
                    let to = &mut plane[y * shape.width..][..shape.width];
                    let first = inside.start * shape.stride[1] + j - shape.padding[1];
                    let from = &from[inside.clone()];
                    if shape.stride[1] == 1 {
                        let to = &mut to[first..first + from.len()];
                        to.iter_mut().zip(from).for_each(|(to, x)| *to += *x);
                    } else {
                        let to = to[first..].iter_mut().step_by(shape.stride[1]);
                        to.zip(from).for_each(|(to, x)| *to += *x);
                    }
                }
            }
        }
    }
}

/// The places of a filter, row by row.
fn taps(shape: Shape) -> impl Iterator<Item = (usize, usize)> {
    let [height, width] = shape.kernel;
    (0..height).flat_map(move |i| (0..width).map(move |j| (i, j)))
}

/// `[n, filters, positions]` of a few pictures as `[filters, n * positions]`, or back.
fn side_by_side(shape: Shape, pictures: usize, mut copy: impl FnMut(Range<usize>, Range<usize>)) {
    let plane = shape.out_plane();
    for picture in 0..pictures {
        for filter in 0..shape.filters {
            let one = picture * shape.out_picture() + filter * plane;
            let other = (filter * pictures + picture) * plane;
            copy(one..one + plane, other..other + plane);
        }
    }
}

/// `[n, filters, oh, ow]`
fn forward(x: &[f32], weight: &[f32], bias: Option<&[f32]>, shape: Shape) -> Vec<f32> {
    let mut out = vec![0.0; shape.pictures * shape.out_picture()];
    let (taps, plane, group) = (shape.taps(), shape.out_plane(), shape.group());
    let filters = Matrix { numbers: weight, row: taps, column: 1 };
    let pictures = x.par_chunks(group * shape.picture());
    out.par_chunks_mut(group * shape.out_picture()).zip(pictures).for_each(|(out, x)| {
        if let Some(bias) = bias {
            let planes = out.chunks_exact_mut(plane).zip(bias.iter().cycle());
            planes.for_each(|(plane, bias)| plane.fill(*bias));
        }
        let add = bias.is_some();
        let n = x.len() / shape.picture();
        if n > 1 {
            let positions = n * plane;
            with_scratch([taps * positions, shape.filters * positions], |columns, results| {
                lay_out(x, shape, 0..shape.out[0], columns);
                let columns = Matrix { numbers: columns, row: positions, column: 1 };
                let sizes = [shape.filters, taps, positions];
                product(results, positions, filters, columns, sizes, false);
                side_by_side(shape, n, |to, from| {
                    let pairs = out[to].iter_mut().zip(&results[from]);
                    pairs.for_each(|(to, x)| *to = if add { *to + *x } else { *x });
                });
            });
            return;
        }
        for rows in shape.bands() {
            let positions = rows.len() * shape.out[1];
            let out = &mut out[rows.start * shape.out[1]..];
            let sizes = [shape.filters, taps, positions];
            if shape.is_pointwise() {
                let numbers = &x[rows.start * shape.out[1]..];
                let columns = Matrix { numbers, row: plane, column: 1 };
                product(out, plane, filters, columns, sizes, add);
                continue;
            }
            with_scratch([taps * positions, 0], |columns, _| {
                lay_out(x, shape, rows, columns);
                let columns = Matrix { numbers: columns, row: positions, column: 1 };
                product(out, plane, filters, columns, sizes, add);
            });
        }
    });
    out
}

/// The gradient of the pictures.
fn of_pictures(gradient: &[f32], weight: &[f32], shape: Shape) -> Vec<f32> {
    let mut out = vec![0.0; shape.pictures * shape.picture()];
    let (taps, plane, group) = (shape.taps(), shape.out_plane(), shape.group());
    let filters = Matrix { numbers: weight, row: 1, column: taps };
    let gradients = gradient.par_chunks(group * shape.out_picture());
    out.par_chunks_mut(group * shape.picture()).zip(gradients).for_each(|(out, gradient)| {
        let n = gradient.len() / shape.out_picture();
        if n > 1 {
            let positions = n * plane;
            with_scratch([taps * positions, shape.filters * positions], |columns, gradients| {
                side_by_side(shape, n, |from, to| gradients[to].copy_from_slice(&gradient[from]));
                let gradients = Matrix { numbers: gradients, row: positions, column: 1 };
                let sizes = [taps, shape.filters, positions];
                product(columns, positions, filters, gradients, sizes, false);
                put_back(columns, shape, 0..shape.out[0], out);
            });
            return;
        }
        for rows in shape.bands() {
            let positions = rows.len() * shape.out[1];
            let numbers = &gradient[rows.start * shape.out[1]..];
            let gradient = Matrix { numbers, row: plane, column: 1 };
            let sizes = [taps, shape.filters, positions];
            if shape.is_pointwise() {
                let out = &mut out[rows.start * shape.out[1]..];
                product(out, plane, filters, gradient, sizes, false);
                continue;
            }
            with_scratch([taps * positions, 0], |columns, _| {
                product(columns, positions, filters, gradient, sizes, false);
                put_back(columns, shape, rows, out);
            });
        }
    });
    out
}

/// The gradient of the weight: a number of partial sums that depends on the shape alone, then their sum.
fn of_weight(x: &[f32], gradient: &[f32], shape: Shape) -> Vec<f32> {
    let (taps, plane, group) = (shape.taps(), shape.out_plane(), shape.group());
    let length = shape.filters * taps;
    let groups = shape.pictures.div_ceil(group);
    let parts = (SUMS / length).clamp(2, 16).min(groups);
    let per_part = groups.div_ceil(parts) * group;
    let pictures = x.par_chunks(per_part * shape.picture());
    let gradients = gradient.par_chunks(per_part * shape.out_picture());
    let one = |(x, gradient): (&[f32], &[f32])| {
        let mut sum = vec![0.0; length];
        let groups = x.chunks(group * shape.picture());
        for (x, gradient) in groups.zip(gradient.chunks(group * shape.out_picture())) {
            add_of_weight(x, gradient, shape, plane, &mut sum);
        }
        sum
    };
    let sums: Vec<Vec<f32>> = pictures.zip(gradients).with_max_len(1).map(one).collect();
    let mut sums = sums.into_iter();
    let mut all = sums.next().unwrap_or_default();
    for sum in sums {
        all.iter_mut().zip(sum).for_each(|(all, x)| *all += x);
    }
    all
}

/// Adds what a few pictures are in the gradient of the weight.
fn add_of_weight(x: &[f32], gradient: &[f32], shape: Shape, plane: usize, sum: &mut [f32]) {
    let taps = shape.taps();
    let n = x.len() / shape.picture();
    if n > 1 {
        let positions = n * plane;
        with_scratch([taps * positions, shape.filters * positions], |columns, gradients| {
            lay_out(x, shape, 0..shape.out[0], columns);
            side_by_side(shape, n, |from, to| gradients[to].copy_from_slice(&gradient[from]));
            let gradients = Matrix { numbers: gradients, row: positions, column: 1 };
            let columns = Matrix { numbers: columns, row: 1, column: positions };
            product(sum, taps, gradients, columns, [shape.filters, positions, taps], true);
        });
        return;
    }
    for rows in shape.bands() {
        let positions = rows.len() * shape.out[1];
        let from = rows.start * shape.out[1];
        let gradient = Matrix { numbers: &gradient[from..], row: plane, column: 1 };
        let sizes = [shape.filters, positions, taps];
        if shape.is_pointwise() {
            let columns = Matrix { numbers: &x[from..], row: 1, column: plane };
            product(sum, taps, gradient, columns, sizes, true);
            continue;
        }
        with_scratch([taps * positions, 0], |columns, _| {
            lay_out(x, shape, rows, columns);
            let columns = Matrix { numbers: columns, row: 1, column: positions };
            product(sum, taps, gradient, columns, sizes, true);
        });
    }
}

/// The gradient of the bias.
fn of_bias(gradient: &[f32], shape: Shape) -> Vec<f32> {
    let plane = shape.out_plane();
    let of = |filter: usize| {
        let pictures = gradient.chunks_exact(shape.out_picture());
        let planes = pictures.map(|picture| &picture[filter * plane..][..plane]);
        planes.map(|plane| f64::from(plane.iter().sum::<f32>())).sum::<f64>() as f32
    };
    (0..shape.filters).into_par_iter().map(of).collect()
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    x: FlexTensor,
    weight: FlexTensor,
    shape: Shape,
}

#[derive(Debug)]
struct Step;

/// Parents are the pictures, the weight, and the bias, if there is one.
impl<const N: usize> Backward<Flex, N> for Step {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let Saved { x, weight, shape } = ops.state;
        let gradient = numbers(&gradient);
        for (i, node) in ops.parents.into_iter().enumerate() {
            let Some(node) = node else { continue };
            let of = match i {
                0 => tensor(of_pictures(gradient, numbers(&weight), shape), x.shape().dims::<4>()),
                1 => tensor(of_weight(numbers(&x), gradient, shape), weight.shape().dims::<4>()),
                _ => tensor(of_bias(gradient, shape), [shape.filters]),
            };
            gradients.register::<Flex>(node.id, of);
        }
    }
}

/// A convolution of `[n, c, h, w]` with `[filters, c, kh, kw]`, on the CPU in 32 bits; none elsewhere.
pub(crate) fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Option<Tensor<4>> {
    type Own = Autodiff<Flex>;
    let narrow = [x.dtype(), weight.dtype()] == [DType::F32; 2]
        && bias.is_none_or(|bias| bias.dtype() == DType::F32);
    narrow.then_some(())?;
    let shape = Shape::new(x.dims(), weight.dims(), stride, padding)?;
    let dims = [shape.pictures, shape.filters, shape.out[0], shape.out[1]];
    let run = |x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>| {
        tensor(forward(numbers(x), numbers(weight), bias.map(numbers), shape), dims)
    };
    let plain = |t: &Tensor<4>| t.clone().try_into_primitive::<Flex>().ok();
    if let Some(x) = plain(x) {
        let bias = match bias {
            Some(bias) => Some(bias.clone().try_into_primitive::<Flex>().ok()?.to_contiguous()),
            None => None,
        };
        let out = run(&x.to_contiguous(), &plain(weight)?.to_contiguous(), bias.as_ref());
        return Some(Tensor::from_primitive::<Flex>(out));
    }
    let x = x.clone().try_into_primitive::<Own>().ok()?;
    let weight = weight.clone().try_into_primitive::<Own>().ok()?;
    let (x, node_x) = x.into_parts();
    let (weight, node_weight) = weight.into_parts();
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let saved = Saved { x: x.clone(), weight: weight.clone(), shape };
    let out = match bias {
        None => recorded(Step, [node_x, node_weight], saved, run(&x, &weight, None)),
        Some(bias) => {
            let (bias, node_bias) = bias.clone().try_into_primitive::<Own>().ok()?.into_parts();
            let out = run(&x, &weight, Some(&bias.to_contiguous()));
            recorded(Step, [node_x, node_weight, node_bias], saved, out)
        }
    };
    Some(Tensor::from_primitive::<Own>(out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::conv2d;
    use crate::kernel::testing::{alike, apart, wave};
    use burn::tensor::module::conv2d as theirs;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, Tensor};

    /// Pictures, weight, stride and padding.
    type Case = ([usize; 4], [usize; 4], [usize; 2], [usize; 2]);

    /// Filters of all forms, maps of a tile and of many, odd sizes.
    const CASES: [Case; 12] = [
        ([3, 2, 5, 7], [4, 2, 3, 3], [1, 1], [1, 1]),
        ([1, 1, 1, 1], [1, 1, 1, 1], [1, 1], [0, 0]),
        ([5, 3, 32, 32], [8, 3, 3, 3], [1, 1], [1, 1]),
        ([7, 6, 4, 4], [9, 6, 3, 3], [1, 1], [1, 1]),
        ([2, 3, 33, 29], [5, 3, 7, 7], [2, 2], [3, 3]),
        ([4, 8, 9, 9], [3, 8, 1, 1], [1, 1], [0, 0]),
        ([4, 8, 9, 9], [3, 8, 1, 1], [2, 2], [0, 0]),
        ([2, 2, 11, 6], [3, 2, 2, 5], [3, 1], [0, 2]),
        ([1, 4, 64, 48], [6, 4, 3, 3], [1, 2], [2, 0]),
        ([2, 1, 3, 3], [2, 1, 5, 5], [1, 1], [2, 2]),
        ([9, 5, 2, 2], [4, 5, 3, 3], [2, 2], [1, 1]),
        ([2, 3, 32, 32], [4, 3, 16, 16], [16, 16], [0, 0]),
    ];

    #[test]
    fn values_and_gradients_are_those_of_burn() {
        let device = Device::flex().autodiff();
        for (x, w, stride, padding) in CASES {
            for biased in [false, true] {
                let leaf = |salt| wave(x, salt, &device).require_grad();
                let input = leaf(0.3);
                let weight = wave(w, 1.7, &device).require_grad();
                let bias = biased.then(|| wave([w[0]], 2.9, &device).require_grad());
                let ours = conv2d(&input, &weight, bias.as_ref(), stride, padding).unwrap();
                let options = ConvOptions::new(stride, padding, [1, 1], 1);
                let wanted = theirs(input.clone(), weight.clone(), bias.clone(), options);
                let what = format!("{x:?} {w:?} {stride:?} {padding:?}");
                assert_eq!(ours.dims(), wanted.dims(), "{what}");
                let far = apart(ours.clone().inner(), wanted.clone().inner());
                assert!(far < 1e-6, "{what}: {far:.0e}");
                let push = wave(wanted.dims(), 0.9, &device);
                let of = |out: Tensor<4>| {
                    let gradients = (out * push.clone()).sum().backward();
                    let bias = bias.as_ref().map(|bias| bias.grad(&gradients).unwrap());
                    (input.grad(&gradients).unwrap(), weight.grad(&gradients).unwrap(), bias)
                };
                let (ours, wanted) = (of(ours), of(wanted));
                let mut far = apart(ours.0, wanted.0).max(apart(ours.1, wanted.1));
                if let (Some(ours), Some(wanted)) = (ours.2, wanted.2) {
                    far = far.max(apart(ours, wanted));
                }
                // Sums over a thousand places, in another order.
                assert!(far < 1e-5, "gradient of {what}: {far:.0e}");
                // Without autodiff, too.
                let device = Device::flex();
                let (input, weight) = (wave(x, 0.3, &device), wave(w, 1.7, &device));
                let bias = biased.then(|| wave([w[0]], 2.9, &device));
                let plain = conv2d(&input, &weight, bias.as_ref(), stride, padding).unwrap();
                let options = ConvOptions::new(stride, padding, [1, 1], 1);
                assert!(apart(plain, theirs(input, weight, bias, options)) < 1e-6, "{what}");
            }
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        alike(|| {
            let device = Device::flex().autodiff();
            let input = wave([13, 6, 20, 20], 0.2, &device).require_grad();
            let weight = wave([7, 6, 3, 3], 0.5, &device).require_grad();
            let out = conv2d(&input, &weight, None, [1, 1], [1, 1]).unwrap();
            let gradients = (out.clone() * out.clone()).sum().backward();
            vec![
                out.into_data(),
                input.grad(&gradients).unwrap().into_data(),
                weight.grad(&gradients).unwrap().into_data(),
            ]
        });
    }
}
