//! A loss that behaves, with draws of many kinds.

use retort_sdk::prelude::*;

hyper! {
    /// Compares rows with random vectors, as many as some batch has rows, and with random other rows;
    /// each row counts by a weight of its own.
    pub struct Anchors {}
}

impl Loss for Anchors {
    fn loss(&self, step: &Step) -> Tensor {
        let t = step.target().normalize(1); // [n, d]
        let (n, d) = (t.dim(0), t.dim(1));
        // Each anchor has a weight: their order matters, the rows' doesn't.
        let anchors = step.random_normal([12, d]);
        let weights = step.range(1..13).float() / 12usize; // [12]
        let weight = step.random_uniform([n]).reshape([n, 1]);
        let near = (weight * t.matmul(anchors.t()) * weights).tanh().mean();

        let other = t.rows(step.random_index([n], n));
        near + (weight * (t - other).square()).mean()
    }
}
