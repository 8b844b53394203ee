//! Budnik & Avrithis, "Asymmetric Metric Learning for Knowledge Transfer", CVPR 2021; formulas of the
//! authors' code, budnikm/aml.

use crate::asymmetric::unit;
use retort_sdk::prelude::*;

choice! {
    /// How pairs are weighed.
    pub enum Kind {
        /// Each by itself, up to a margin.
        Contrastive = "contrastive",
        /// With the pairs around it.
        MultiSimilarity = "multi-similarity",
    }
}

hyper! {
    /// Metric learning whose anchors are the target's and whose positives and negatives are the source's.
    ///
    /// contrastive: L = 1/n Σᵢ ½ [ Σ_{j∈Pᵢ} dᵢⱼ² + Σ_{j∈Nᵢ} [m - dᵢⱼ]₊² ]
    ///
    /// multi-similarity: L = 1/n Σᵢ [ ½ log(1 + Σ_{j∈Pᵢ} e^{-2(cᵢⱼ - ½)}) + 1/40 log(1 + Σ_{j∈Nᵢ} e^{40(cᵢⱼ - ½)}) ]
    ///
    /// where d and c are distance and cosine of tᵢ and sⱼ, and Pᵢ and Nᵢ are the samples of i's class and of
    /// others.
    ///
    /// As in the authors' code 1e-6 is added to each coordinate of a difference. Each sample is an anchor here;
    /// there, tuples are given.
    pub struct Aml {
        /// How pairs are weighed.
        kind: Kind = Kind::Contrastive,
        /// m, margin of the contrastive loss, in distance of unit embeddings.
        margin: f64 = 0.7 => 0.0..,
        /// Whether the source's embedding of the anchor itself is among the positives.
        own: bool = true,
        /// Whether a learnable map brings the target to the source's width.
        project: bool = false,
    }
}

impl Loss for Aml {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = unit(step, self.project); // [n, d]
        let same = step.labels().same(); // [n, n]
        let (positive, negative) = (if self.own { same } else { same.off_diagonal() }, 1.0 - same);
        if !self.own {
            step.need_positive_pairs();
        }
        step.need_negative_pairs();
        match self.kind {
            Kind::Contrastive => {
                let (n, d) = (t.dim(0), t.dim(1));
                let difference = t.reshape([n, 1, d]) - s.reshape([1, n, d]) + 1e-6;
                let distance = difference.norm(2).squeeze(2); // [n, n]
                let pull = positive * distance.square();
                let push = negative * (self.margin - distance).relu().square();
                0.5 * (pull + push).sum() / n
            }
            Kind::MultiSimilarity => {
                let cos = t.matmul(s.t()) - 0.5;
                let part = |scale: f64, mask| ln_1p_sum_exp(scale * cos, mask, 1) / scale.abs();
                (part(-2.0, positive) + part(40.0, negative)).mean()
            }
        }
    }
}
