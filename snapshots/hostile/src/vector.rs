//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Returns more than one number.
    pub struct Vector {}
}

impl Loss for Vector {
    fn loss(&self, step: &Step) -> Tensor {
        step.target().sum_dim(1)
    }
}
