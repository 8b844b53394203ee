//! On the CPU: channels are reduced side by side, each in one order; then pictures are written side by side.

use super::{Norm, Normalised, unbiased};
use crate::kernel::flex::{numbers, tensor};
use crate::kernel::record::recorded;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex, TensorMetadata};
use burn::tensor::Tensor;
use pulp::Arch;
use rayon::prelude::*;

/// Numbers that are added side by side.
const LANES: usize = 32;

/// `[n, c, h * w]`
#[derive(Clone, Copy, Debug)]
struct Sizes {
    channels: usize,
    plane: usize,
    pictures: usize,
}

impl Sizes {
    fn of(x: &FlexTensor) -> Self {
        let [n, c, h, w] = x.shape().dims();
        Sizes { channels: c, plane: h * w, pictures: n }
    }

    fn count(self) -> f64 {
        (self.pictures * self.plane) as f64
    }

    /// A channel of a picture.
    fn plane(self, x: &[f32], picture: usize, channel: usize) -> &[f32] {
        &x[(picture * self.channels + channel) * self.plane..][..self.plane]
    }
}

/// A channel of a batch.
#[derive(Clone, Copy, Debug, Default)]
struct Channel {
    mean: f64,
    /// Inverse of the deviation.
    inverse: f64,
    variance: f64,
    /// `y = scale * x + shift`
    scale: f32,
    shift: f32,
}

/// Sums of two functions of each number, in a fixed order.
#[expect(clippy::inline_always, reason = "it is compiled for the processor that it is called on")]
#[inline(always)]
fn two_sums(length: usize, each: impl Fn(usize) -> (f32, f32)) -> [f64; 2] {
    let (mut one, mut other) = ([0.0f32; LANES], [0.0f32; LANES]);
    let whole = length / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let (a, b) = each(at + lane);
            one[lane] += a;
            other[lane] += b;
        }
    }
    for at in whole..length {
        let (a, b) = each(at);
        one[at - whole] += a;
        other[at - whole] += b;
    }
    [one, other].map(|lanes| lanes.iter().map(|&x| f64::from(x)).sum())
}

/// Each channel's statistics and what it is multiplied with.
fn measure(x: &[f32], sizes: Sizes, gamma: &[f32], beta: &[f32], epsilon: f64) -> Vec<Channel> {
    let arch = Arch::new();
    let of = |channel: usize| {
        // Sums about a number of the channel, or squares would lose the digits of a mean far from 0.
        let pivot = sizes.plane(x, 0, channel)[0];
        let mut sums = [0.0; 2];
        for picture in 0..sizes.pictures {
            let plane = sizes.plane(x, picture, channel);
            let [a, b] = arch.dispatch(
                #[inline(always)]
                || {
                    two_sums(
                        plane.len(),
                        #[inline(always)]
                        |i| {
                            let off = plane[i] - pivot;
                            (off, off * off)
                        },
                    )
                },
            );
            sums = [sums[0] + a, sums[1] + b];
        }
        let off = sums[0] / sizes.count();
        let variance = (sums[1] / sizes.count() - off * off).max(0.0);
        let inverse = 1.0 / (variance + epsilon).sqrt();
        let mean = f64::from(pivot) + off;
        let scale = f64::from(gamma[channel]) * inverse;
        let shift = f64::from(beta[channel]) - mean * scale;
        Channel { mean, inverse, variance, scale: scale as f32, shift: shift as f32 }
    };
    (0..sizes.channels).into_par_iter().map(of).collect()
}

fn apply(x: &[f32], sizes: Sizes, channels: &[Channel], relu: bool) -> Vec<f32> {
    let arch = Arch::new();
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let mut out = vec![0.0; x.len()];
    let planes = out.par_chunks_mut(sizes.plane).zip(x.par_chunks(sizes.plane));
    planes.with_min_len(4).enumerate().for_each(|(i, (out, x))| {
        let Channel { scale, shift, .. } = channels[i % sizes.channels];
        arch.dispatch(
            #[inline(always)]
            || {
                for (out, x) in out.iter_mut().zip(x) {
                    let y = x * scale + shift;
                    // NaN stays.
                    *out = if y < floor { floor } else { y };
                }
            },
        );
    });
    out
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    x: FlexTensor,
    channels: Vec<Channel>,
    relu: bool,
}

#[derive(Debug)]
struct Step;

impl Backward<Flex, 3> for Step {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node).to_contiguous();
        let Saved { x, channels, relu } = ops.state;
        let sizes = Sizes::of(&x);
        let sums = sums(numbers(&x), numbers(&gradient), sizes, &channels, relu);
        let [node_x, node_gamma, node_beta] = ops.parents;
        if let Some(node) = node_x {
            let moved = moved(numbers(&x), numbers(&gradient), sizes, &channels, &sums, relu);
            gradients.register::<Flex>(node.id, tensor(moved, x.shape().dims::<4>()));
        }
        for (node, i) in [(node_gamma, 0), (node_beta, 1)] {
            let Some(node) = node else { continue };
            let of = sums.iter().map(|sums| sums[i] as f32).collect();
            gradients.register::<Flex>(node.id, tensor(of, [sizes.channels]));
        }
    }
}

