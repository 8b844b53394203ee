//! Class-balanced epochs that leave no class out.

use retort_sdk::hyper;

use super::BalancedSampler;
use crate::part::Part;

hyper! {
    /// As `balanced`, with epochs long enough for every class to come.
    pub struct AllClasses {}
}

pub(super) static PART: Part<super::Make> = Part::of::<AllClasses>("all_classes", |_, of| {
    let sampler = BalancedSampler::all_classes(of.labels, of.batch, of.images_per_class, of.seed)?;
    Ok(Box::new(sampler))
});
