//! Kim, Rawat, Zaheer, Jayasumana, Sadhanala, Jitkrittum, Menon, Fergus & Kumar, "EmbedDistill: A
//! Geometric Knowledge Distillation for Information Retrieval", arXiv 2023; formulas of
//! huggingface/sentence-transformers.

use crate::asymmetric::embeddings;
use retort_sdk::prelude::*;

choice! {
    /// What distance means.
    pub enum Metric {
        /// Mean squared difference of the coordinates.
        Mse = "mse",
        /// Euclidean distance.
        L2 = "l2",
        /// 1 less the cosine.
        Cosine = "cosine",
    }
}

hyper! {
    /// The target's embedding is the source's, after a linear map.
    ///
    /// L = meanᵢ d(W tᵢ + b, sᵢ).
    ///
    /// A zero row has cosine 0, and no gradient; in the field's library 1e-8 bounds the product of the norms.
    pub struct EmbedDistill {
        /// What distance means.
        metric: Metric = Metric::Mse,
        /// Whether there is a linear map; without it the widths must be equal.
        project: bool = true,
    }
}

impl Loss for EmbedDistill {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = embeddings(step, self.project); // [n, d']
        match self.metric {
            Metric::Mse => (t - s).square().mean(),
            Metric::L2 => (t - s).norm(1).mean(),
            Metric::Cosine => 1.0 - row_cosine(t, s).mean(),
        }
    }
}
