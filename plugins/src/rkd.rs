//! Park, Kim, Lu & Cho, "Relational Knowledge Distillation", CVPR 2019, equations 4 to 9.

use retort_sdk::prelude::*;

hyper! {
    /// The target keeps the distances between pairs and the angles in triplets that the source has.
    ///
    /// L = λ_D · meanᵢⱼ h(ψ(tᵢ, tⱼ) - ψ(sᵢ, sⱼ)) + λ_A · meanᵢⱼₖ h(∠ tⱼtᵢtₖ - ∠ sⱼsᵢsₖ), where
    /// ψ(xᵢ, xⱼ) = ‖xᵢ - xⱼ‖ / mean of all distances above 0,  ∠ is the angle's cosine at i,
    /// and h is Huber's function.
    ///
    /// As in the authors' code the means run over all pairs and triplets, degenerate ones included.
    pub struct Rkd {
        /// λ_D, weight of the distances.
        weight_distance: f64 = 1.0 => 0.0..,
        /// λ_A, weight of the angles.
        weight_angle: f64 = 2.0 => 0.0..,
    }
}

impl Loss for Rkd {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        let distance = huber(relative_distance(t) - relative_distance(s)).mean();
        let angle = huber(angle(t) - angle(s)).mean();

        step.log("distance", distance);
        step.log("angle", angle);
        self.weight_distance * distance + self.weight_angle * angle
    }
}

/// Distances in units of their mean: `[n, d]` gives `[n, n]`.
fn relative_distance(x: Tensor) -> Tensor {
    let d = pairwise_distance(x);
    let pairs = d.greater(0.0 * d).sum().clamp_min(1.0);
    d / (d.sum() / pairs).clamp_min(1e-12)
}

/// Cosines of the angles at row `i` between rows `j` and `k`: `[n, d]` gives `[n, n, n]`.
fn angle(x: Tensor) -> Tensor {
    let (n, d) = (x.dim(0), x.dim(1));
    let u = (x.reshape([1, n, d]) - x.reshape([n, 1, d])).normalize(2); // [i, j, d]
    u.matmul(u.t())
}
