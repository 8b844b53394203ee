//! On a GPU: a cube for each channel that is reduced, or for 32 neighbours where channels come last (as convolutions
//! give them), so that threads read neighbours; a thread for each number that is written.

use super::{Norm, Normalised, unbiased};
use crate::kernel::parts::{tensor, threads};
use crate::kernel::record::recorded;
use burn::backend::Autodiff;
use burn::backend::Wgpu;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::Tensor;
use burn_wgpu::CubeTensor;
use cubecl::client::Client;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

/// Threads that reduce a channel.
const THREADS: u32 = 256;
/// Channels of a cube, where channels come last.
const LANES: usize = 32;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    /// `[n, c, h, w]`, in the order of its dimensions or with channels last.
    x: CubeTensor,
    /// Each channel's mean, then each one's inverse deviation: `[2 c]`.
    batch: CubeTensor,
    /// What each channel is multiplied with, then what is added to it: `[2 c]`.
    scales: CubeTensor,
    relu: bool,
}

/// See [`super::batch_norm`].
pub(super) fn batch_norm(x: &Tensor<4>, norm: &Norm) -> Option<Normalised> {
    type Own = Autodiff<Wgpu>;
    let x = x.clone().try_into_primitive::<Own>().ok()?;
    let gamma = norm.gamma.clone().try_into_primitive::<Own>().ok()?;
    let beta = norm.beta.clone().try_into_primitive::<Own>().ok()?;
    let kept = |kept: &Tensor<1>| {
        let tracked = kept.clone().try_into_primitive::<Own>().map(|t| t.into_parts().0);
        tracked.or_else(|_| kept.clone().try_into_primitive::<Wgpu>()).ok()
    };
    let kept = [kept(&norm.mean)?, kept(&norm.variance)?];

    let (x, node_x) = x.into_parts();
    let (gamma, node_gamma) = gamma.into_parts();
    let (beta, node_beta) = beta.into_parts();
    let x = dense(x);
    let (batch, new) = measure(&x, kept, norm);
    let (output, scales) = apply(&x, [gamma, beta], &batch, norm.relu);
    let nodes = [node_x, node_gamma, node_beta];
    let saved = Saved { x, batch, scales, relu: norm.relu };
    let output = recorded(Step, nodes, saved, output);
    let [mean, variance] = new.map(|t| Tensor::from_inner(Tensor::from_primitive::<Wgpu>(t)));
    Some(Normalised { output: Tensor::from_primitive::<Own>(output), mean, variance })
}

#[derive(Debug)]
struct Step;

impl Backward<Wgpu, 3> for Step {
    type State = Saved;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = ordered(gradients.consume::<Wgpu>(&ops.node), &ops.state.x);
        let [of_gamma, of_beta] = sums(&ops.state, &gradient);
        let [node_x, node_gamma, node_beta] = ops.parents;
        if let Some(node) = node_x {
            let of_x = moved(&ops.state, &gradient, [of_gamma.clone(), of_beta.clone()]);
            gradients.register::<Wgpu>(node.id, of_x);
        }
        if let Some(node) = node_gamma {
            gradients.register::<Wgpu>(node.id, of_gamma);
        }
        if let Some(node) = node_beta {
            gradients.register::<Wgpu>(node.id, of_beta);
        }
    }
}

/// The same numbers, in the order of their dimensions.
fn contiguous(x: CubeTensor) -> CubeTensor {
    if x.is_contiguous() {
        return x;
    }
    let (client, device, dtype) = (x.client.clone(), x.device.clone(), x.dtype);
    let numbers = ElemType::Float(FloatKind::F32);
    let copy = cubecl::std::tensor::into_contiguous(&client, x.binding(), numbers);
    CubeTensor::new(client, copy.handle, *copy.metadata, device, dtype)
}

/// Strides of `[n, c, h, w]` whose channels come last.
fn channels_last(x: &CubeTensor) -> [usize; 4] {
    let [_, c, h, w] = x.meta.shape().dims();
    [h * w * c, 1, w * c, c]
}

/// `[n, c, h, w]` without gaps, in the order of its dimensions or with channels last.
fn dense(x: CubeTensor) -> CubeTensor {
    if x.meta.strides()[..] == channels_last(&x) { x } else { contiguous(x) }
}

/// The same numbers in another's order.
fn ordered(x: CubeTensor, like: &CubeTensor) -> CubeTensor {
    if x.meta.strides() == like.meta.strides() {
        return x;
    }
    if like.is_contiguous() {
        return contiguous(x);
    }
    // Seen with channels last, then written down, then seen as before.
    let view = |mut x: CubeTensor, [i, j]: [[usize; 2]; 2]| {
        x.meta.swap(i[0], i[1]);
        x.meta.swap(j[0], j[1]);
        x
    };
    view(contiguous(view(x, [[1, 2], [2, 3]])), [[2, 3], [1, 2]])
}

/// A tensor of another length on the same device.
fn vector(like: &CubeTensor, length: usize) -> CubeTensor {
    tensor(like, like.client.empty(length * size_of::<f32>()), length)
}

