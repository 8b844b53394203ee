//! Talking to whoever sits before the terminal: all that is said, what foreign text may say, how far a training is.

pub mod clean;
#[cfg(unix)]
mod dashboard;
pub mod output;
pub mod progress;
