//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Never ends.
    pub struct Endless {}
}

impl Loss for Endless {
    fn loss(&self, step: &Step) -> Tensor {
        let mut x = 1u64;
        while std::hint::black_box(x) != 0 {
            x = x.wrapping_mul(3) | 1;
        }
        step.target().sum()
    }
}
