//! Kim, Kim, Cho & Kwak, "Self-Taught Metric Learning without Labels", CVPR 2022; formulas of the
//! authors' code, tjddus9597/STML-CVPR22.

use retort_sdk::prelude::*;

hyper! {
    /// Without labels: pairs are as near as the source and their common neighbours make them, and the target's
    /// distances are those of a wider embedding beside it.
    ///
    /// L = ½ (R(f) + R(g)) + 1/n Σᵢ KL( softmax(-dᵍᵢ) ‖ softmax(-dᶠᵢ) ),
    /// R(x) = 1/(n(n-1)) Σ_{i≠j} [ wᵢⱼ dˣᵢⱼ² + (1 - wᵢⱼ) [δ - dˣᵢⱼ]₊² ],
    /// where d is the distance in units of the anchor's mean distance, f the target's embedding, and g a
    /// linear map of its last feature vector to the source's width. w is the mean of e^{-‖sᵢ-sⱼ‖²/σ} and of how many
    /// of the k mutual neighbours i and j share, averaged over i's nearest k/2.
    ///
    /// The source is the average of the target's past, in the paper and with `train source`'s average. As in the
    /// authors' code views of a sample are each other's nearest, and k/2 is rounded to an even number.
    pub struct Stml {
        /// k, neighbours.
        neighbours: usize = 10 => 2..,
        /// σ, width of the kernel; the source's embeddings have unit norm.
        sigma: f64 = 1.0 => above(0.0),
        /// δ, margin, in units of the anchor's mean distance.
        delta: f64 = 1.0 => above(0.0),
        /// Whether the target's embeddings have unit norm.
        normalize: bool = true,
    }
}

impl Loss for Stml {
    fn loss(&self, step: &Step) -> Tensor {
        let s = step.source().normalize(1); // [n, d']
        let Some(feature) = last_feature(&step.target_features()) else {
            return step.fail("the target returns no feature vector");
        };
        let g = step.linear("embedding_g", feature, s.dim(1)); // [n, d']
        let n = s.dim(0);
        if n < 3 {
            return step.undefined("fewer than three samples have no neighbours");
        }
        let distance = |x: Tensor| {
            let d = euclidean_distance(if self.normalize { x.normalize(1) } else { x });
            d / (d.mean_dim(1) + d.sum_dim(1).is_zero())
        };
        let (f, g) = (distance(step.target()), distance(g)); // [n, n]
        let w = self.weight(step, s);
        let relaxed = |d: Tensor| {
            let pull = w * d.square();
            let push = (1.0 - w) * (self.delta - d).relu().square();
            (pull + push).off_diagonal().sum() / (n * (n - 1))
        };
        let divergence = kl_divergence((-g.detach()).log_softmax(1), (-f).log_softmax(1), 1);
        0.5 * (relaxed(f) + relaxed(g)) + divergence.mean()
    }
}

impl Stml {
    /// How alike the source finds each pair, `[n, n]`.
    fn weight(&self, step: &Step, s: Tensor) -> Tensor {
        let near = (-euclidean_distance(s).square() / self.sigma).exp();
        let k = self.neighbours.min(s.dim(0));
        let order = (-near.masked_fill(step.ids().same(), 1.0)).ranks(1).float(); // nearest first
        let mine = order.below(k as f64 - 0.5);
        let mutual = mine * mine.t();
        let shared = mutual * mutual.matmul(mutual.t()) / mutual.sum_dim(1).clamp_min(1.0);

        let half = (k as f64 / 2.0).round_ties_even().max(1.0);
        let averaged = order.below(half - 0.5).matmul(shared) / half;
        0.5 * (near + 0.5 * (averaged + averaged.t()))
    }
}
