//! Stochastic gradient descent.

use super::{Fused, Memory, Rates, Rule, decayed};
use crate::kernel::Arithmetic;
use burn::tensor::Tensor;
use retort_datasets::part::{Part, read};
use retort_sdk::hyper;
use std::sync::Arc;

hyper! {
    /// Stochastic gradient descent with momentum.
    ///
    /// Sutskever, Martens, Dahl & Hinton, "On the Importance of Initialization and Momentum in Deep Learning",
    /// ICML 2013; in PyTorch's form, without dampening.
    pub struct Sgd {
        /// Share of the old velocity.
        momentum: f64 = 0.9 => 0.0..=0.999_999,
        /// Whether the momentum is Nesterov's.
        nesterov: bool = true,
    }
}

pub(super) static PART: Part<super::Make> =
    Part::of::<Sgd>("sgd", |options| Arc::new(read::<Sgd>(options)));

impl Rule for Sgd {
    fn step(&self, x: Tensor<1>, g: Tensor<1>, memory: &mut Memory, rates: Rates) -> Tensor<1> {
        let g = decayed(&x, g, rates.weight_decay);
        let velocity = match memory.first.take() {
            Some(old) => old * self.momentum + g.clone(),
            None => g.clone(),
        };
        memory.first = Some(velocity.clone());
        let step = if self.nesterov { g + velocity * self.momentum } else { velocity };
        x - step * rates.lr
    }

    fn fused(&self, _steps: u64, rates: Rates) -> Option<Fused> {
        Some(Fused {
            arithmetic: if self.nesterov { Arithmetic::Nesterov } else { Arithmetic::Momentum },
            shares: [self.momentum, 0.0],
            epsilon: 0.0,
            coupled: rates.weight_decay,
            rate: rates.lr,
            root: 1.0,
            keep: 1.0,
        })
    }
}
