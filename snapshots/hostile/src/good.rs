//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Behaves: the mean square.
    pub struct Good {}
}

impl Loss for Good {
    fn loss(&self, step: &Step) -> Tensor {
        step.target().square().mean()
    }
}
