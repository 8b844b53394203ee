//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Panics in the second epoch, after its first half.
    pub struct Panics {}
}

impl Loss for Panics {
    fn loss(&self, step: &Step) -> Tensor {
        assert!(step.epoch() == 0 || step.progress() < 0.6, "as it was told to");
        step.target().square().mean()
    }
}
