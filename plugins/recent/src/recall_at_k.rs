//! Patel, Tolias & Matas, "Recall@k Surrogate Loss with Large Batches and Similarity Mixup", CVPR 2022;
//! formulas of the authors' code, yash0307/RecallatK_surrogate.

use crate::ranking::{leads, rank, soft_step};
use retort_sdk::prelude::*;

hyper! {
    /// Recall among each sample's first 1, 2, 4, … neighbours, with sigmoids for ranks and for who is among them.
    ///
    /// L = 1 - 1/n Σᵩ meanₖ min(k, Σ_{i∈Pᵩ} σ(k - R(i))) / min(k, |Pᵩ|),  R(i) = 1 + Σ_{j≠i} σ((cᵩⱼ - cᵩᵢ) / τ),
    /// where c are cosines and Pᵩ are the others of q's class.
    ///
    /// As in the authors' code the query is in its own ranking. Samples alone in their class are left out.
    pub struct RecallAtK {
        /// The largest k; no k is larger than the batch.
        largest: usize = 16 => 1..,
        /// τ, temperature of the ranks, in cosine.
        tau: f64 = 0.01 => above(0.0),
    }
}

impl Loss for RecallAtK {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let (x, (positive, _)) = (step.target(), step.pairs()); // [n, d], [n, n]
        let ranks = rank(soft_step(leads(cosine_similarity(x, x)), self.tau)); // [q, i]
        let count = positive.sum_dim(1); // [n, 1]

        let ks = (0..usize::BITS - 1).map(|power| 1 << power).take_while(|&k| k <= self.largest);
        let ks: Vec<f64> = ks.map(|k: usize| k.min(x.dim(0)) as f64).collect();
        let k = step.constant([1, 1, ks.len()], &ks);
        let found = soft_step(k - ranks.unsqueeze(2), 1.0) * positive.unsqueeze(2);
        let k = k.squeeze(0); // [1, ks]
        let recall = found.sum_dim(1).squeeze(1).min(k) / count.clamp_min(1.0).min(k); // [n, ks]
        1.0 - mean_where(recall.mean_dim(1), count.above(0.0))
    }
}
