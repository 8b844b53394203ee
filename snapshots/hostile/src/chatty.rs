//! A loss that only talks: what a crossing of the plugin boundary costs.

use retort_sdk::prelude::*;

hyper! {
    /// Asks for its input a thousand times.
    pub struct Chatty {}
}

impl Loss for Chatty {
    fn loss(&self, step: &Step) -> Tensor {
        let mut last = step.target();
        for _ in 1..1000 {
            last = step.target();
        }
        last
    }
}
