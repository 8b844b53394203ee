//! Everything of retort that computes with Burn: backbones, the interpreter that runs plugin
//! losses, training, metrics and checkpoints.

pub mod backbone;
mod bounds;
mod budget;
pub mod checkpoint;
pub mod device;
mod error;
mod example;
pub mod fs;
mod interpreter;
mod limits;
pub mod metric;
pub mod random;
mod recipe;
mod session;
pub mod trainer;
mod watch;

pub use error::{Failure, LossError, guarded};
pub use example::example_batch;
pub use interpreter::{Interpreter, reshaped};
pub use limits::Limits;
pub use recipe::{Method, OnUndefined, Precision, Recipe, Schedule};
pub use session::{Feature, Inputs, LossCode, LossParameters, Outcome, Session, Setup};
