//! What can go wrong with a loss.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a loss could not be computed, or its state not be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LossError {
    /// An operation failed; the first one of the step.
    #[error("{loss}: {failure}")]
    Step {
        /// Name of the loss.
        loss: String,
        /// What failed, and where.
        failure: Failure,
    },
    /// The loss says that it isn't defined on this batch; on another it may be.
    #[error("{loss} isn't defined on this batch: {why}")]
    Undefined {
        /// Name of the loss.
        loss: String,
        /// What the batch lacks.
        why: String,
    },
    /// The plugin's code ended without a result: it trapped, or ran out of its time or memory.
    #[error("{loss}: {fault}")]
    Fault {
        /// Name of the loss.
        loss: String,
        /// What happened.
        fault: String,
    },
    /// The user wanted to stop while the loss was computed.
    #[error("{loss} was stopped")]
    Stopped {
        /// Name of the loss.
        loss: String,
    },
    /// The result isn't one number.
    #[error(
        "{loss} returned a tensor of shape {shape:?}, but a loss is one number: reduce it with sum() or mean()"
    )]
    NotScalar {
        /// Name of the loss.
        loss: String,
        /// Shape of what it returned.
        shape: Vec<usize>,
    },
    /// Saved state doesn't belong to this loss.
    #[error("{loss}: {problem}")]
    State {
        /// Name of the loss.
        loss: String,
        /// What doesn't fit.
        problem: String,
    },
}

/// The first operation of a step that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The operation as an author writes it, with its operands' shapes: `sub of [8, 4] and [7, 4]`.
    pub what: String,
    /// Why.
    pub why: String,
    /// The plugin's source line, where it is known: `src/rkd.rs:31`.
    pub at: Option<String>,
    /// Whether the loss itself said that it isn't defined on the batch.
    pub undefined: bool,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.at.as_ref().map(|at| format!("at {at}"));
        let place: Vec<&str> = [self.what.as_str(), at.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect();
        if !place.is_empty() {
            write!(f, "{}: ", place.join(" "))?;
        }
        f.write_str(&self.why)
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    text.unwrap_or_else(|| "no reason given".to_owned())
}

/// A panic of the backend's, in a message.
pub(crate) fn refused(why: impl std::fmt::Display) -> String {
    format!("the backend refused: {why}")
}

impl LossError {
    /// The backend panicked while it computed a loss.
    pub fn refused(loss: &str, why: &str) -> Self {
        LossError::Fault { loss: loss.to_owned(), fault: refused(why) }
    }
}

/// Runs what may panic, such as what the backend computes; a panic is an error, in its own words.
pub fn guarded<T>(compute: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(compute)).map_err(|panic| panic_text(&*panic))
}
