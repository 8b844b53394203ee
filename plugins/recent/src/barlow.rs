//! Zbontar, Jing, Misra, LeCun & Deny, "Barlow Twins: Self-Supervised Learning via Redundancy
//! Reduction", ICML 2021, equations 1 and 2, algorithm 1.

use retort_sdk::prelude::*;

hyper! {
    /// Each coordinate of the target is correlated with the source's, and with no other of the source.
    ///
    /// L = Σᵢ (1 - Cᵢᵢ)² + λ Σ_{i≠j} Cᵢⱼ²,  Cᵢⱼ the correlation over the batch of the target's coordinate i with the
    /// source's j.
    ///
    /// As in the authors' code 1e-5 is added to each variance.
    pub struct Barlow {
        /// λ, weight of the redundancy.
        lambda: f64 = 0.0051 => 0.0..,
    }
}

impl Loss for Barlow {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d]
        step.need_same_shape(t, s, "give both networks one width");
        let n = t.dim(0);
        if n < 2 {
            return step.undefined("one sample has no correlations");
        }
        let standardised = |x: Tensor| (x - x.mean_dim(0)) / (x.var(0, 0) + 1e-5).sqrt();
        let correlation = standardised(t).t().matmul(standardised(s)) / n; // [d, d]
        let own = (1.0 - correlation.diagonal()).square().sum();
        own + self.lambda * correlation.off_diagonal().square().sum()
    }
}
