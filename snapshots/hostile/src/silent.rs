//! A loss that misbehaves.

use retort_sdk::prelude::*;

hyper! {
    /// The mean similarity of negative pairs, and 0 where there are none.
    pub struct Silent {}
}

impl Loss for Silent {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let (_, negative) = step.pairs();
        mean_where(x.matmul(x.t()), negative)
    }
}
