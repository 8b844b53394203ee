//! A learning rate that stays.

use super::Schedule;
use retort_datasets::part::Part;
use retort_sdk::hyper;

hyper! {
    /// The same in all epochs.
    pub struct Constant {}
}

pub(super) static PART: Part<super::Make> =
    Part::of::<Constant>("constant", |_| Box::new(Constant {}));

impl Schedule for Constant {
    fn factor(&self, _epoch: usize, _epochs: usize) -> f64 {
        1.0
    }
}
