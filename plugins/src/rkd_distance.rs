//! Park, Kim, Lu & Cho, "Relational Knowledge Distillation", CVPR 2019, equations 4 to 6.

use retort_sdk::prelude::*;

hyper! {
    /// The target keeps the relative distances between pairs that the source has.
    ///
    /// L = meanᵢⱼ h(ψ(tᵢ, tⱼ) - ψ(sᵢ, sⱼ)), where
    /// ψ(xᵢ, xⱼ) = ‖xᵢ - xⱼ‖ / mean of all distances above 0,  and h is Huber's function.
    ///
    /// As in the authors' code the outer mean runs over all pairs, the diagonal included.
    pub struct RkdDistance {}
}

impl Loss for RkdDistance {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        huber(relative_distance(t) - relative_distance(s)).mean()
    }
}

/// Distances in units of their mean: `[n, d]` gives `[n, n]`.
fn relative_distance(x: Tensor) -> Tensor {
    let d = pairwise_distance(x);
    d / mean_where(d, d.above(0.0)).clamp_min(1e-12)
}
