//! On a GPU: a cube for each channel that is reduced, a thread for each number that is written.

use super::{Norm, Normalised, unbiased};
use burn::backend::Autodiff;
use burn::backend::Wgpu;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::Tensor;
use burn_wgpu::CubeTensor;
use cubecl::calculate_cube_count_elemwise;
use cubecl::client::Client;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;

/// Threads that reduce a channel.
const THREADS: u32 = 256;

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct Saved {
    /// `[n, c, h, w]`, contiguous.
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
        let tracked = kept.clone().try_into_primitive::<Own>().map(|t| t.into_primitive());
        tracked.or_else(|_| kept.clone().try_into_primitive::<Wgpu>()).ok()
    };
    let kept = [kept(&norm.mean)?, kept(&norm.variance)?];

    let (x, node_x) = x.into_parts();
    let (gamma, node_gamma) = gamma.into_parts();
    let (beta, node_beta) = beta.into_parts();
    let x = contiguous(x);
    let (batch, new) = measure(&x, kept, norm);
    let (output, scales) = apply(&x, [gamma, beta], &batch, norm.relu);
    let nodes = [node_x, node_gamma, node_beta];
    let output = match Step.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(ready) => {
            ready.finish(Saved { x, batch, scales, relu: norm.relu }, output)
        }
        OpsKind::UnTracked(ready) => ready.finish(output),
    };
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
        let gradient = contiguous(gradients.consume::<Wgpu>(&ops.node));
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

/// A tensor of another length on the same device.
fn vector(like: &CubeTensor, length: usize) -> CubeTensor {
    let handle = like.client.empty(length * size_of::<f32>());
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, [length].into(), handle, like.dtype)
}

fn same(like: &CubeTensor) -> CubeTensor {
    let shape = like.meta.shape().clone();
    let handle = like.client.empty(shape.num_elements() * size_of::<f32>());
    let (client, device) = (like.client.clone(), like.device.clone());
    CubeTensor::new_contiguous(client, device, shape, handle, like.dtype)
}

/// Channels, pixels of a plane, and numbers of a channel.
fn sizes(x: &CubeTensor) -> (usize, usize, usize) {
    let shape = x.meta.shape();
    let plane = shape[2] * shape[3];
    (shape[1], plane, shape[0] * plane)
}

/// A cube for each channel. Its number of threads is a power of two that the device has.
fn per_channel(client: &Client, channels: usize) -> (CubeCount, CubeDim, u32) {
    let most = client.properties().hardware.max_units_per_cube.min(THREADS);
    let threads = 1 << most.max(1).ilog2();
    (CubeCount::Static(channels as u32, 1, 1), CubeDim::new_1d(threads), threads)
}

fn per_number(client: &Client, numbers: usize) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new(client, numbers);
    (calculate_cube_count_elemwise(client, numbers, dim), dim)
}

/// Sum of what each thread of a cube holds, for each of them.
#[cube]
fn reduced(value: f32, #[comptime] threads: u32) -> f32 {
    let mut all = Shared::<[f32]>::new_slice(threads as usize);
    let unit = UNIT_POS as usize;
    all[unit] = value;
    sync_cube();
    let mut left = CUBE_DIM as usize / 2;
    while left > 0 {
        if unit < left {
            let other = all[unit + left];
            all[unit] += other;
        }
        sync_cube();
        left /= 2;
    }
    let sum = all[0];
    sync_cube();
    sum
}

/// The place of number `i` of a channel.
#[cube]
fn place(i: usize, channel: usize, channels: usize, plane: usize) -> usize {
    (i / plane * channels + channel) * plane + i % plane
}

#[cube(launch)]
#[expect(clippy::too_many_arguments, reason = "a kernel has no structs of buffers")]
fn statistics(
    x: &[f32],
    kept_mean: &[f32],
    kept_variance: &[f32],
    channels: usize,
    plane: usize,
    count: usize,
    momentum: f32,
    unbiased: f32,
    epsilon: f32,
    batch: &mut [f32],
    new_mean: &mut [f32],
    new_variance: &mut [f32],
    #[comptime] threads: u32,
) {
    let channel = CUBE_POS as usize;
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < count {
        sum += x[place(i, channel, channels, plane)];
        i += CUBE_DIM as usize;
    }
    let mean = reduced(sum, threads) / f32::cast_from(count);
    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < count {
        let off = x[place(i, channel, channels, plane)] - mean;
        squares += off * off;
        i += CUBE_DIM as usize;
    }
    let variance = reduced(squares, threads) / f32::cast_from(count);
    if UNIT_POS == 0 {
        batch[channel] = mean;
        batch[channels + channel] = 1.0f32 / (variance + epsilon).sqrt();
        let rest = 1.0f32 - momentum;
        new_mean[channel] = kept_mean[channel] * rest + mean * momentum;
        new_variance[channel] = kept_variance[channel] * rest + variance * unbiased * momentum;
    }
}

