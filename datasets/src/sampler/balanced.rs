//! The same number of images of each of some classes.

use std::collections::BTreeMap;

use retort_sdk::hyper;

use super::{Deck, RandomSampler, Sampler, check_batch};
use crate::DataError;
use crate::part::Part;
use crate::random::{Purpose, stream};

hyper! {
    /// The same number of images of each of some classes (`images_per_class`); each image once in so many.
    ///
    /// Where images_per_class is 0, any samples.
    pub struct Balanced {}
}

pub(super) static PART: Part<super::Make> = Part::of::<Balanced>("balanced", |_, of| {
    if of.images_per_class == 0 {
        return Ok(Box::new(RandomSampler::new(of.labels.len(), of.batch, of.seed)?));
    }
    let sampler = BalancedSampler::new(of.labels, of.batch, of.images_per_class, of.seed)?;
    Ok(Box::new(sampler))
});

/// Class-balanced batches: each holds the same number of images of some classes, class after class.
///
/// Classes are dealt like cards: none comes again before all have come, and none twice in a batch.
/// So are the images of a class; only a class with fewer images than asked for repeats some within
/// a batch. An epoch has as many batches as fit into the number of samples. (The reference
/// implementation draws images with replacement, and makes smaller batches than asked for.)
#[derive(Debug)]
pub struct BalancedSampler {
    pub(super) classes: Vec<Vec<usize>>,
    pub(super) batches: usize,
    pub(super) batch: usize,
    pub(super) images_per_class: usize,
    pub(super) seed: u64,
}

impl BalancedSampler {
    /// Batches of `batch` samples with `images_per_class` of each class; `labels[i]` is the class of
    /// sample `i`. A batch must divide evenly, and hold at least two classes.
    pub fn new(
        labels: &[usize],
        batch: usize,
        images_per_class: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        check_batch(labels.len(), batch)?;
        let mut by_class: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (sample, &label) in labels.iter().enumerate() {
            by_class.entry(label).or_default().push(sample);
        }
        check_balance(&by_class, batch, images_per_class)?;
        let classes = by_class.into_values().collect();
        Ok(Self { classes, batches: labels.len() / batch, batch, images_per_class, seed })
    }

    /// The same with epochs long enough for every class to come at least once, even if classes have
    /// fewer images than a batch takes of them.
    pub fn all_classes(
        labels: &[usize],
        batch: usize,
        images_per_class: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let sampler = Self::new(labels, batch, images_per_class, seed)?;
        let needed = sampler.classes.len().div_ceil(batch / images_per_class);
        Ok(Self { batches: sampler.batches.max(needed), ..sampler })
    }

    /// The batches of an epoch, each a list of sample indices, class after class.
    pub fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let rng = &mut stream(Purpose::Batches, [self.seed, epoch, 0, 0]);
        let mut classes = Deck::new((0..self.classes.len()).collect());
        let mut images: Vec<Deck> = self.classes.iter().cloned().map(Deck::new).collect();
        let batch = |_| {
            let classes = classes.deal(self.batch / self.images_per_class, rng);
            let mut images = |class: usize| images[class].deal(self.images_per_class, rng);
            classes.into_iter().flat_map(&mut images).collect()
        };
        (0..self.batches_per_epoch()).map(batch).collect()
    }

    /// How many batches an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        self.batches
    }
}

impl Sampler for BalancedSampler {
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        self.epoch(epoch)
    }

    fn batches_per_epoch(&self) -> usize {
        self.batches_per_epoch()
    }
}

fn check_balance(
    classes: &BTreeMap<usize, Vec<usize>>,
    batch: usize,
    images_per_class: usize,
) -> Result<(), DataError> {
    if classes.len() < 2 {
        return Err(DataError::option(
            "data set",
            "all images are of one class, so there is nothing to tell apart",
            "Use a data set with at least 2 classes",
        ));
    }
    let error = |problem, advice| Err(DataError::option("images-per-class", problem, advice));
    if images_per_class == 0 {
        return error("0 images of each class make no batch".into(), "Ask for at least 1".into());
    }
    if let Some((class, images)) = classes.iter().max_by_key(|(_, images)| images.len())
        && images_per_class > images.len()
    {
        let most = images.len();
        return error(
            format!(
                "{images_per_class} is more than any class has: the largest, class {class}, has {most} images"
            ),
            format!("Ask for at most {most}"),
        );
    }
    if !batch.is_multiple_of(images_per_class) {
        let below = batch / images_per_class * images_per_class;
        return error(
            format!(
                "a batch of {batch} does not divide into classes with {images_per_class} images each"
            ),
            format!("A batch of {} would", below.max(2 * images_per_class)),
        );
    }
    match batch / images_per_class {
        1 => error(
            format!(
                "with {images_per_class} images of each class, a batch of {batch} holds one class only, with nothing to tell it from"
            ),
            format!(
                "Ask for a batch of at least {}, or for fewer images of each class",
                2 * images_per_class
            ),
        ),
        needed if needed > classes.len() => error(
            format!(
                "a batch of {batch} with {images_per_class} images of each class needs {needed} classes, but there are {}",
                classes.len()
            ),
            format!(
                "Ask for a batch of at most {}, or for more images of each class",
                classes.len() * images_per_class
            ),
        ),
        _ => Ok(()),
    }
}
