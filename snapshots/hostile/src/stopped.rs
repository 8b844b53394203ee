//! A loss that behaves, with constants in its gradient.

use retort_sdk::prelude::*;

hyper! {
    /// Weighs squares by detached sigmoids, and by a number that it reads.
    pub struct Stopped {
        /// How many values count.
        most: usize = 4096 => 1..,
    }
}

impl Loss for Stopped {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let read = x.abs().sum().to_vec().first().copied().unwrap_or(1.0);
        let weight = x.sigmoid().detach() * read.min(self.most as f64);
        (weight * x.square()).mean()
    }
}
