//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Asks for a tensor beyond all memory.
    pub struct Huge {}
}

impl Loss for Huge {
    fn loss(&self, step: &Step) -> Tensor {
        step.random_uniform([1_000_000_000, 1_000_000_000]).sum()
    }
}
