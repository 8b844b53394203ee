//! Brown, Xie, Kalogeiton & Zisserman, "Smooth-AP: Smoothing the Path Towards Large-Scale Image
//! Retrieval", ECCV 2020; formulas of the authors' code, Andrew-Brown1/Smooth_AP.

use crate::ranking::{leads, rank, soft_step};
use retort_sdk::prelude::*;

hyper! {
    /// Average precision of each sample's ranking of the batch, with a sigmoid for who is ahead.
    ///
    /// L = 1 - 1/n Σᵩ 1/|Pᵩ| Σ_{i∈Pᵩ} R(i, Pᵩ) / R(i, Ω),  R(i, S) = 1 + Σ_{j∈S, j≠i} σ((cᵩⱼ - cᵩᵢ) / τ),
    /// where c are cosines, Ω is the batch and Pᵩ what has q's class, q itself among it, as in the authors' code.
    pub struct SmoothAp {
        /// τ, temperature, in cosine.
        tau: f64 = 0.01 => above(0.0),
    }
}

impl Loss for SmoothAp {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let (x, same) = (step.target(), step.labels().same()); // [n, d], [n, n]
        let ahead = soft_step(leads(cosine_similarity(x, x)), self.tau); // [q, i, j]
        let precision = rank(ahead * same.unsqueeze(1)) / rank(ahead) * same; // [q, i]
        1.0 - (precision.sum_dim(1) / same.sum_dim(1)).mean()
    }
}
