//! A loss by itself, without a training: on a batch of plain numbers, checked, pinned.

pub mod case;
pub mod check;
pub mod evaluation;
pub mod pin;
pub mod probe;
pub mod tensors;
