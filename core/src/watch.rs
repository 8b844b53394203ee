//! Finds the operation in which a step's numbers stop being finite. It reads what every operation makes, so
//! it is for a step that has gone wrong and is done again.

use crate::interpreter::{Interpreter, Slot, Value};
use burn::tensor::Tensor;
use retort_sdk::Op;
use std::collections::BTreeSet;

/// Looks at every operation of one step.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Whether the gradients of all operands are wanted.
    backward: bool,
    /// The operation that is to fail, so that the plugin says which line it is of, and why.
    stop: Option<Found>,
    seen: Vec<Seen>,
    result: u64,
}

/// An operation whose numbers aren't finite.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Its place among the step's calls.
    call: u64,
    why: String,
}

/// One operation.
#[derive(Debug)]
struct Seen {
    call: u64,
    /// Handle of its result.
    handle: u64,
    operands: Vec<u64>,
    holds: Holds,
    /// Zeros that were added to its operands: their gradients are what it adds to its operands'.
    zeros: Vec<Tensor<4>>,
}

/// The worst of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    Finite,
    Infinite,
    Nan,
}

impl std::fmt::Display for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Holds::Finite => "finite numbers",
            Holds::Infinite => "infinity",
            Holds::Nan => "NaN",
        })
    }
}

impl Watch {
    /// For what operations make.
    pub(crate) fn values() -> Self {
        Watch::default()
    }

    /// For what their backward passes make.
    pub(crate) fn gradients() -> Self {
        Watch { backward: true, ..Watch::default() }
    }

    /// Ends the step at an operation.
    pub(crate) fn until(found: Found) -> Self {
        Watch { stop: Some(found), ..Watch::default() }
    }

    /// Takes down what the loss returned.
    pub(crate) fn returned(&mut self, handle: u64) {
        self.result = handle;
    }

    /// An operation of the step.
    pub(crate) fn execute(
        &mut self,
        step: &mut Interpreter,
        op: Op,
        args: &[u64],
        attrs: &[f64],
        name: &str,
    ) -> Result<Slot, String> {
        let call = step.calls();
        if let Some(found) = self.stop.as_ref().filter(|found| found.call == call) {
            return Err(found.why.clone());
        }
        let (mut operands, mut zeros) = (args.to_vec(), Vec::new());
        for handle in operands.iter_mut().filter(|_| self.backward) {
            let slot = step.slot(*handle)?;
            let rank = slot.rank;
            if let Value::Float(x) = &slot.value
                && x.is_tracked()
            {
                let zero = x.clone().detach().zeros_like().require_grad();
                let sum = x.clone() + zero.clone();
                *handle = step.keep(Slot::float(sum, rank));
                zeros.push(zero);
            }
        }
        let made = step.execute(op, &operands, attrs, name)?;
        let (handle, holds) = (step.next_handle(), Holds::of(&made.value));
        self.seen.push(Seen { call, handle, operands: args.to_vec(), holds, zeros });
        Ok(made)
    }

    /// The first operation on the way to the loss whose result isn't finite; none if the loss is.
    pub(crate) fn first_value(&self) -> Option<Found> {
        let find = |handle: u64| self.seen.iter().find(|s| s.handle == handle);
        let (mut open, mut reached) = (vec![self.result], BTreeSet::new());
        while let Some(handle) = open.pop() {
            let Some(seen) = find(handle) else { continue };
            if seen.holds == Holds::Finite || !reached.insert(seen.call) {
                continue;
            }
            // A NaN comes from a NaN where there is one: infinity may be meant, as in a mask.
            let of = |worst: Holds| {
                let operands = seen.operands.iter().copied();
                operands.filter(move |h| find(*h).is_some_and(|s| s.holds >= worst))
            };
            let nan = seen.holds == Holds::Nan && of(Holds::Nan).next().is_some();
            open.extend(of(if nan { Holds::Nan } else { Holds::Infinite }));
        }
        // Its operands come before it, so those of the earliest are finite.
        let first = self.seen.iter().find(|s| reached.contains(&s.call))?;
        let why = match first.operands.as_slice() {
            [] => format!("it holds {}", first.holds),
            _ => format!("its result holds {}, its operands don't", first.holds),
        };
        Some(Found { call: first.call, why })
    }

    /// The first operation of the backward pass that gives an operand a gradient that isn't finite.
    pub(crate) fn first_gradient(&self, loss: &Tensor<1>) -> Option<Found> {
        let gradients = loss.is_tracked().then(|| loss.backward())?;
        self.seen.iter().rev().find_map(|seen| {
            let of = |zero: &Tensor<4>| zero.grad(&gradients).map(|g| Holds::of_floats(&g));
            let holds = seen.zeros.iter().filter_map(of).max()?;
            let why = format!("the gradient that it gives holds {holds}, its result doesn't");
            (holds > Holds::Finite).then_some(Found { call: seen.call, why })
        })
    }
}

impl Holds {
    fn of(value: &Value) -> Self {
        match value {
            Value::Float(x) => Holds::of_floats(x),
            Value::Int(..) => Holds::Finite,
            Value::Number(x) => Holds::of_number(*x),
        }
    }

    fn of_floats(x: &Tensor<4>) -> Self {
        let numbers = x.clone().into_data();
        numbers.iter::<f64>().map(Holds::of_number).max().unwrap_or(Holds::Finite)
    }

    fn of_number(x: f64) -> Self {
        match x {
            x if x.is_nan() => Holds::Nan,
            x if x.is_infinite() => Holds::Infinite,
            _ => Holds::Finite,
        }
    }
}
