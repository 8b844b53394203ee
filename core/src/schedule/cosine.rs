//! Half a cosine.

use super::Schedule;
use retort_datasets::part::Part;
use retort_sdk::hyper;

hyper! {
    /// Half a cosine, down to 0 after the last epoch.
    ///
    /// Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, without restarts.
    pub struct Cosine {}
}

pub(super) static PART: Part<super::Make> = Part::of::<Cosine>("cosine", |_| Box::new(Cosine {}));

impl Schedule for Cosine {
    fn factor(&self, epoch: usize, epochs: usize) -> f64 {
        let share = epoch as f64 / epochs as f64;
        0.5 * (1.0 + (std::f64::consts::PI * share).cos())
    }
}
