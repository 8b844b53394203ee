//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Is NaN from the second epoch on.
    pub struct Nan {}
}

impl Loss for Nan {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target().square().mean();
        match step.epoch() {
            0 => x,
            _ => (x * 0.0 - 1.0).sqrt(),
        }
    }
}
