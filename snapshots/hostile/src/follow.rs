//! A loss that behaves, on some batches.

use retort_sdk::prelude::*;

hyper! {
    /// Pulls the target's embeddings towards the source's, which must be as wide: the SDK's first example.
    pub struct Follow {}
}

impl Loss for Follow {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source());
        (t - s).square().sum() / t.dim(0)
    }
}