/// A tensor of the same shape and order.
fn same(like: &CubeTensor) -> CubeTensor {
    let handle = like.client.empty(like.meta.num_elements() * size_of::<f32>());
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new(client, handle, (*like.meta).clone(), device, like.dtype)
}

/// Channels, how many neighbours are of one channel, and numbers of a channel.
fn sizes(x: &CubeTensor) -> (usize, usize, usize) {
    let [n, c, h, w] = x.meta.shape().dims();
    let run = if x.is_contiguous() { h * w } else { 1 };
    (c, run, n * h * w)
}

/// Cubes that reduce channels, each with so many threads (a power of two that the device has) for so many channels.
fn per_channel(client: &Client, channels: usize, run: usize) -> (CubeCount, CubeDim, u32, u32) {
    let most = client.properties().hardware.max_units_per_cube.min(THREADS);
    let threads: u32 = 1 << most.max(1).ilog2();
    let lanes = if run == 1 { LANES.min(channels.next_power_of_two()) } else { 1 };
    let lanes = (lanes as u32).min(threads);
    let cubes = channels.div_ceil(lanes as usize) as u32;
    (CubeCount::Static(cubes, 1, 1), CubeDim::new_1d(threads), threads, lanes)
}

/// Sum of what a channel's threads hold, for each of them: every `lanes`th is of the same channel.
#[cube]
fn reduced(value: f32, #[comptime] threads: u32, #[comptime] lanes: u32) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(threads as usize);
    let unit = UNIT_POS as usize;
    all[unit] = value;
    sync_cube();
    let mut left = CUBE_DIM as usize / 2;
    while left >= lanes as usize {
        if unit < left {
            let other = all[unit + left];
            all[unit] += other;
        }
        sync_cube();
        left /= 2;
    }
    let sum = all[unit % lanes as usize];
    sync_cube();
    sum
}

