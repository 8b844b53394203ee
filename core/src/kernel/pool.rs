//! Maximum pooling on the CPU: a tap of the window goes over a row of results at a time, and one byte a result says
//! which tap it came from.

use super::flex::{numbers, tensor};
use super::record::recorded;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// What a pooling goes over.
#[derive(Clone, Copy, Debug)]
struct Shape {
    height: usize,
    width: usize,
    window: usize,
    stride: usize,
    padding: usize,
    /// Height and width of the result.
    out: [usize; 2],
}

impl Shape {
    fn plane(&self) -> usize {
        self.height * self.width
    }

    fn out_plane(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Taps of a window with the row that each has under a row of results, and the columns of results for which it lies
    /// in the picture.
    fn taps(&self, row: usize) -> impl Iterator<Item = (u8, usize, usize, Range<usize>)> + use<> {
        let Shape { height, width, window, stride, padding, out } = *self;
        let rows = (0..window).filter_map(move |i| {
            let y = (row * stride + i).checked_sub(padding).filter(|&y| y < height)?;
            Some((i, y))
        });
        rows.flat_map(move |(i, y)| {
            (0..window).map(move |j| {
                let first = padding.saturating_sub(j).div_ceil(stride).min(out[1]);
                let end = (width + padding).saturating_sub(j).div_ceil(stride).min(out[1]);
                ((i * window + j) as u8, y, j, first..end.max(first))
            })
        })
    }
}

/// The place of a result that has none yet.
const NONE: u8 = u8::MAX;

/// The largest number of each window, and which tap it lies under; of equal ones the first. NaN wins.
fn forward(x: &[f32], shape: Shape) -> (Vec<f32>, Vec<u8>) {
    let arch = Arch::new();
    let planes = x.len() / shape.plane();
    let mut out = vec![f32::NEG_INFINITY; planes * shape.out_plane()];
    let mut places = vec![NONE; out.len()];
    let results =
        out.par_chunks_mut(shape.out_plane()).zip(places.par_chunks_mut(shape.out_plane()));
    let all = x.par_chunks(shape.plane()).zip(results).with_min_len(4);
    all.for_each(|(x, (out, places))| {
        let rows = out.chunks_exact_mut(shape.out[1]).zip(places.chunks_exact_mut(shape.out[1]));
        for (row, (out, places)) in rows.enumerate() {
            for (tap, y, j, inside) in shape.taps(row).filter(|(.., inside)| !inside.is_empty()) {
                let from = inside.start * shape.stride + j - shape.padding;
                let x = &x[y * shape.width + from..(y + 1) * shape.width];
                let (out, places) = (&mut out[inside.clone()], &mut places[inside]);
                arch.dispatch(
                    #[inline(always)]
                    || match shape.stride {
                        1 => {
                            for ((out, place), x) in out.iter_mut().zip(places).zip(x) {
                                larger(*x, tap, out, place);
                            }
                        }
                        2 => {
                            let pairs = x.chunks(2);
                            for ((out, place), x) in out.iter_mut().zip(places).zip(pairs) {
                                larger(x[0], tap, out, place);
                            }
                        }
                        stride => {
                            for (i, (out, place)) in out.iter_mut().zip(places).enumerate() {
                                larger(x[i * stride], tap, out, place);
                            }
                        }
                    },
                );
            }
            // Nothing is larger than minus infinity: the first tap stands.
            for (column, place) in places.iter_mut().enumerate().filter(|(_, p)| **p == NONE) {
                let first = shape.taps(row).find(|(.., inside)| inside.contains(&column));
                *place = first.map_or(0, |(tap, ..)| tap);
            }
        }
    });
    (out, places)
}

#[expect(clippy::inline_always, reason = "it is compiled for the processor that it is called on")]
#[inline(always)]
fn larger(x: f32, tap: u8, out: &mut f32, place: &mut u8) {
    // `x != x` is NaN's way to say so.
    let wins = x > *out || x.is_nan();
    *out = if wins { x } else { *out };
    *place = if wins { tap } else { *place };
}

/// Gradients go to where the results came from.
fn backward(gradient: &[f32], places: &[u8], shape: Shape) -> Vec<f32> {
    let planes = gradient.len() / shape.out_plane();
    let mut out = vec![0.0; planes * shape.plane()];
    let given = gradient.par_chunks(shape.out_plane()).zip(places.par_chunks(shape.out_plane()));
    let all = out.par_chunks_mut(shape.plane()).zip(given).with_min_len(4);
    all.for_each(|(out, (gradient, places))| {
        let rows = gradient.chunks_exact(shape.out[1]).zip(places.chunks_exact(shape.out[1]));
        for (row, (gradient, places)) in rows.enumerate() {
            for (column, (gradient, place)) in gradient.iter().zip(places).enumerate() {
                let place = usize::from(*place);
                let (i, j) = (place / shape.window, place % shape.window);
                let y = row * shape.stride + i - shape.padding;
                let x = column * shape.stride + j - shape.padding;
                out[y * shape.width + x] += gradient;
            }
        }
    });
    out
}

#[derive(Debug)]
struct Step;

/// What the backward pass needs: where the results came from, and the shape `[n, c, h, w]` of the input.
#[derive(Clone, Debug)]
struct Saved {
    places: Arc<Vec<u8>>,
    dims: [usize; 4],
    shape: Shape,
}

impl Backward<Flex, 1> for Step {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let Saved { places, dims, shape } = ops.state;
        let [node] = ops.parents;
        if let Some(node) = node {
            let of = backward(numbers(&gradient), &places, shape);
            gradients.register::<Flex>(node.id, tensor(of, dims));
        }
    }
}

