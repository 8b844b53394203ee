//! Adam with weight decay apart.

use super::adam::Adam;
use super::{Fused, Memory, Rates, Rule};
use burn::tensor::Tensor;
use retort_datasets::part::{Part, read};
use retort_sdk::hyper;
use std::sync::Arc;

hyper! {
    /// Adam, with weight decay apart from the gradient.
    ///
    /// Loshchilov & Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    pub struct AdamW {
        /// β₁, share of the old mean gradient.
        beta_1: f64 = 0.9 => 0.0..=0.999_999,
        /// β₂, share of the old mean squared gradient.
        beta_2: f64 = 0.999 => 0.0..=0.999_999_999,
        /// ε beside the root.
        epsilon: f64 = 1e-8 => 0.0..,
    }
}

pub(super) static PART: Part<super::Make> =
    Part::of::<AdamW>("adamw", |options| Arc::new(read::<AdamW>(options)));

impl AdamW {
    fn adam(&self) -> Adam {
        Adam { beta_1: self.beta_1, beta_2: self.beta_2, epsilon: self.epsilon }
    }
}

impl Rule for AdamW {
    fn step(&self, x: Tensor<1>, g: Tensor<1>, memory: &mut Memory, rates: Rates) -> Tensor<1> {
        let decay = rates.weight_decay;
        let x = if decay == 0.0 { x } else { x * (1.0 - rates.lr * decay) };
        self.adam().moved(x, g, memory, rates.lr)
    }

    fn fused(&self, steps: u64, rates: Rates) -> Option<Fused> {
        let fused = self.adam().fused(steps, rates)?;
        Some(Fused { coupled: 0.0, keep: 1.0 - rates.lr * rates.weight_decay, ..fused })
    }
}
