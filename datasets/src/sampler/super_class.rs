//! Classes that are hard to tell apart.

use std::collections::BTreeMap;

use retort_sdk::hyper;

use super::{BalancedSampler, Deck, Sampler};
use crate::DataError;
use crate::part::Part;
use crate::random::{Purpose, stream};

hyper! {
    /// As `balanced`, with classes of two super-classes, where the data set has those.
    pub struct SuperClass {}
}

pub(super) static PART: Part<super::Make> = Part::of::<SuperClass>("super_class", |_, of| {
    let groups = of.super_labels.unwrap_or_default();
    let (batch, ipc) = (of.batch, of.images_per_class);
    Ok(Box::new(SuperClassSampler::new(of.labels, groups, batch, ipc, of.seed)?))
});

/// Batches of similar classes, which are hard to tell apart: each holds classes of two super-classes,
/// in equal parts, and the same number of images of each class.
///
/// Super-classes, the classes of each, and the images of each are dealt like cards. Where two have
/// too few classes for a batch, more take part. (pytorch-metric-learning's `HierarchicalSampler` with
/// two super-classes a batch, without its repeats.)
#[derive(Debug)]
pub struct SuperClassSampler {
    /// The classes of each super-class.
    groups: Vec<Vec<usize>>,
    balanced: BalancedSampler,
}

impl SuperClassSampler {
    /// As [`BalancedSampler::new`]; `super_labels[c]` is the super-class of class `c`.
    pub fn new(
        labels: &[usize],
        super_labels: &[usize],
        batch: usize,
        images_per_class: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let balanced = BalancedSampler::new(labels, batch, images_per_class, seed)?;
        let present: std::collections::BTreeSet<usize> = labels.iter().copied().collect();
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (class, label) in present.into_iter().enumerate() {
            let Some(&group) = super_labels.get(label) else {
                let problem = format!("class {label} belongs to no super-class");
                return Err(DataError::option("sampler", problem, "Use sampler = \"balanced\""));
            };
            groups.entry(group).or_default().push(class);
        }
        Ok(Self { groups: groups.into_values().collect(), balanced })
    }

    /// How many super-classes any batch needs, and how many classes it takes of one at most.
    fn hand(&self) -> (usize, usize) {
        let classes = self.balanced.batch / self.balanced.images_per_class;
        let share = classes.div_ceil(2);
        let mut sizes: Vec<usize> =
            self.groups.iter().map(|group| group.len().min(share)).collect();
        sizes.sort_unstable();
        let mut sum = 0;
        let enough = sizes.iter().position(|size| {
            sum += size;
            sum >= classes
        });
        match enough {
            Some(last) => ((last + 1).max(2).min(sizes.len()), share),
            None => (sizes.len(), classes),
        }
    }
}

impl Sampler for SuperClassSampler {
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let of = &self.balanced;
        let rng = &mut stream(Purpose::Batches, [of.seed, epoch, 0, 0]);
        let mut groups = Deck::new((0..self.groups.len()).collect());
        let mut classes: Vec<Deck> = self.groups.iter().cloned().map(Deck::new).collect();
        let mut images: Vec<Deck> = of.classes.iter().cloned().map(Deck::new).collect();
        let (hand, share) = self.hand();
        let batch = |_| {
            let mut missing = of.batch / of.images_per_class;
            let mut batch = Vec::with_capacity(of.batch);
            for group in groups.deal(hand, rng) {
                let take = self.groups[group].len().min(share).min(missing);
                missing -= take;
                for class in classes[group].deal(take, rng) {
                    batch.extend(images[class].deal(of.images_per_class, rng));
                }
            }
            batch
        };
        (0..of.batches).map(batch).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.balanced.batches
    }
}
