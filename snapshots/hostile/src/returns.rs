//! A loss that misbehaves.

use retort_sdk::prelude::*;

choice! {
    /// What it returns.
    pub enum Back {
        Constant = "constant",
        Detached = "detached",
        Drawn = "drawn",
        Matrix = "matrix",
        Infinite = "infinite",
    }
}

hyper! {
    /// Returns what can't be trained on.
    pub struct Returns {
        /// What it returns.
        back: Back = Back::Constant,
    }
}

impl Loss for Returns {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        match self.back {
            Back::Constant => x.scalar(1.0),
            Back::Detached => x.detach().square().mean(),
            Back::Drawn => step.random_uniform([1]).sum(),
            Back::Matrix => x,
            Back::Infinite => x.square().mean() * 1e300 * 1e300,
        }
    }
}
