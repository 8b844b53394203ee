//! Distances and sums that several losses share; finite, with finite gradients, everywhere.

use crate::tensor::Tensor;

/// Euclidean distances between the rows of `x`: `[n, d]` gives `[n, n]`.
///
/// `dᵢⱼ = √max(‖xᵢ‖² + ‖xⱼ‖² - 2 xᵢ·xⱼ, 1e-12)`, as the field's reference code has it: rows that
/// coincide are 1e-6 apart and get no gradient. The diagonal is 0 without gradient. The rows are
/// centred first, which changes no distance and keeps the digits of those far from the origin.
#[track_caller]
pub fn pairwise_distance(x: Tensor) -> Tensor {
    let x = x - x.mean_dim(0).detach();
    let norm = x.square().sum_dim(1); // [n, 1]
    let squared = norm + norm.t() - 2.0 * x.matmul(x.t());
    squared.clamp_min(1e-12).sqrt().off_diagonal()
}

/// The Huber function with threshold 1: `x²/2` where `|x| < 1`, else `|x| - 1/2`.
#[track_caller]
pub fn huber(x: Tensor) -> Tensor {
    let small = x.abs().clamp_max(1.0);
    small * (x.abs() - 0.5 * small)
}

/// `ln(1 + Σ mask · eˣ)` along `dim`, which stays with size 1; never overflows.
#[track_caller]
pub fn ln_1p_sum_exp(x: Tensor, mask: Tensor, dim: usize) -> Tensor {
    let x = x.select(mask, 0.0 * mask - 1e30);
    let top = x.detach().max_dim(dim).relu(); // the 1 is e⁰
    let rest = (x - top).exp().sum_dim(dim) + ((-top).exp() - 1.0);
    top + rest.ln_1p()
}
