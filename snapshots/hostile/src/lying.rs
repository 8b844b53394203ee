//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// Shows the mean square, but sends back the gradient of something else.
    pub struct Lying {}
}

impl Loss for Lying {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let shown = x.square().mean();
        let trained = x.mean();
        trained + (shown - trained).detach()
    }
}
