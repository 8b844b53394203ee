//! How the learning rate falls over the epochs. One file each; a new one is one line in [`SCHEDULES`].

mod constant;
mod cosine;
mod step;

use retort_datasets::part::{Part, Values};

/// All schedules.
pub static SCHEDULES: &[&Part<Make>] = &[&cosine::PART, &step::PART, &constant::PART];

/// Makes a schedule of its options.
pub type Make = fn(&Values) -> Box<dyn Schedule>;

/// What the learning rate is multiplied with.
pub trait Schedule {
    /// In an epoch, from 0, of a training of so many; those of the warm-up aren't counted.
    fn factor(&self, epoch: usize, epochs: usize) -> f64;
}
