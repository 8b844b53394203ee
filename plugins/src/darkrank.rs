//! Chen, Wang & Zhang, "DarkRank: Accelerating Deep Metric Learning via Cross Sample Similarities
//! Transfer", AAAI 2018, equations 4 and 6 (the hard variant).

use crate::triplet::{Triplet, Triplets};
use retort_sdk::prelude::*;

hyper! {
    /// The target ranks each sample's nearest neighbours as the source does.
    ///
    /// L = -1/n Σᵢ log P(πᵢ) + λ · triplet(t),   P(π) = Πₖ e^{Sπ(k)} / Σ_{j≥k} e^{Sπ(j)},
    /// where S = -α ‖tᵢ - tⱼ‖^β of unit embeddings, and πᵢ orders the m samples nearest to i in the
    /// source by their distance there.
    ///
    /// As in the reference, the triplet loss is added, 0 in a batch without triplets. The sample itself
    /// is left out by its number and ties keep the order of the batch, where the reference drops the
    /// first of an unstable sort. Two samples have one order only, so their ranking is 0.
    pub struct Darkrank {
        /// α, sharpness.
        alpha: f64 = 3.0 => above(0.0),
        /// β, power of the distance.
        beta: f64 = 3.0 => above(0.0),
        /// m, neighbours that are ranked; all of a smaller batch.
        permute_len: usize = 4 => 2..,
        /// λ, weight of the triplet loss.
        triplet_weight: f64 = 1.0 => 0.0..,
        /// Margin of the triplet loss, in distance of unit vectors.
        triplet_margin: f64 = 0.2 => 0.0..,
    }
}

impl Loss for Darkrank {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target().normalize(1), step.source().normalize(1));
        let n = t.dim(0);
        let m = self.permute_len.min(n.saturating_sub(1));
        if m == 0 {
            return step.undefined("a batch of one has nothing to rank");
        }

        // A negative distance to itself puts each sample first, from where it is left out.
        let order = (pairwise_distance(s) - s.eye(n)).argsort(1).slice(1, 1..1 + m);
        // On the diagonal, which isn't used, 0^β has no finite gradient below β = 1.
        let score = -self.alpha * (pairwise_distance(t) + t.eye(n)).powf(self.beta);
        let score = score.gather(1, order); // [n, m], the source's nearest first

        let later = t.eye(m).cumsum(1).reshape([1, m, m]); // [k, j] is 1 where j ≥ k
        let rest = log_sum_exp(score.reshape([n, 1, m]), later, 2); // [n, m, 1]
        let rank = (rest.reshape([n, m]) - score).sum() / n;

        step.log("rank", rank);
        if self.triplet_weight == 0.0 {
            return rank;
        }
        let triplet = Triplet { margin: self.triplet_margin, triplets: Triplets::All }.or_zero(step);
        step.log("triplet", triplet);
        rank + self.triplet_weight * triplet
    }
}
