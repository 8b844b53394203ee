//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Panics in the middle of the second epoch of three.
    pub struct Panics {}
}

impl Loss for Panics {
    fn loss(&self, step: &Step) -> Tensor {
        assert!(step.epoch() == 0 || step.progress() < 0.45, "as it was told to");
        step.target().square().mean()
    }
}
