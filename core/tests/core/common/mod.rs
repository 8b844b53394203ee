//! What tests of the host from a plugin's side share.

use retort_core::{Interpreter, LossCode};
use retort_sdk::Op;

/// A loss made of calls.
pub struct Calls<F>(pub F);

impl<F: FnMut(&mut Interpreter) -> u64 + Send> LossCode for Calls<F> {
    fn run(&mut self, mut step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>) {
        let handle = (self.0)(&mut step);
        (step, Ok(handle))
    }
}

/// Has the host do an operation.
pub fn op(step: &mut Interpreter, op: Op, args: &[u64], attrs: &[f64]) -> u64 {
    step.call(op as u32, args, attrs, "")
}
