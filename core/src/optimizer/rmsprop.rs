//! RMSprop.

use super::{Fused, Memory, Rates, Rule, decayed, mean};
use crate::kernel::Arithmetic;
use burn::tensor::Tensor;
use retort_datasets::part::{Part, read};
use retort_sdk::hyper;
use std::sync::Arc;

hyper! {
    /// RMSprop with momentum.
    ///
    /// Tieleman & Hinton, "Lecture 6.5: RMSProp", Coursera, 2012; in PyTorch's form.
    pub struct RmsProp {
        /// α, share of the old mean squared gradient.
        alpha: f64 = 0.9 => 0.0..=0.999_999,
        /// Share of the old velocity.
        momentum: f64 = 0.9 => 0.0..=0.999_999,
        /// ε beside the root.
        epsilon: f64 = 1e-8 => 0.0..,
    }
}

pub(super) static PART: Part<super::Make> =
    Part::of::<RmsProp>("rmsprop", |options| Arc::new(read::<RmsProp>(options)));

impl Rule for RmsProp {
    fn step(&self, x: Tensor<1>, g: Tensor<1>, memory: &mut Memory, rates: Rates) -> Tensor<1> {
        let g = decayed(&x, g, rates.weight_decay);
        let square = mean(memory.second.take(), g.clone().square(), self.alpha);
        let scaled = g / (square.clone().sqrt() + self.epsilon);
        let velocity = match memory.first.take() {
            Some(old) => old * self.momentum + scaled,
            None => scaled,
        };
        (memory.first, memory.second) = (Some(velocity.clone()), Some(square));
        x - velocity * rates.lr
    }

    fn fused(&self, _steps: u64, rates: Rates) -> Option<Fused> {
        Some(Fused {
            arithmetic: Arithmetic::RmsProp,
            shares: [self.momentum, self.alpha],
            epsilon: self.epsilon,
            coupled: rates.weight_decay,
            rate: rates.lr,
            root: 1.0,
            keep: 1.0,
        })
    }
}
