//! Liao, Tsiligkaridis & Kulis, "Supervised Metric Learning to Rank for Retrieval via Contextual
//! Similarity Optimization", ICML 2023; formulas of the authors' code,
//! Chris210634/metric-learning-using-contextual-similarity.

use crate::ranking::margins;
use retort_sdk::prelude::*;

hyper! {
    /// Pairs of one class have the same neighbours, and pairs of two have none in common.
    ///
    /// L = (1 - λ) 1/n² Σ_{i≠j} (wᵢⱼ - yᵢⱼ)² + λ C,  where yᵢⱼ is 1 for one class, and C pulls pairs of one class
    /// below cosine α and pushes those of two above β. w = ½(v + vᵀ), vᵢ the mean of uⱼ over mutual neighbours within
    /// k/2, uᵢⱼ = ½ 1[j∈Nᵢ] ( |Nᵢ∩Nⱼ| / |Nᵢ| + |N̄ᵢ∩N̄ⱼ| / |N̄ᵢ| ), Nᵢ the k nearest and who is at most ε further in squared
    /// distance, i among them.
    ///
    /// The step by which a sample is a neighbour has slope 10 in the gradient, everywhere, as in the authors' code.
    pub struct Contextual {
        /// λ, weight of the margins.
        lambda: f64 = 0.4 => 0.0..=1.0,
        /// k, neighbours.
        k: usize = 4 => 2..,
        /// ε, slack of the neighbourhood, in squared distance of unit embeddings.
        epsilon: f64 = 0.05 => 0.0..,
        /// α, cosine below which pairs of one class are pulled.
        positive: f64 = 0.75 => -1.0..=1.0,
        /// β, cosine above which pairs of two classes are pushed.
        negative: f64 = 0.6 => -1.0..=1.0,
    }
}

impl Loss for Contextual {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let (x, same) = (step.target(), step.labels().same()); // [n, d], [n, n]
        let cos = cosine_similarity(x, x);
        let context = (self.similarity(cos) - same).square().off_diagonal().mean();
        let calibration = margins(cos, same, self.positive, self.negative);
        (1.0 - self.lambda) * context + self.lambda * calibration
    }
}

impl Contextual {
    /// w, of cosines, `[n, n]`.
    fn similarity(&self, cos: Tensor) -> Tensor {
        let near = -(2.0 - 2.0 * cos).clamp_min(0.0);
        let k = self.k.min(near.dim(0));
        let (nearest, _) = near.detach().top_k(k, 1); // [n, k]
        let within = |k: usize| {
            let lead = near + self.epsilon - nearest.slice(1, k - 1..k);
            (SLOPE * lead).straight_through(1.0 - lead.below(0.0))
        };

        let mine = within(k);
        let other = 1.0 - mine;
        let share = |x: Tensor| x.matmul(x.t()) / x.sum_dim(1).detach().clamp_min(1.0);
        let u = 0.5 * (share(mine) + share(other)) * mine;

        let close = within((k / 2).max(1));
        let mutual = close * close.t();
        let v = mutual.matmul(u) / mutual.sum_dim(1);
        0.5 * (v + v.t())
    }
}

/// Of a step, in the gradient.
const SLOPE: f64 = 10.0;