/// Of each channel, the gradient of its scale and of its shift.
fn sums(
    x: &[f32],
    gradient: &[f32],
    sizes: Sizes,
    channels: &[Channel],
    relu: bool,
) -> Vec<[f64; 2]> {
    let arch = Arch::new();
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let of = |channel: usize| {
        let Channel { mean, inverse, scale, shift, .. } = channels[channel];
        let pivot = mean as f32;
        let mut sums = [0.0; 2];
        for picture in 0..sizes.pictures {
            let x = sizes.plane(x, picture, channel);
            let gradient = sizes.plane(gradient, picture, channel);
            let [a, b] = arch.dispatch(
                #[inline(always)]
                || {
                    two_sums(
                        x.len().min(gradient.len()),
                        #[inline(always)]
                        |i| {
                            let y = x[i] * scale + shift;
                            let g = if y <= floor { 0.0 } else { gradient[i] };
                            (g, g * (x[i] - pivot))
                        },
                    )
                },
            );
            sums = [sums[0] + a, sums[1] + b];
        }
        let weighted = sums[1] + (f64::from(pivot) - mean) * sums[0];
        [weighted * inverse, sums[0]]
    };
    (0..sizes.channels).into_par_iter().map(of).collect()
}

/// The gradient of the input: `γ/σ (g - mean(g) - x̂ mean(g x̂))`, linear in `g` and `x`.
fn moved(
    x: &[f32],
    gradient: &[f32],
    sizes: Sizes,
    channels: &[Channel],
    sums: &[[f64; 2]],
    relu: bool,
) -> Vec<f32> {
    let arch = Arch::new();
    let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
    let mut out = vec![0.0; x.len()];
    let planes = x.par_chunks(sizes.plane).zip(gradient.par_chunks(sizes.plane));
    let planes = out.par_chunks_mut(sizes.plane).zip(planes);
    planes.with_min_len(4).enumerate().for_each(|(i, (out, (x, gradient)))| {
        let channel = i % sizes.channels;
        let Channel { mean, inverse, scale, shift, .. } = channels[channel];
        let [of_gamma, of_beta] = sums[channel];
        let pivot = mean as f32;
        let of_x = (-f64::from(scale) * of_gamma / sizes.count() * inverse) as f32;
        let rest = (-f64::from(scale) * of_beta / sizes.count()) as f32;
        arch.dispatch(
            #[inline(always)]
            || {
                for ((out, x), gradient) in out.iter_mut().zip(x).zip(gradient) {
                    let y = x * scale + shift;
                    let g = if y <= floor { 0.0 } else { *gradient };
                    *out = g * scale + ((x - pivot) * of_x + rest);
                }
            },
        );
    });
    out
}

/// See [`super::normalise`].
pub(super) fn normalise(x: &Tensor<4>, norm: &Norm) -> Option<Tensor<4>> {
    let x = x.clone().try_into_primitive::<Flex>().ok()?.to_contiguous();
    let of = |t: &Tensor<1>| t.to_data().iter::<f64>().collect::<Vec<f64>>();
    let (mean, variance) = (of(&norm.mean), of(&norm.variance));
    let scales = of(&norm.gamma).into_iter().zip(of(&norm.beta));
    let channels = scales.zip(mean.into_iter().zip(variance));
    let channels = channels.map(|((gamma, beta), (mean, variance))| {
        let inverse = 1.0 / (variance + norm.epsilon).sqrt();
        let (scale, shift) = (gamma * inverse, beta - mean * gamma * inverse);
        Channel { mean, inverse, variance, scale: scale as f32, shift: shift as f32 }
    });
    let out = apply(numbers(&x), Sizes::of(&x), &channels.collect::<Vec<_>>(), norm.relu);
    Some(Tensor::from_primitive::<Flex>(tensor(out, x.shape().dims::<4>())))
}

/// See [`super::batch_norm`].
pub(super) fn batch_norm(x: &Tensor<4>, norm: &Norm) -> Option<Normalised> {
    type Own = Autodiff<Flex>;
    let (x, node_x) = x.clone().try_into_primitive::<Own>().ok()?.into_parts();
    let (gamma, node_gamma) = norm.gamma.clone().try_into_primitive::<Own>().ok()?.into_parts();
    let (beta, node_beta) = norm.beta.clone().try_into_primitive::<Own>().ok()?.into_parts();
    let kept = |kept: &Tensor<1>| kept.to_data().iter::<f64>().collect::<Vec<f64>>();
    let kept = [kept(&norm.mean), kept(&norm.variance)];
    let x = x.to_contiguous();
    let (gamma, beta) = (gamma.to_contiguous(), beta.to_contiguous());
    let sizes = Sizes::of(&x);
    let channels = measure(numbers(&x), sizes, numbers(&gamma), numbers(&beta), norm.epsilon);
    let out = apply(numbers(&x), sizes, &channels, norm.relu);
    let out = tensor(out, x.shape().dims::<4>());

    let unbiased = unbiased(sizes.pictures * sizes.plane);
    let mixed = |i: usize, of: &dyn Fn(&Channel) -> f64| {
        let mixed = kept[i].iter().zip(&channels);
        let mixed = mixed.map(|(kept, now)| kept * (1.0 - norm.momentum) + of(now) * norm.momentum);
        let mixed = tensor(mixed.map(|x| x as f32).collect(), [sizes.channels]);
        Tensor::from_inner(Tensor::from_primitive::<Flex>(mixed))
    };
    let mean = mixed(0, &|channel| channel.mean);
    let variance = mixed(1, &|channel| channel.variance * unbiased);

    let nodes = [node_x, node_gamma, node_beta];
    let saved = Saved { x, channels, relu: norm.relu };
    let output = recorded(Step, nodes, saved, out);
    Some(Normalised { output: Tensor::from_primitive::<Own>(output), mean, variance })
}
