//! Finds the operation in which a step's numbers stop being finite. It reads what every operation makes, so
//! it is for a step that has gone wrong and is done again.

use super::interpreter::Late;
use super::node::{Node, Value};
use burn::tensor::Tensor;
use std::collections::BTreeSet;

/// Looks at every operation of one step.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Whether the gradients of all operands are wanted.
    backward: bool,
    seen: Vec<Seen>,
    /// Zeros that were added to the operands of the operation that is computed.
    zeros: Vec<Tensor<4>>,
    result: usize,
}

/// One operation.
#[derive(Debug)]
struct Seen {
    node: usize,
    call: u64,
    operands: Vec<usize>,
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

    /// Takes down what the loss returned.
    pub(crate) fn returned(&mut self, node: usize) {
        self.result = node;
    }

    /// An operand of the operation that is computed next.
    pub(crate) fn operand(&mut self, value: Value) -> Value {
        match value {
            Value::Float(x) if self.backward && x.is_tracked() => {
                let zero = x.clone().detach().zeros_like().require_grad();
                self.zeros.push(zero.clone());
                Value::Float(x + zero)
            }
            other => other,
        }
    }

    /// What an operation made.
    pub(crate) fn made(&mut self, number: usize, node: &Node, value: &Value) {
        let zeros = std::mem::take(&mut self.zeros);
        if self.seen.iter().any(|seen| seen.node == number) {
            return;
        }
        let (operands, holds) = (node.operands.clone(), Holds::of(value));
        self.seen.push(Seen { node: number, call: node.call, operands, holds, zeros });
        // Those that a read wanted were computed first.
        self.seen.sort_by_key(|seen| seen.node);
    }

    /// The first operation on the way to the loss whose result isn't finite; none if the loss is.
    pub(crate) fn first_value(&self) -> Option<Late> {
        let find = |node: usize| self.seen.iter().find(|s| s.node == node);
        let (mut open, mut reached) = (vec![self.result], BTreeSet::new());
        while let Some(node) = open.pop() {
            let Some(seen) = find(node) else { continue };
            if seen.holds == Holds::Finite || !reached.insert(seen.call) {
                continue;
            }
            // A NaN comes from a NaN where there is one: infinity may be meant, as in a mask.
            let of = |worst: Holds| {
                let operands = seen.operands.iter().copied();
                operands.filter(move |o| find(*o).is_some_and(|s| s.holds >= worst))
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
        Some(Late { call: first.call, why })
    }

    /// The first operation of the backward pass that gives an operand a gradient that isn't finite.
    pub(crate) fn first_gradient(&self, loss: &Tensor<1>) -> Option<Late> {
        let gradients = loss.is_tracked().then(|| loss.backward())?;
        self.seen.iter().rev().find_map(|seen| {
            let of = |zero: &Tensor<4>| zero.grad(&gradients).map(|g| Holds::of_floats(&g));
            let holds = seen.zeros.iter().filter_map(of).max()?;
            let why = format!("the gradient that it gives holds {holds}, its result doesn't");
            (holds > Holds::Finite).then_some(Late { call: seen.call, why })
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