/// The place of number `i` of a channel, whose numbers come in runs.
#[cube]
fn place(i: usize, channel: usize, channels: usize, run: usize) -> usize {
    (i / run * channels + channel) * run + i % run
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel has no structs of buffers")]
fn statistics(
    x: &[f32],
    kept_mean: &[f32],
    kept_variance: &[f32],
    channels: usize,
    run: usize,
    count: usize,
    momentum: f32,
    unbiased: f32,
    epsilon: f32,
    batch: &mut [f32],
    new_mean: &mut [f32],
    new_variance: &mut [f32],
    #[comptime] threads: u32,
    #[comptime] lanes: u32,
) {
    let channel = CUBE_POS * lanes as usize + UNIT_POS as usize % lanes as usize;
    // Threads beyond the last channel only wait.
    let end = if channel < channels { count } else { 0usize.runtime() };
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize / lanes as usize;
    while i < end {
        sum += x[place(i, channel, channels, run)];
        i += CUBE_DIM as usize / lanes as usize;
    }
    let mean = reduced(sum, threads, lanes) / f32::cast_from(count);
    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize / lanes as usize;
    while i < end {
        let off = x[place(i, channel, channels, run)] - mean;
        squares += off * off;
        i += CUBE_DIM as usize / lanes as usize;
    }
    let variance = reduced(squares, threads, lanes) / f32::cast_from(count);
    if UNIT_POS < lanes && channel < channels {
        batch[channel] = mean;
        batch[channels + channel] = 1.0f32 / (variance + epsilon).sqrt();
        let rest = 1.0f32 - momentum;
        new_mean[channel] = kept_mean[channel] * rest + mean * momentum;
        new_variance[channel] = kept_variance[channel] * rest + variance * unbiased * momentum;
    }
}

/// Mean and inverse deviation of each channel, and the new running statistics.
fn measure(x: &CubeTensor, kept: [CubeTensor; 2], norm: &Norm) -> (CubeTensor, [CubeTensor; 2]) {
    let (channels, run, count) = sizes(x);
    let (cubes, dim, threads, lanes) = per_channel(&x.client, channels, run);
    let (batch, new) = (vector(x, 2 * channels), [(); 2].map(|()| vector(x, channels)));
    let [kept_mean, kept_variance] = kept.map(|t| contiguous(t).into_buffer_arg());
    let [new_mean, new_variance] = new.clone().map(CubeTensor::into_buffer_arg);
    statistics::launch(
        &x.client,
        cubes,
        dim,
        x.clone().into_buffer_arg(),
        kept_mean,
        kept_variance,
        channels,
        run,
        count,
        norm.momentum as f32,
        unbiased(count) as f32,
        norm.epsilon as f32,
        batch.clone().into_buffer_arg(),
        new_mean,
        new_variance,
        threads,
        lanes,
    );
    (batch, new)
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel has no structs of buffers")]
fn normalise(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    batch: &[f32],
    channels: usize,
    run: usize,
    out: &mut [f32],
    scales: &mut [f32],
    #[comptime] relu: bool,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let channel = at / run % channels;
        let scale = gamma[channel] * batch[channels + channel];
        let shift = beta[channel] - batch[channel] * scale;
        let y = x[at] * scale + shift;
        out[at] = y;
        // NaN stays.
        if comptime!(relu) && y < 0.0f32 {
            out[at] = 0.0f32;
        }
        // Each channel's first number in the first picture says what became of it.
        if at < channels * run && at == channel * run {
            scales[channel] = scale;
            scales[channels + channel] = shift;
        }
    }
}

/// The result, and what each channel was multiplied with.
fn apply(
    x: &CubeTensor,
    of_channels: [CubeTensor; 2],
    batch: &CubeTensor,
    relu: bool,
) -> (CubeTensor, CubeTensor) {
    let (channels, run, _) = sizes(x);
    let (out, scales) = (same(x), vector(x, 2 * channels));
    let (cubes, dim) = threads(&x.client, out.meta.num_elements());
    let [gamma, beta] = of_channels.map(|t| contiguous(t).into_buffer_arg());
    normalise::launch(
        &x.client,
        cubes,
        dim,
        x.clone().into_buffer_arg(),
        gamma,
        beta,
        batch.clone().into_buffer_arg(),
        channels,
        run,
        out.clone().into_buffer_arg(),
        scales.clone().into_buffer_arg(),
        relu,
    );
    (out, scales)
}

/// The gradient at a number, behind the ReLU.
#[cube]
fn passed(x: f32, gradient: f32, scale: f32, shift: f32, #[comptime] relu: bool) -> f32 {
    let mut g = gradient;
    if comptime!(relu) && x * scale + shift <= 0.0f32 {
        g = 0.0f32;
    }
    g
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel has no structs of buffers")]
fn parameters(
    x: &[f32],
    gradient: &[f32],
    batch: &[f32],
    scales: &[f32],
    channels: usize,
    run: usize,
    count: usize,
    of_gamma: &mut [f32],
    of_beta: &mut [f32],
    #[comptime] relu: bool,
    #[comptime] threads: u32,
    #[comptime] lanes: u32,
) {
    let channel = CUBE_POS * lanes as usize + UNIT_POS as usize % lanes as usize;
    let end = if channel < channels { count } else { 0usize.runtime() };
    let mut plain = 0.0f32;
    let mut weighted = 0.0f32;
    let mut i = UNIT_POS as usize / lanes as usize;
    while i < end {
        let mean = batch[channel];
        let inverse = batch[channels + channel];
        let scale = scales[channel];
        let shift = scales[channels + channel];
        let at = place(i, channel, channels, run);
        let g = passed(x[at], gradient[at], scale, shift, relu);
        plain += g;
        weighted += g * (x[at] - mean) * inverse;
        i += CUBE_DIM as usize / lanes as usize;
    }
    let plain = reduced(plain, threads, lanes);
    let weighted = reduced(weighted, threads, lanes);
    if UNIT_POS < lanes && channel < channels {
        of_beta[channel] = plain;
        of_gamma[channel] = weighted;
    }
}

/// Gradients of scale and shift.
fn sums(saved: &Saved, gradient: &CubeTensor) -> [CubeTensor; 2] {
    let x = &saved.x;
    let (channels, run, count) = sizes(x);
    let (cubes, dim, threads, lanes) = per_channel(&x.client, channels, run);
    let out = [(); 2].map(|()| vector(x, channels));
    let [of_gamma, of_beta] = out.clone().map(CubeTensor::into_buffer_arg);
    parameters::launch(
        &x.client,
        cubes,
        dim,
        x.clone().into_buffer_arg(),
        gradient.clone().into_buffer_arg(),
        saved.batch.clone().into_buffer_arg(),
        saved.scales.clone().into_buffer_arg(),
        channels,
        run,
        count,
        of_gamma,
        of_beta,
        saved.relu,
        threads,
        lanes,
    );
    out
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel has no structs of buffers")]
fn backward(
    x: &[f32],
    gradient: &[f32],
    batch: &[f32],
    scales: &[f32],
    of_gamma: &[f32],
    of_beta: &[f32],
    channels: usize,
    run: usize,
    count: f32,
    out: &mut [f32],
    #[comptime] relu: bool,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let channel = at / run % channels;
        let scale = scales[channel];
        let g = passed(x[at], gradient[at], scale, scales[channels + channel], relu);
        let normal = (x[at] - batch[channel]) * batch[channels + channel];
        out[at] = (g - of_beta[channel] / count - normal * of_gamma[channel] / count) * scale;
    }
}

/// The gradient of the input.
fn moved(saved: &Saved, gradient: &CubeTensor, of_parameters: [CubeTensor; 2]) -> CubeTensor {
    let x = &saved.x;
    let (channels, run, count) = sizes(x);
    let out = same(x);
    let (cubes, dim) = threads(&x.client, out.meta.num_elements());
    let [of_gamma, of_beta] = of_parameters.map(CubeTensor::into_buffer_arg);
    backward::launch(
        &x.client,
        cubes,
        dim,
        x.clone().into_buffer_arg(),
        gradient.clone().into_buffer_arg(),
        saved.batch.clone().into_buffer_arg(),
        saved.scales.clone().into_buffer_arg(),
        of_gamma,
        of_beta,
        channels,
        run,
        count as f32,
        out.clone().into_buffer_arg(),
        saved.relu,
    );
    out
}
