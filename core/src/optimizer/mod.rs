//! How parameters are updated, with PyTorch's arithmetic. One file each; a new one is one line in
//! [`OPTIMIZERS`].
//!
//! Burn's own optimisers keep β, momentum and the like in 32 bits, which moves a 64-bit training by
//! 1e-5 in its first steps (1 - 0.999 has four digits then), and its RMSprop adds ε inside the root.

mod adam;
mod adamw;
mod rmsprop;
mod sgd;

use crate::kernel::Arithmetic;
use burn::tensor::Tensor;
use retort_datasets::part::{Part, Values};
use std::fmt::Debug;
use std::sync::Arc;

/// All optimisers.
pub static OPTIMIZERS: &[&Part<Make>] = &[&adamw::PART, &adam::PART, &sgd::PART, &rmsprop::PART];

/// Makes an optimiser's rule of its options.
pub type Make = fn(&Values) -> Arc<dyn Rule>;

/// What is remembered of one parameter; flat, because nothing here depends on its shape.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Updates so far, this one included: a parameter that gets its first gradient late starts at 1 then.
    pub steps: u64,
    /// Mean gradient, or velocity, `[len]`.
    pub first: Option<Tensor<1>>,
    /// Mean squared gradient, `[len]`.
    pub second: Option<Tensor<1>>,
}

/// What a step of a parameter is made with.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
}

/// The arithmetic of an optimiser.
pub trait Rule: Debug + Send + Sync {
    /// A parameter `x` after one step along its gradient `g`, all `[len]`.
    fn step(&self, x: Tensor<1>, g: Tensor<1>, memory: &mut Memory, rates: Rates) -> Tensor<1>;

    /// The same as numbers for the kernel that moves all parameters of a GPU at once, in a parameter's
    /// `steps`-th update; none if the kernel can't.
    fn fused(&self, _steps: u64, _rates: Rates) -> Option<Fused> {
        None
    }
}

/// A rule as the kernel takes it.
#[derive(Clone, Copy, Debug)]
pub struct Fused {
    /// Which arithmetic.
    pub arithmetic: Arithmetic,
    /// Shares of the old first and second moment.
    pub shares: [f64; 2],
    /// ε beside the root.
    pub epsilon: f64,
    /// Weight decay that is added to gradients.
    pub coupled: f64,
    /// What the step is multiplied with.
    pub rate: f64,
    /// What the root of the second moment is divided by.
    pub root: f64,
    /// What the parameter is multiplied with: decoupled weight decay.
    pub keep: f64,
}

/// A gradient with weight decay added to it.
fn decayed(x: &Tensor<1>, g: Tensor<1>, weight_decay: f64) -> Tensor<1> {
    if weight_decay > 0.0 { g + x.clone() * weight_decay } else { g }
}

/// A running mean that begins at 0.
fn mean(old: Option<Tensor<1>>, new: Tensor<1>, share: f64) -> Tensor<1> {
    match old {
        Some(old) => old * share + new * (1.0 - share),
        None => new * (1.0 - share),
    }
}
