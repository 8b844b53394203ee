//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// The mean distance of all pairs with a bare root: its gradient at zero distance is NaN.
    pub struct BareRoot {}
}

impl Loss for BareRoot {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let (n, d) = (x.dim(0), x.dim(1));
        let difference = x.reshape([n, 1, d]) - x.reshape([1, n, d]);
        (difference.square().sum_dim(2).sqrt()).mean()
    }
}
