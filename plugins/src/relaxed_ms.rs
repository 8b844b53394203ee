//! Kim, Kim, Cho & Kwak, "Embedding Transfer with Label Relaxation for Improved Metric Learning",
//! CVPR 2021, equation 7.

use retort_sdk::prelude::*;

hyper! {
    /// The multi-similarity loss, each pair's label relaxed to how alike the source finds it.
    ///
    /// L = 1/n Σᵢ [ 1/α log(1 + Σⱼ wᵢⱼ e^{α dᵢⱼ}) + 1/β log(1 + Σⱼ (1 - wᵢⱼ) e^{β(δ - dᵢⱼ)}) ]   over j ≠ i,
    /// with wᵢⱼ and dᵢⱼ as in `relaxed_contrastive`; views of one sample have wᵢⱼ = 1.
    ///
    /// As in the authors' code, the mean distance runs over the whole row, its zero diagonal included.
    /// Their code takes the exponentials bare, which overflows where one embedding is far from all
    /// others, and finds the other view by assuming that there are two: here the number of views counts.
    pub struct RelaxedMs {
        /// σ, width of the source's kernel, in squared distance of unit vectors.
        sigma: f64 = 1.0 => above(0.0),
        /// δ, margin, in units of the anchor's mean distance to the batch.
        delta: f64 = 1.0 => 0.0..,
        /// α, sharpness of the pull.
        scale_pos: f64 = 1.0 => above(0.0),
        /// β, sharpness of the push.
        scale_neg: f64 = 2.0 => above(0.0),
    }
}

impl Loss for RelaxedMs {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source().normalize(1)); // [n, d], [n, d']
        let (a, b) = (self.scale_pos, self.scale_neg);

        let d = pairwise_distance(t); // [n, n]
        let d = d / d.mean_dim(1).clamp_min(1e-12);
        let w = (-pairwise_distance(s).square() / self.sigma).exp();
        let w = w.max(step.shown_samples(t.dim(0)).same());

        let (w, v) = (w.off_diagonal(), (1.0 - w).off_diagonal());
        let pull = ln_1p_sum_exp(w.ln() + a * d, w, 1) / a; // [n, 1]
        let push = ln_1p_sum_exp(v.ln() + b * (self.delta - d), v, 1) / b;
        (pull + push).mean()
    }
}
