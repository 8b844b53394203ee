//! Reimers & Gurevych, "Making Monolingual Sentence Embeddings Multilingual using Knowledge
//! Distillation", EMNLP 2020, equation 1; with a learnable projection and the cosine as used to
//! distil text embedders.

use retort_sdk::prelude::*;

choice! {
    /// How far an embedding is from the source's.
    pub enum Measure {
        /// 1 - cosine.
        Cosine = "cosine",
        /// Squared L2 distance.
        L2 = "l2",
    }
}

hyper! {
    /// The target's embedding, through a learnable projection, becomes the source's.
    ///
    /// L = 1/n Σᵢ δ(P tᵢ, sᵢ), where P is an affine map to the source's dimensions, and δ(a, b) is
    /// 1 - cos(a, b) or ‖a - b‖².
    pub struct EmbeddingRegression {
        /// δ.
        measure: Measure = Measure::Cosine,
        /// Whether P is learnt; without it both embeddings need the same dimensions.
        project: bool = true,
    }
}

impl Loss for EmbeddingRegression {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        let t = if self.project { step.linear("projection", t, s.dim(1)) } else { t };
        step.need_same_shape(t, s, "set project = true, or give both networks one width");
        match self.measure {
            Measure::Cosine => 1.0 - (t.normalize(1) * s.normalize(1)).sum() / t.dim(0),
            Measure::L2 => (t - s).square().sum() / t.dim(0),
        }
    }
}
