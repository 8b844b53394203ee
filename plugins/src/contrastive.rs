//! Hadsell, Chopra & LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.

use retort_sdk::prelude::*;

hyper! {
    /// Pulls samples of one class together, and pushes those of two classes a margin apart.
    ///
    /// L = mean [dᵢⱼ - m₊]₊ over pairs of one class + mean [m₋ - dᵢⱼ]₊ over pairs of two,
    /// where d is the distance of unit embeddings, and the means run over the terms above 0.
    ///
    /// As in the field's reference library, which takes d where the paper takes d².
    pub struct Contrastive {
        /// m₋, margin of pairs of two classes.
        neg_margin: f64 = 0.5 => 0.0..,
        /// m₊, distance that pairs of one class may have.
        pos_margin: f64 = 0.0 => 0.0..,
    }
}

impl Loss for Contrastive {
    fn loss(&self, step: &Step) -> Tensor {
        if step.labels().len() < 2 {
            return step.undefined("a batch of one has no pairs");
        }
        let d = euclidean_distance(step.target().normalize(1)); // [n, n]
        let (positive, negative) = step.pairs();
        let pull = positive * (d - self.pos_margin).relu();
        let push = negative * (self.neg_margin - d).relu();
        mean_where(pull, pull.above(0.0)) + mean_where(push, push.above(0.0))
    }
}
