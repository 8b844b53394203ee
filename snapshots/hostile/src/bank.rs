//! A loss that behaves, with all that the host keeps for one.

use retort_sdk::prelude::*;

hyper! {
    /// Keeps the target in a bank, draws rows of it, and reports what it drew.
    pub struct Bank {}
}

impl Loss for Bank {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, ids) = (step.target(), step.ids());
        let bank = step.buffer("bank", [step.samples(), t.dim(1)], Init::Zeros);
        let drawn = step.random_index([t.dim(0), 1], step.samples());
        step.log("drawn", drawn.float().sum());
        bank.set_rows(ids, t);
        (t * bank.rows(drawn.flat())).sum()
    }
}
