//! Sun, Cheng, Zhang, Zhang, Zheng, Wang & Wei, "Circle Loss: A Unified Perspective of Pair Similarity
//! Optimization", CVPR 2020, equations 5 to 8.

use retort_sdk::prelude::*;

hyper! {
    /// Weighs each similarity by how far it is from its optimum.
    ///
    /// L = mean over anchors of log(1 + Σⱼ e^{γ αₙ(sₙ - m)} · Σᵢ e^{-γ αₚ(sₚ - 1 + m)}), where
    /// αₚ = [1 + m - sₚ]₊ and αₙ = [sₙ + m]₊ are constants, sₚ and sₙ cosines to samples of the
    /// anchor's class and of others.
    ///
    /// Anchors without a positive or a negative are left out of the mean.
    ///
    /// The weights αₚ and αₙ are constants of the step, as in the paper.
    pub struct Circle {
        /// m, relaxation, in cosine; the paper's for fine-grained retrieval.
        margin: f64 = 0.4 => 0.0..=1.0,
        /// γ, scale.
        gamma: f64 = 80.0 => above(0.0),
    }
}

impl Loss for Circle {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let x = step.target().normalize(1); // [n, d]
        let (positive, negative) = step.pairs(); // [n, n]
        let (s, m, gamma) = (x.matmul(x.t()), self.margin, self.gamma);

        let weight_p = (1.0 + m - s.detach()).relu();
        let weight_n = (s.detach() + m).relu();
        let pull = log_sum_exp(-gamma * weight_p * (s - (1.0 - m)), positive, 1); // [n, 1]
        let push = log_sum_exp(gamma * weight_n * (s - m), negative, 1);
        mean_where(softplus(pull + push), positive.max_dim(1) * negative.max_dim(1))
    }
}
