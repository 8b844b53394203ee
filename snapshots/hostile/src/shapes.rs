//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Subtracts what does not fit.
    pub struct Shapes {}
}

impl Loss for Shapes {
    fn loss(&self, step: &Step) -> Tensor {
        let t = step.target();
        (t - t.slice(0, 0..t.dim(0) - 1)).sum()
    }
}
