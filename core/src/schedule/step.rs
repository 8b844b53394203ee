//! A fall every few epochs.

use super::Schedule;
use retort_datasets::part::{Part, read};
use retort_sdk::hyper;

hyper! {
    /// Falls every few epochs.
    pub struct Step {
        /// Epochs between two falls.
        every: usize = 10 => 1..=1_000_000_000,
        /// γ, what the learning rate is multiplied with at each.
        gamma: f64 = 0.5 => 0.0..,
    }
}

pub(super) static PART: Part<super::Make> =
    Part::of::<Step>("step", |options| Box::new(read::<Step>(options)));

impl Schedule for Step {
    fn factor(&self, epoch: usize, _epochs: usize) -> f64 {
        self.gamma.powi((epoch / self.every) as i32)
    }
}
