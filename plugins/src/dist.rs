//! Huang, You, Wang, Qian & Xu, "Knowledge Distillation from A Stronger Teacher", NeurIPS 2022,
//! equations 7 to 10, on similarities within the batch instead of a classifier's logits.

use retort_sdk::prelude::*;

hyper! {
    /// The target's similarities correlate with the source's, for each sample and across samples.
    ///
    /// L = τ² [ β meanᵢ (1 - ρ(Yᵗᵢ, Yˢᵢ)) + γ meanⱼ (1 - ρ(Yᵗ·ⱼ, Yˢ·ⱼ)) ], where
    /// Yˣᵢ = softmaxⱼ( cos(xᵢ, xⱼ) / τ ) over j ≠ i, and ρ is Pearson's correlation.
    ///
    /// The paper's Y are a classifier's probabilities, which embedding networks don't have. As in the
    /// authors' code, ρ has 1e-8 added to its denominator and the sum is multiplied by τ².
    /// Of fewer than three samples, each has one neighbour at most, and the loss isn't defined.
    pub struct Dist {
        /// β, weight of the correlation along a sample's row.
        beta: f64 = 1.0 => 0.0..,
        /// γ, weight of the correlation down a column.
        gamma: f64 = 1.0 => 0.0..,
        /// τ.
        temperature: f64 = 1.0 => above(0.0),
    }
}

impl Loss for Dist {
    fn loss(&self, step: &Step) -> Tensor {
        if step.target().dim(0) < 3 {
            return step.undefined("a batch of one or two has no similarities to correlate");
        }
        let neighbours = |x: Tensor| {
            let cos = cosine_similarity(x, x) / self.temperature;
            cos.select(1.0 - x.eye(x.dim(0)), x.scalar(-1e30)).log_softmax(1).exp().off_diagonal()
        };
        let (t, s) = (neighbours(step.target()), neighbours(step.source())); // [n, n]
        let inter = correlation(t, s, 1);
        let intra = correlation(t, s, 0);
        let tau = self.temperature * self.temperature;
        tau * (self.beta * (1.0 - inter.mean()) + self.gamma * (1.0 - intra.mean()))
    }
}

/// Pearson's correlation along a dimension, which stays with size 1.
fn correlation(a: Tensor, b: Tensor, dim: usize) -> Tensor {
    let (a, b) = (a - a.mean_dim(dim), b - b.mean_dim(dim));
    (a * b).sum_dim(dim) / (a.norm(dim) * b.norm(dim) + 1e-8)
}
