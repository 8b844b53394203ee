//! Which samples form the batches of an epoch: a pure function of seed and epoch. So seed, epoch and
//! step, which a checkpoint notes, are all there is to a sampler's state.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::DataError;
use crate::random::{Purpose, stream};

/// Deals the samples of an epoch into batches.
pub trait Sampler: Send + Sync {
    /// The batches of an epoch, each a list of sample indices.
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>>;

    /// How many there are, the same in each epoch and at least 1.
    fn batches_per_epoch(&self) -> usize;
}

/// Every sample once an epoch, in random order. The last, smaller batch is left out.
#[derive(Debug)]
pub struct RandomSampler {
    len: usize,
    batch: usize,
    seed: u64,
}

impl RandomSampler {
    /// Batches of `batch` out of `len` samples.
    pub fn new(len: usize, batch: usize, seed: u64) -> Result<Self, DataError> {
        check_batch(len, batch)?;
        Ok(Self { len, batch, seed })
    }
}

impl Sampler for RandomSampler {
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.len).collect();
        order.shuffle(&mut stream(Purpose::Batches, [self.seed, epoch, 0, 0]));
        order.chunks_exact(self.batch).map(<[usize]>::to_vec).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.len / self.batch
    }
}

/// Class-balanced batches: each holds the same number of images of some classes, class after class.
///
/// Classes are dealt like cards: none comes again before all have come, and none twice in a batch.
/// So are the images of a class; only a class with fewer images than asked for repeats some within
/// a batch. An epoch has as many batches as fit into the number of samples. (The reference
/// implementation draws images with replacement, and makes smaller batches than asked for.)
#[derive(Debug)]
pub struct BalancedSampler {
    classes: Vec<Vec<usize>>,
    batches: usize,
    batch: usize,
    images_per_class: usize,
    seed: u64,
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

/// Cards that are dealt until none is left, then shuffled again.
struct Deck {
    cards: Vec<usize>,
    dealt: usize,
}

impl Deck {
    fn new(cards: Vec<usize>) -> Self {
        Self { dealt: cards.len(), cards }
    }

    /// `n` cards, all different if there are as many.
    fn deal(&mut self, n: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut hand = Vec::with_capacity(n);
        while hand.len() < n {
            if self.dealt == self.cards.len() {
                self.cards.shuffle(rng);
                // What this hand holds already comes last.
                let held = hand.len() % self.cards.len();
                let held = hand[hand.len() - held..].to_vec();
                self.cards.sort_by_key(|card| held.contains(card));
                self.dealt = 0;
            }
            hand.push(self.cards[self.dealt]);
            self.dealt += 1;
        }
        hand
    }
}

fn check_batch(len: usize, batch: usize) -> Result<(), DataError> {
    if batch == 0 {
        return Err(DataError::option("batch", "a batch of 0 images is empty", "Ask for more"));
    }
    if batch > len {
        return Err(DataError::option(
            "batch",
            format!("a batch of {batch} images is larger than the data set, which has {len}"),
            format!("Ask for at most {len}, or use more data"),
        ));
    }
    Ok(())
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
