//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Weighs samples by their place in the batch.
    pub struct Ordered {}
}

impl Loss for Ordered {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let place = x.eye(x.dim(0)).cumsum(0).sum_dim(1); // n, n - 1, …
        (x.square().sum_dim(1) * place).mean()
    }
}
