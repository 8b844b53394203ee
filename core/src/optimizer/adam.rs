//! Adam.

use super::{Fused, Memory, Rates, Rule, decayed, mean};
use crate::kernel::Arithmetic;
use burn::tensor::Tensor;
use retort_datasets::part::{Part, read};
use retort_sdk::hyper;
use std::sync::Arc;

hyper! {
    /// Adam, with weight decay added to the gradient.
    ///
    /// Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    pub struct Adam {
        /// β₁, share of the old mean gradient.
        beta_1: f64 = 0.9 => 0.0..=0.999_999,
        /// β₂, share of the old mean squared gradient.
        beta_2: f64 = 0.999 => 0.0..=0.999_999_999,
        /// ε beside the root.
        epsilon: f64 = 1e-8 => 0.0..,
    }
}

pub(super) static PART: Part<super::Make> =
    Part::of::<Adam>("adam", |options| Arc::new(read::<Adam>(options)));

impl Rule for Adam {
    fn step(&self, x: Tensor<1>, g: Tensor<1>, memory: &mut Memory, rates: Rates) -> Tensor<1> {
        let g = decayed(&x, g, rates.weight_decay);
        self.moved(x, g, memory, rates.lr)
    }

    fn fused(&self, steps: u64, rates: Rates) -> Option<Fused> {
        let [left_1, left_2] = self.left(steps);
        Some(Fused {
            arithmetic: Arithmetic::Adam,
            shares: [self.beta_1, self.beta_2],
            epsilon: self.epsilon,
            coupled: rates.weight_decay,
            rate: rates.lr / left_1,
            root: left_2.sqrt(),
            keep: 1.0,
        })
    }
}

impl Adam {
    /// One step without weight decay.
    pub(super) fn moved(
        &self,
        x: Tensor<1>,
        g: Tensor<1>,
        memory: &mut Memory,
        lr: f64,
    ) -> Tensor<1> {
        let [left_1, left_2] = self.left(memory.steps);
        let m = mean(memory.first.take(), g.clone(), self.beta_1);
        let v = mean(memory.second.take(), g.square(), self.beta_2);
        (memory.first, memory.second) = (Some(m.clone()), Some(v.clone()));
        x - m * (lr / left_1) / (v.sqrt() / left_2.sqrt() + self.epsilon)
    }

    /// What the means, which began at 0, have of all gradients' weights.
    fn left(&self, steps: u64) -> [f64; 2] {
        [self.beta_1, self.beta_2].map(|beta| 1.0 - beta.powf(steps as f64))
    }
}
