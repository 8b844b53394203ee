//! Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu & Krishnan, "Supervised Contrastive
//! Learning", NeurIPS 2020, equation 2.

use retort_sdk::prelude::*;

hyper! {
    /// Each sample finds those of its class among all others.
    ///
    /// L = mean over anchors i of -1/|P(i)| Σ_{p∈P(i)} log( e^{xᵢ·x_p/τ} / Σ_{a≠i} e^{xᵢ·x_a/τ} )
    /// of unit embeddings, where P(i) are the other samples of i's class.
    ///
    /// Anchors without a positive are left out of the mean.
    pub struct Supcon {
        /// τ.
        temperature: f64 = 0.1 => above(0.0),
    }
}

impl Loss for Supcon {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        let x = step.target().normalize(1); // [n, d]
        let (positive, negative) = step.pairs(); // [n, n]
        let cos = x.matmul(x.t()) / self.temperature;

        let all = log_sum_exp(cos, positive + negative, 1); // [n, 1]
        let count = positive.sum_dim(1);
        let own = (positive * cos).sum_dim(1) / count.clamp_min(1.0);
        mean_where(all - own, count.above(0.0))
    }
}
