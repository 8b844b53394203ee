//! Ramzi, Audebert, Thome, Rambour & Bitot, "Hierarchical Average Precision Training for Pertinent
//! Image Retrieval", ECCV 2022; formulas of the authors' code, elias-ramzi/HAPPIER.

use crate::ranking::{hard_step, leads, rank, steep_step};
use retort_sdk::prelude::*;

hyper! {
    /// Average precision over a hierarchy: who has the class comes first, then who has the superclass.
    ///
    /// L = 0.9 (1 - 1/n Σᵩ Σᵢ Rʰ(i) / (R(i) Σᵢ rᵩᵢ)) + 0.1 CE(tᵢ·wₖ / 0.05, yᵢ),
    /// Rʰ(i) = rᵩᵢ + Σ_{j≠i} min(rᵩᵢ, rᵩⱼ) 1[cᵩⱼ ≥ cᵩᵢ],  R(i) = 1 + Σ_{j≠i} H(cᵩⱼ - cᵩᵢ),
    /// where c are cosines, r the relevance, H the steps of `roadmap`, a sigmoid and a steep line where j is less
    /// relevant than i and 1[· ≥ 0] elsewhere, t and w unit embeddings and learnable proxies.
    ///
    /// Classes k·m to k·m + m - 1 have one superclass: labels of more levels aren't offered to losses. As in the
    /// authors' code, half of the relevance is shared by all of the superclass, and half by the class alone.
    pub struct Happier {
        /// m, classes of a superclass.
        children: usize = 2 => 1..,
    }
}

impl Loss for Happier {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let (labels, classes) = (step.labels(), step.classes());
        let x = step.target().normalize(1); // [n, d]
        let init = Init::Uniform((x.dim(1) as f64).sqrt().recip());
        let proxies = step.param("weight", [classes, x.dim(1)], init).normalize(1);
        let clusters = cross_entropy(x.matmul(proxies.t()) / 0.05, labels);

        let parent = superclass(labels, self.children).unsqueeze(1); // [n, 1]
        let (same, related) = (labels.same(), parent.equal(parent.t())); // [n, n]
        let shared = |mask: Tensor| 0.5 * mask / mask.sum_dim(1);
        let relevance = shared(related) + shared(same); // [n, n]
        let level = related + same;

        let lead = leads(x.matmul(x.t())); // [q, i, j]
        let less = level.unsqueeze(2).greater(level.unsqueeze(1));
        let ranks = rank(steep_step(lead).select(less, hard_step(lead))); // [q, i]
        let common = relevance.unsqueeze(1).min(relevance.unsqueeze(2)); // [q, i, j]
        let hierarchical = rank(hard_step(lead) * common) - 1.0 + relevance;
        let precision = (hierarchical / ranks).sum_dim(1) / relevance.sum_dim(1);
        0.9 * (1.0 - precision.mean()) + 0.1 * clusters
    }
}

/// Each class's number without its place within the superclass: as good a name of the superclass as any.
fn superclass(labels: Index, children: usize) -> Tensor {
    (labels.float() - labels.modulo(children).float()) / children
}