/// Maximum over square windows of `[n, c, h, w]`, on the CPU in 32 bits; none elsewhere. A window that leaves the
/// picture on the right or below isn't there, as PyTorch has it; with `ceil` it is.
pub(crate) fn max_pool2d(
    x: &Tensor<4>,
    window: usize,
    stride: usize,
    padding: usize,
    ceil: bool,
) -> Option<Tensor<4>> {
    type Own = Autodiff<Flex>;
    let [n, c, height, width] = x.dims();
    let size = |size: usize| {
        let all = (size + 2 * padding).checked_sub(window)?;
        let more = if ceil { all.div_ceil(stride) } else { all / stride };
        // The last window begins in the picture, or in the padding before it.
        Some(if more * stride >= size + padding { more } else { more + 1 })
    };
    let out = [size(height)?, size(width)?];
    // Every window has a number of the picture in it, and a byte has its taps.
    let fits = 2 * padding <= window && window <= 15 && n * c * height * width > 0;
    (x.dtype() == DType::F32 && fits).then_some(())?;
    let shape = Shape { height, width, window, stride, padding, out };
    let dims = [n, c, out[0], out[1]];
    if let Ok(x) = x.clone().try_into_primitive::<Flex>() {
        let (out, _) = forward(numbers(&x.to_contiguous()), shape);
        return Some(Tensor::from_primitive::<Flex>(tensor(out, dims)));
    }
    let (x, node) = x.clone().try_into_primitive::<Own>().ok()?.into_parts();
    let (out, places) = forward(numbers(&x.to_contiguous()), shape);
    let out = tensor(out, dims);
    let saved = Saved { places: Arc::new(places), dims: [n, c, height, width], shape };
    let out = recorded(Step, [node], saved, out);
    Some(Tensor::from_primitive::<Own>(out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::max_pool2d;
    use burn::tensor::module::max_pool2d as theirs;
    use burn::tensor::ops::MaxPoolOptions;
    use burn::tensor::{Device, Tensor, TensorData};

    #[test]
    fn values_and_gradients_are_those_of_burn() {
        let device = Device::flex().autodiff();
        for dims in [[2, 3, 8, 8], [1, 2, 7, 9], [3, 1, 5, 4], [1, 1, 2, 2], [2, 5, 32, 32]] {
            for (window, stride, padding, ceil) in [
                (2, 2, 0, false),
                (3, 2, 1, false),
                (3, 1, 1, false),
                (2, 1, 0, false),
                (3, 3, 0, false),
                (2, 2, 1, false),
                (3, 2, 0, true),
                (2, 2, 0, true),
            ] {
                let [_, _, h, w] = dims;
                if h + 2 * padding < window || w + 2 * padding < window {
                    continue;
                }
                // Every number several times: ties.
                let value = |i: usize| (i * 7919 % 11) as f32 - 5.0;
                let values: Vec<f32> = (0..dims.iter().product()).map(value).collect();
                let x = Tensor::<4>::from_data(TensorData::new(values, dims), &device);
                let x = x.require_grad();
                let ours = max_pool2d(&x, window, stride, padding, ceil).unwrap();
                let options = MaxPoolOptions::new([window, window]);
                let options = options.with_stride([stride, stride]).with_ceil_mode(ceil);
                let wanted = theirs(x.clone(), options.with_padding([padding, padding]));
                let what = format!("{dims:?}, {window}, {stride}, {padding}, {ceil}");
                assert_eq!(ours.to_data(), wanted.to_data(), "{what}");
                let push = |like: &Tensor<4>| {
                    let count = like.dims().iter().product();
                    let values: Vec<f32> = (0..count).map(|i: usize| i as f32 + 1.0).collect();
                    Tensor::from_data(TensorData::new(values, like.dims()), &device)
                };
                let of = |out: Tensor<4>| {
                    let push = push(&out);
                    x.grad(&(out * push).sum().backward()).unwrap().into_data()
                };
                assert_eq!(of(ours), of(wanted), "gradient of {what}");
                let plain = max_pool2d(&x.clone().inner(), window, stride, padding, ceil).unwrap();
                let again = max_pool2d(&x, window, stride, padding, ceil).unwrap();
                assert_eq!(plain.into_data(), again.into_data(), "{what}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays() {
        let device = Device::flex();
        let x = |values: [f32; 4]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 1, 2, 2]), &device)
        };
        let of = |values| max_pool2d(&x(values), 2, 2, 0, false).unwrap().into_scalar::<f32>();
        assert!(of([1.0, f32::NAN, 2.0, 3.0]).is_nan());
        assert!(of([1.0, 2.0, 3.0, f32::NAN]).is_nan());
        assert!(of([f32::NAN, 2.0, 3.0, 4.0]).is_nan());
        assert!(of([f32::NEG_INFINITY; 4]) < f32::MIN);
    }
}
