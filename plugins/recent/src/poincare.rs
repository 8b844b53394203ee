//! The Poincaré ball, as Ermolov et al., "Hyperbolic Vision Transformers", CVPR 2022, compute in it.

use retort_sdk::prelude::*;

/// Vectors `[n, d]` as points of the ball of curvature -c: clipped to the norm `clip`, then through the
/// exponential map at the origin, and kept off the border.
///
/// The gradient is scaled by ((1 - c‖x‖²)/2)², the inverse of the ball's metric, as in the authors' code.
pub(crate) fn to_ball(x: Tensor, c: f64, clip: f64) -> Tensor {
    let root = c.sqrt();
    let fitting = clip / (x.norm(1) + 1e-5);
    let u = x * fitting.clamp_max(1.0);

    let norm = u.norm(1).clamp_min(1e-5);
    let y = (root * norm).clamp_max(15.0).tanh() * u / (root * norm);

    let (norm, largest) = (y.norm(1).clamp_min(1e-5), (1.0 - 1e-3) / root);
    let y = (y / norm * largest).select(norm.above(largest), y);

    let scale = 0.25 * (1.0 - c * y.square().sum_dim(1)).square();
    (y * scale.detach()).straight_through(y)
}

/// Distances in the ball of curvature -c between the rows of `x` and those of `y`: `[n, d]` and `[m, d]` give
/// `[n, m]`, 2/√c artanh(√c ‖(-x) ⊕ y‖), where ⊕ is Möbius addition.
///
/// As in the authors' code 1e-5 is added to the addition's denominator, and the norm stays 1e-5 below 1,
/// where its gradient is that of the bound.
pub(crate) fn distance(x: Tensor, y: Tensor, c: f64) -> Tensor {
    let (n, m, d) = (x.dim(0), y.dim(0), x.dim(1));
    let xy = -x.matmul(y.t()); // of -x and y, [n, m]
    let (xx, yy) = (x.square().sum_dim(1), y.square().sum_dim(1).t()); // [n, 1], [1, m]

    // Vector by vector: from its products, the norm of close points would keep half of its digits.
    let along_x = -(1.0 + 2.0 * c * xy + c * yy).unsqueeze(2) * x.reshape([n, 1, d]);
    let along_y = (1.0 - c * xx).unsqueeze(2) * y.reshape([1, m, d]);
    let below = 1.0 + 2.0 * c * xy + c * c * xx * yy + 1e-5;
    let norm = c.sqrt() * ((along_x + along_y) / below.unsqueeze(2)).norm(2).squeeze(2);

    let bounded = norm.straight_through(norm.clamp_max(1.0 - 1e-5));
    ((1.0 + bounded) / (1.0 - bounded)).ln() / c.sqrt()
}
