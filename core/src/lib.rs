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
pub mod optimizer;
pub mod random;
mod recipe;
pub mod schedule;
mod settings;
pub mod tensors;
pub mod trainer;

pub use example::example_batch;
pub use loss::{
    Failure, Feature, Inputs, Interpreter, Limits, Line, LossCode, LossError, LossParameters,
    Outcome, Session, Setup, Uploads, guarded, reshaped,
};
pub use recipe::{OnUndefined, Precision, Recipe};
pub use settings::Setting;
#[doc(hidden)]
pub use settings::check as check_setting;
