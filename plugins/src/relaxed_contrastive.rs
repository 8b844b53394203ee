//! Kim, Kim, Cho & Kwak, "Embedding Transfer with Label Relaxation for Improved Metric Learning",
//! CVPR 2021, equation 4.

use retort_sdk::prelude::*;

hyper! {
    /// The contrastive loss, each pair's label relaxed to how alike the source finds it.
    ///
    /// L = 1/n Σᵢⱼ wᵢⱼ dᵢⱼ² + 1/n Σᵢⱼ (1 - wᵢⱼ) [δ - dᵢⱼ]₊²   over i ≠ j, where
    /// wᵢⱼ = exp(-‖sᵢ - sⱼ‖² / σ)  and  dᵢⱼ = ‖tᵢ - tⱼ‖ / meanₖ ‖tᵢ - tₖ‖.
    ///
    /// The source's embeddings are normalised here, the target's are taken as they are. As in the
    /// authors' code, the mean runs over the whole row, its zero diagonal included.
    pub struct RelaxedContrastive {
        /// σ, width of the source's kernel, in squared distance of unit vectors.
        sigma: f64 = 1.0 => above(0.0),
        /// δ, margin, in units of the anchor's mean distance to the batch.
        delta: f64 = 1.0 => 0.0..,
    }
}

impl Loss for RelaxedContrastive {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source().normalize(1)); // [n, d], [n, d']

        let d = pairwise_distance(t); // [n, n]
        let d = d / d.mean_dim(1).clamp_min(1e-12);
        let w = (-pairwise_distance(s).square() / self.sigma).exp();

        let pull = w * d.square();
        let push = (1.0 - w) * (self.delta - d).relu().square();
        (pull + push).off_diagonal().sum() / t.dim(0)
    }
}
