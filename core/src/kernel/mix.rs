//! A moving average of many tensors by a few launches.

use super::parts::{Layout, primitive, threads};
use burn::tensor::Tensor;
use burn_wgpu::CubeTensor;
use cubecl::prelude::*;

#[cube(launch)]
fn mixed(kept: &[f32], now: &[f32], share: f32, rest: f32, out: &mut [f32]) {
    if ABSOLUTE_POS < out.len() {
        out[ABSOLUTE_POS] = kept[ABSOLUTE_POS] * share + now[ABSOLUTE_POS] * rest;
    }
}

/// `kept * share + now * (1 - share)` of each pair of tensors `[len]`, if all lie on a GPU, in 32 bits.
pub(crate) fn mix(pairs: &[[Tensor<1>; 2]], share: f64) -> Option<Vec<Tensor<1>>> {
    let of = |i: usize| {
        let parts = pairs.iter().map(|pair| primitive(&pair[i]));
        parts.collect::<Option<Vec<CubeTensor>>>()
    };
    let (kept, now) = (of(0)?, of(1)?);
    let client = &kept.first()?.client;
    let layout = Layout::new(&kept, client);
    let out = layout.buffer(&kept[0]);
    let (count, dim) = threads(client, out.meta.num_elements());
    mixed::launch(
        client,
        count,
        dim,
        layout.joined(&kept).into_buffer_arg(),
        layout.joined(&now).into_buffer_arg(),
        share as f32,
        (1.0 - share) as f32,
        out.clone().into_buffer_arg(),
    );
    Some(layout.views(&out))
}
