//! A loss that behaves, on some batches.

use retort_sdk::prelude::*;

hyper! {
    /// A sample's two views agree, also with the source, which must be as wide.
    pub struct Views {}
}

impl Loss for Views {
    fn loss(&self, step: &Step) -> Tensor {
        if step.views() != 2 {
            return step.fail("it compares two views of each sample: --views 2");
        }
        let (t, s) = (step.target(), step.source());
        step.need_same_shape(t, s, "take networks of one width");
        let half = t.dim(0) / 2;
        let between = t.slice(0, 0..half) - t.slice(0, half..2 * half);
        between.square().mean() + (t - s).square().mean()
    }
}