/// Mean and inverse deviation of each channel, and the new running statistics.
fn measure(x: &CubeTensor, kept: [CubeTensor; 2], norm: &Norm) -> (CubeTensor, [CubeTensor; 2]) {
    let (channels, plane, count) = sizes(x);
    let (cubes, dim, threads) = per_channel(&x.client, channels);
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
        plane,
        count,
        norm.momentum as f32,
        unbiased(count) as f32,
        norm.epsilon as f32,
        batch.clone().into_buffer_arg(),
        new_mean,
        new_variance,
        threads,
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
    plane: usize,
    out: &mut [f32],
    scales: &mut [f32],
    #[comptime] relu: bool,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let channel = at / plane % channels;
        let scale = gamma[channel] * batch[channels + channel];
        let shift = beta[channel] - batch[channel] * scale;
        let y = x[at] * scale + shift;
        out[at] = y;
        if comptime!(relu) {
            // NaN stays.
            if y < 0.0f32 {
                out[at] = 0.0f32;
            }
        }
        // Each channel's first number in the first picture says what became of it.
        if at < channels * plane && at % plane == 0 {
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
    let (channels, plane, _) = sizes(x);
    let (out, scales) = (same(x), vector(x, 2 * channels));
    let (cubes, dim) = per_number(&x.client, out.meta.num_elements());
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
        plane,
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
    if comptime!(relu) {
        if x * scale + shift <= 0.0f32 {
            g = 0.0f32;
        }
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
    plane: usize,
    count: usize,
    of_gamma: &mut [f32],
    of_beta: &mut [f32],
    #[comptime] relu: bool,
    #[comptime] threads: u32,
) {
    let channel = CUBE_POS as usize;
    let mean = batch[channel];
    let inverse = batch[channels + channel];
    let scale = scales[channel];
    let shift = scales[channels + channel];
    let mut plain = 0.0f32;
    let mut weighted = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < count {
        let at = place(i, channel, channels, plane);
        let g = passed(x[at], gradient[at], scale, shift, relu);
        plain += g;
        weighted += g * (x[at] - mean) * inverse;
        i += CUBE_DIM as usize;
    }
    let plain = reduced(plain, threads);
    let weighted = reduced(weighted, threads);
    if UNIT_POS == 0 {
        of_beta[channel] = plain;
        of_gamma[channel] = weighted;
    }
}

/// Gradients of scale and shift.
fn sums(saved: &Saved, gradient: &CubeTensor) -> [CubeTensor; 2] {
    let x = &saved.x;
    let (channels, plane, count) = sizes(x);
    let (cubes, dim, threads) = per_channel(&x.client, channels);
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
        plane,
        count,
        of_gamma,
        of_beta,
        saved.relu,
        threads,
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
    plane: usize,
    count: f32,
    out: &mut [f32],
    #[comptime] relu: bool,
) {
    let at = ABSOLUTE_POS;
    if at < out.len() {
        let channel = at / plane % channels;
        let scale = scales[channel];
        let g = passed(x[at], gradient[at], scale, scales[channels + channel], relu);
        let normal = (x[at] - batch[channel]) * batch[channels + channel];
        out[at] = (g - of_beta[channel] / count - normal * of_gamma[channel] / count) * scale;
    }
}

/// The gradient of the input.
fn moved(saved: &Saved, gradient: &CubeTensor, of_parameters: [CubeTensor; 2]) -> CubeTensor {
    let x = &saved.x;
    let (channels, plane, count) = sizes(x);
    let out = same(x);
    let (cubes, dim) = per_number(&x.client, out.meta.num_elements());
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
        plane,
        count as f32,
        out.clone().into_buffer_arg(),
        saved.relu,
    );
    out
}
