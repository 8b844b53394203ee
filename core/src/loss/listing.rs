//! A recorded step as text: one line an operation, with shapes and the plugin's lines.

use super::error::LossError;
use super::inputs::Inputs;
use super::interpreter::{Interpreter, Late};
use super::session::Session;

/// One operation of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// As a formula: `%5 = sub %3 %4`.
    pub formula: String,
    /// Shape of its result, `[]` for one number.
    pub shape: Vec<usize>,
    /// What is known of it: whether a gradient flows through, whether it is the same in every step.
    pub facts: String,
    /// The plugin's line, where it says so: `src/rkd.rs:31`.
    pub at: Option<String>,
}

impl Session {
    /// The operations that the loss asks for in a step on `inputs`, in their order; one that it asks for twice
    /// stands there once. Nothing of the step lands.
    ///
    /// A plugin says its lines only when an operation fails, so the loss runs once more for each.
    pub fn listing(&mut self, inputs: &Inputs) -> Result<Vec<Line>, LossError> {
        self.step(inputs)?;
        let (mut lines, calls) = self.interpreter()?.lines();
        self.discard();
        for (line, call) in lines.iter_mut().zip(calls) {
            let found = self.failing_at(inputs, Late { call, why: String::new() });
            line.at = found.and_then(|failure| failure.at).filter(|at| !at.is_empty());
            self.discard();
        }
        Ok(lines)
    }
}

impl Interpreter {
    /// The lines of the step, without the plugin's, and the call of each.
    fn lines(&self) -> (Vec<Line>, Vec<u64>) {
        let line = |(i, node): (usize, &super::node::Node)| {
            let mut words = vec![format!("%{i} = {}", node.op)];
            if !node.name.is_empty() {
                words.push(format!("`{}`", node.name));
            }
            words.extend(node.operands.iter().map(|operand| format!("%{operand}")));
            let number = |x: &f64| format!("{x:?}").trim_end_matches(".0").to_owned();
            let mut numbers: Vec<String> = node.attributes.iter().take(6).map(number).collect();
            if node.attributes.len() > 6 {
                numbers.push("…".to_owned());
            }
            if !numbers.is_empty() {
                words.push(format!("({})", numbers.join(", ")));
            }
            let facts = match (node.facts.tracked(), node.constant) {
                (true, _) => "gradient",
                (false, Some(_)) => "same in every step",
                (false, None) => "",
            };
            let shape = node.shape.dims().to_vec();
            Line { formula: words.join(" "), shape, facts: facts.to_owned(), at: None }
        };
        let lines = self.nodes.iter().enumerate().map(line).collect();
        (lines, self.nodes.iter().map(|node| node.call).collect())
    }
}
