//! Everything of retort that computes with Burn: backbones, the interpreter that runs plugin
//! losses, training, metrics and checkpoints.

pub mod backbone;
pub mod checkpoint;
pub mod device;
mod example;
pub mod fs;
mod kernel;
mod loss;
pub mod metric;
pub mod random;
mod recipe;
pub mod trainer;

pub use example::example_batch;
pub use loss::{
    Failure, Feature, Inputs, Interpreter, Limits, Line, LossCode, LossError, LossParameters,
    Outcome, Session, Setup, Uploads, guarded, reshaped,
};
pub use recipe::{Method, OnUndefined, Precision, Recipe, Schedule};
