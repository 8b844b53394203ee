//! Passalis & Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", ECCV 2018,
//! equations 2 to 6, with the cosine kernel.

use retort_sdk::prelude::*;

hyper! {
    /// The target gives each sample the neighbours, as a probability, that the source gives it.
    ///
    /// L = 1/n² Σᵢⱼ pˢᵢⱼ log(pˢᵢⱼ / pᵗᵢⱼ), where
    /// pˣᵢⱼ = k(xᵢ, xⱼ) / Σₘ k(xᵢ, xₘ)  and  k(a, b) = ½ (cos(a, b) + 1).
    ///
    /// As in the authors' code: the sample itself is among its neighbours, the divergence is a mean
    /// over all pairs, and norms and probabilities have 1e-7 added. A zero row gets no gradient, where
    /// the authors' gets NaN.
    pub struct Pkt {}
}

const EPS: f64 = 1e-7;

impl Loss for Pkt {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (neighbours(step.target()), neighbours(step.source())); // [n, n]
        (s * ((s + EPS) / (t + EPS)).ln()).mean()
    }
}

/// Conditional probabilities of rows given rows: `[n, d]` gives `[n, n]`.
fn neighbours(x: Tensor) -> Tensor {
    let norm = x.norm(1);
    let unit = x * ((1.0 - norm.is_zero()) / (norm + EPS));
    let kernel = 0.5 * (unit.matmul(unit.t()) + 1.0);
    kernel / kernel.sum_dim(1)
}
