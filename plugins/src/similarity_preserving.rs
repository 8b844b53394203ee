//! Tung & Mori, "Similarity-Preserving Knowledge Distillation", ICCV 2019, equations 2 to 4.

use crate::crd::On;
use retort_sdk::prelude::*;

hyper! {
    /// Pairs of samples that excite the source alike excite the target alike.
    ///
    /// L = 1/n² ‖Gᵗ - Gˢ‖²_F, where Gˣ are the inner products of the samples' activations, each row
    /// divided by its norm.
    pub struct SimilarityPreserving {
        /// What is compared: the deepest feature map, as in the paper, or the embedding.
        on: On = On::Feature,
    }
}

impl Loss for SimilarityPreserving {
    fn loss(&self, step: &Step) -> Tensor {
        let pair = match self.on {
            On::Embedding => Some((step.target(), step.source())),
            On::Feature => feature_pairs(step).pop(),
        };
        let Some((t, s)) = pair else { return step.fail("the networks return no feature maps") };
        (similarity(t) - similarity(s)).square().mean()
    }
}

/// Rows of unit norm, of the inner products of the samples: `[n, …]` gives `[n, n]`.
fn similarity(x: Tensor) -> Tensor {
    let size = x.dims().iter().skip(1).product();
    let x = x.reshape([x.dim(0), size]);
    x.matmul(x.t()).normalize(1)
}
