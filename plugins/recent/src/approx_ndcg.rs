//! Qin, Liu & Li, "A General Approximation Framework for Direct Optimization of Information Retrieval
//! Measures", Information Retrieval 2010, equations 19 to 21.

use retort_sdk::prelude::*;

hyper! {
    /// The target ranks the others as the source finds them relevant, by a smooth NDCG.
    ///
    /// L = -1/n Σᵢ Σⱼ (2^{rᵢⱼ} - 1) / log₂(1 + πᵢⱼ) / Zᵢ,  πᵢⱼ = 1 + Σ_{k≠j} σ((cos(tᵢ, tₖ) - cos(tᵢ, tⱼ)) / τ),
    /// rᵢⱼ = γ (1 + cos(sᵢ, sⱼ)) / 2,  over j, k ≠ i, where Zᵢ is the sum in the best order.
    pub struct ApproxNdcg {
        /// τ, temperature of the ranks.
        tau: f64 = 0.05 => above(0.0),
        /// γ, relevance of what has cosine 1.
        gamma: f64 = 4.0 => above(0.0),
    }
}

impl Loss for ApproxNdcg {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        let n = t.dim(0);
        if n < 3 {
            return step.undefined("fewer than three samples have no others to rank");
        }
        let others = |x: Tensor| cosine_similarity(x, x).without_diagonal(); // [n, n - 1]
        let two = std::f64::consts::LN_2;
        let gain = (0.5 * self.gamma * two * (1.0 + others(s))).exp() - 1.0;
        let discount = (1.0 + step.range(1..n).float().reshape([1, n - 1])).ln() / two;
        let best = (gain.sort(1, true).0 / discount).sum_dim(1).clamp_min(1e-12);

        let cos = others(t);
        let ahead = ((cos.unsqueeze(1) - cos.unsqueeze(2)) / self.tau).sigmoid(); // [n, j, k]
        let place = 1.0 + (ahead * (1.0 - ahead.eye(n - 1))).sum_dim(2).squeeze(2);
        -(gain * two / (1.0 + place).ln() / best).sum_dim(1).mean()
    }
}
