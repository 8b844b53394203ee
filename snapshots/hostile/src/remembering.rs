//! A loss that misbehaves.

use retort_sdk::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

static CALLS: AtomicU32 = AtomicU32::new(0);

hyper! {
    /// Keeps a state of its own behind the host's back.
    pub struct Remembering {}
}

impl Loss for Remembering {
    fn loss(&self, step: &Step) -> Tensor {
        let calls = CALLS.fetch_add(1, Ordering::Relaxed);
        step.target().square().mean() * (1.0 + f64::from(calls))
    }
}
