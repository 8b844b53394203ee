//! Ramzi, Thome, Rambour, Audebert & Bitot, "Robust and Decomposable Average Precision for Image
//! Retrieval", NeurIPS 2021; formulas of the authors' code, elias-ramzi/ROADMAP.

use crate::ranking::{hard_step, leads, margins, rank, steep_step};
use retort_sdk::prelude::*;

hyper! {
    /// Average precision of each sample's ranking, with steps that pull on whoever is wrongly ahead, and
    /// margins that make scores of different queries comparable.
    ///
    /// L = A + λ C,  A = 1 - 1/n Σᵩ 1/|Pᵩ| Σ_{i∈Pᵩ} R⁺(i) / (R⁺(i) + R⁻(i)),
    /// R⁺(i) = 1 + Σ_{j∈Pᵩ, j≠i} 1[cᵩⱼ ≥ cᵩᵢ],  R⁻(i) = Σ_{j∉Pᵩ} H⁻(cᵩⱼ - cᵩᵢ),
    /// where c are cosines, Pᵩ what has q's class, q itself among it, H⁻ a sigmoid that goes over into a steep
    /// line, and C the contrastive loss of cosines with margins α for pairs of one class and β for others.
    ///
    /// The paper weighs A and C with 1 - λ and λ, at ½. As in the authors' code H⁻ has temperature 0.01 and falls by 0.053 where the line begins, at 0.05.
    pub struct Roadmap {
        /// λ, weight of the margins.
        lambda: f64 = 1.0 => 0.0..,
        /// α, cosine below which pairs of one class are pulled.
        positive: f64 = 0.9 => -1.0..=1.0,
        /// β, cosine above which pairs of two classes are pushed.
        negative: f64 = 0.6 => -1.0..=1.0,
    }
}

impl Loss for Roadmap {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let (x, same) = (step.target(), step.labels().same()); // [n, d], [n, n]
        let cos = cosine_similarity(x, x);
        let lead = leads(cos); // [q, i, j]
        let relevant = same.unsqueeze(1); // [q, 1, j]
        let right = rank(hard_step(lead) * relevant); // [q, i]
        let wrong = (steep_step(lead) * (1.0 - relevant)).sum_dim(2).squeeze(2);
        let precision = right / (right + wrong) * same;
        let ap = (precision.sum_dim(1) / same.sum_dim(1)).mean();
        let calibration = margins(cos, same, self.positive, self.negative);
        1.0 - ap + self.lambda * calibration
    }
}
