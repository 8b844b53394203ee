//! Samples in random order.

use rand::seq::SliceRandom;
use retort_sdk::hyper;

use super::{Sampler, check_batch};
use crate::DataError;
use crate::part::Part;
use crate::random::{Purpose, stream};

hyper! {
    /// Any samples.
    pub struct Random {}
}

pub(super) static PART: Part<super::Make> = Part::of::<Random>("random", |_, of| {
    Ok(Box::new(RandomSampler::new(of.labels.len(), of.batch, of.seed)?))
});

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
