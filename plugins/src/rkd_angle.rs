//! Park, Kim, Lu & Cho, "Relational Knowledge Distillation", CVPR 2019, equations 7 to 9.

use retort_sdk::prelude::*;

hyper! {
    /// The target keeps the angles in triplets that the source has.
    ///
    /// L = meanᵢⱼₖ h(∠ tⱼtᵢtₖ - ∠ sⱼsᵢsₖ), where
    /// ∠ xⱼxᵢxₖ is the cosine of the angle at xᵢ, 0 where two of the points coincide,
    /// and h is Huber's function.
    ///
    /// As in the authors' code the mean runs over all triplets, degenerate ones included, and no
    /// difference is divided by less than 1e-12.
    pub struct RkdAngle {}
}

impl Loss for RkdAngle {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        huber(angle(t) - angle(s)).mean()
    }
}

/// Cosines of the angles at row `i` between rows `j` and `k`: `[n, d]` gives `[n, n, n]`.
fn angle(x: Tensor) -> Tensor {
    let (n, d) = (x.dim(0), x.dim(1));
    let u = x.reshape([1, n, d]) - x.reshape([n, 1, d]); // [i, j, d]
    let dot = u.matmul(u.t()); // uⱼ·uₖ at i
    let squared = (dot * x.eye(n).reshape([1, n, n])).sum_dim(2); // [i, j, 1]
    let zero = squared.is_zero(); // a point that coincides with xᵢ has no direction, nor gradient
    // One length after the other: the square of their product is below what 32 bits hold.
    let inverse = (1.0 - zero) / (squared + zero).sqrt().clamp_min(1e-12);
    dot * inverse * inverse.t()
}
