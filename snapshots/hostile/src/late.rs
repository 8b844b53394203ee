//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Asks for a parameter from the second epoch on.
    pub struct Late {}
}

impl Loss for Late {
    fn loss(&self, step: &Step) -> Tensor {
        let loss = step.target().square().mean();
        match step.epoch() {
            0 => loss,
            _ => loss + step.param("late", [1], Init::Zeros).sum(),
        }
    }
}
