//! A loss in a run: what a plugin asks for is recorded, with every shape worked out and every limit
//! watched (`interpreter`, `rules`, `offer`), and computed on Burn when a number is wanted (`run`).

mod bounds;
mod budget;
mod constants;
mod contrast;
mod error;
mod inputs;
mod interpreter;
mod limits;
mod listing;
mod node;
mod offer;
mod order;
mod rules;
mod run;
mod session;
mod state;
mod watch;

pub use error::{Failure, LossError, guarded};
pub use inputs::{Feature, Inputs, Uploads};
pub use interpreter::Interpreter;
pub use limits::Limits;
pub use listing::Line;
pub use node::reshaped;
pub use session::{LossCode, LossParameters, Outcome, Session, Setup};
