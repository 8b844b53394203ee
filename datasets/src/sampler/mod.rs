//! Which samples form the batches of an epoch: a pure function of seed and epoch. So seed, epoch and
//! step, which a checkpoint notes, are all there is to a sampler's state.
//!
//! A new one is one file beside `balanced.rs`, and one line in [`SAMPLERS`].

mod all_classes;
mod balanced;
mod random;
mod super_class;

pub use balanced::BalancedSampler;
pub use random::RandomSampler;
pub use super_class::SuperClassSampler;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::DataError;
use crate::part::{Part, Values};

/// All samplers.
pub static SAMPLERS: &[&Part<Make>] =
    &[&balanced::PART, &random::PART, &all_classes::PART, &super_class::PART];

/// Makes a sampler of its options and what it is to sample.
pub type Make = fn(&Values, &Samples) -> Result<Box<dyn Sampler>, DataError>;

/// What a sampler samples, and how much of it at a time.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// `[n]`: the class of each sample.
    pub labels: &'a [usize],
    /// `[classes]`: the super-class of each class, if there are any.
    pub super_labels: Option<&'a [usize]>,
    /// Samples in a batch.
    pub batch: usize,
    /// Samples of each class in a batch.
    pub images_per_class: usize,
    /// Seed of the order.
    pub seed: u64,
}

/// Deals the samples of an epoch into batches.
pub trait Sampler: Send + Sync {
    /// The batches of an epoch, each a list of sample indices.
    fn epoch(&self, epoch: u64) -> Vec<Vec<usize>>;

    /// How many there are, the same in each epoch and at least 1.
    fn batches_per_epoch(&self) -> usize;
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
