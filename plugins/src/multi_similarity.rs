//! Wang, Han, Huang, Dong & Scott, "Multi-Similarity Loss with General Pair Weighting for Deep Metric
//! Learning", CVPR 2019, equations 10 to 13.

use retort_sdk::prelude::*;

hyper! {
    /// Weighs each pair by itself and by the pairs around it, after mining the informative ones.
    ///
    /// L = 1/n Σᵢ [ 1/α log(1 + Σ_{k∈Pᵢ} e^{-α(Sᵢₖ - λ)}) + 1/β log(1 + Σ_{k∈Nᵢ} e^{β(Sᵢₖ - λ)}) ],
    /// where S is the cosine. Pᵢ are the positives with S - ε below the largest S of a negative of i,
    /// Nᵢ the negatives with S + ε above the smallest S of a positive of i.
    ///
    /// As in the authors' library, anchors without positives or negatives count as 0, and so does a
    /// batch in which no more than one positive and one negative pair is mined. The miner compares
    /// positives with negatives: in a batch that lacks either the loss isn't defined.
    pub struct MultiSimilarity {
        /// ε, slack of the miner, in cosine.
        epsilon: f64 = 0.1 => 0.0..,
        /// α, sharpness of the pull.
        alpha: f64 = 2.0 => above(0.0),
        /// β, sharpness of the push.
        beta: f64 = 50.0 => above(0.0),
        /// λ, the similarity around which pairs are weighed.
        base: f64 = 0.5,
    }
}

impl Loss for MultiSimilarity {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let x = step.target().normalize(1); // [n, d]
        let (positive, negative) = step.pairs(); // [n, n]
        let cos = x.matmul(x.t());

        let constant = cos.detach();
        let hardest = constant.select(negative, cos.scalar(-FAR)).max_dim(1); // [n, 1]
        let loosest = constant.select(positive, cos.scalar(FAR)).min_dim(1);
        let pull = positive * hardest.greater(constant - self.epsilon);
        let push = negative * (constant + self.epsilon).greater(loosest);

        let part = |scale: f64, mask| ln_1p_sum_exp(scale * (cos - self.base), mask, 1) / scale.abs();
        let sum = part(-self.alpha, pull) + part(self.beta, push); // [n, 1]
        let mined = pull.sum().max(push.sum()).above(1.5);
        sum.mean() * mined
    }
}

/// Beyond any cosine.
const FAR: f64 = 10.0;
