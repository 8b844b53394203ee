//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Takes all the memory it can get.
    pub struct Hungry {}
}

impl Loss for Hungry {
    fn loss(&self, step: &Step) -> Tensor {
        let mut all = Vec::new();
        loop {
            all.push(std::hint::black_box(vec![1u8; 1 << 24]));
            if all.len() > 1 << 12 {
                return step.target().sum();
            }
        }
    }
}
