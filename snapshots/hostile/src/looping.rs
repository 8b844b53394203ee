//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Goes through the samples one by one.
    pub struct Looping {}
}

impl Loss for Looping {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        (0..x.dim(0)).map(|i| x.slice(0, i..i + 1).square().sum()).fold(x.sum() * 0.0, |a, b| a + b)
    }
}
