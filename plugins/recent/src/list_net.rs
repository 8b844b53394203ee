//! Cao, Qin, Liu, Tsai & Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML
//! 2007, with lists of one.

use retort_sdk::prelude::*;

hyper! {
    /// The target finds first whom the source finds first: each sample's ranking of the others as a
    /// distribution of who comes first.
    ///
    /// L = -1/n Σᵢ Σ_{j≠i} softmaxⱼ(cos(sᵢ, sⱼ) / τ) log softmaxⱼ(cos(tᵢ, tⱼ) / τ).
    pub struct ListNet {
        /// τ, temperature.
        tau: f64 = 0.1 => above(0.0),
    }
}

impl Loss for ListNet {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        if t.dim(0) < 3 {
            return step.undefined("fewer than three samples have no others to rank");
        }
        let scores = |x: Tensor| (cosine_similarity(x, x) / self.tau).without_diagonal(); // [n, n - 1]
        let (p, log_q) = (scores(s).softmax(1), scores(t).log_softmax(1));
        -(p * log_q).sum_dim(1).mean()
    }
}
