//! Samples of other classes, drawn at random.

use super::node::Fallible;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// What random samples of other classes are drawn from.
#[derive(Debug, Default)]
pub(crate) struct Contrast {
    pub(crate) ids: Vec<i64>,
    pub(crate) views: usize,
    pub(crate) samples: usize,
    /// Class of every sample in the training set.
    pub(crate) labels: Arc<[i64]>,
}

impl Contrast {
    /// Each row's own id, then `k` random ones; views of a sample share them. `[n, 1 + k]`
    /// `go_on` is asked now and then: where nearly all samples are of one class, this takes long.
    pub(crate) fn draw(
        &self,
        k: usize,
        other_classes: bool,
        stream: &mut ChaCha8Rng,
        go_on: &mut dyn FnMut() -> Fallible<()>,
    ) -> Fallible<Vec<i64>> {
        const TRIES: u32 = 1 << 16;
        let (n, samples) = (self.ids.len(), self.samples);
        let distinct = (n / self.views.max(1)).max(1);
        let mut tries = 0u32;
        let mut out: Vec<i64> = Vec::with_capacity(n * (1 + k));
        for (row, &id) in self.ids.iter().enumerate() {
            let first = row % distinct;
            if self.ids[first] == id && first != row {
                out.extend_from_within(first * (1 + k)..(first + 1) * (1 + k));
                continue;
            }
            out.push(id);
            if !other_classes {
                out.extend((0..k).map(|_| stream.random_range(0..samples as u64) as i64));
                continue;
            }
            let class = |id: i64| usize::try_from(id).ok().and_then(|i| self.labels.get(i));
            let own = class(id).ok_or_else(|| {
                format!("sample {id} is not among the {samples} of the training set")
            })?;
            for _ in 0..k {
                out.push(loop {
                    tries = tries.wrapping_add(1);
                    if tries.is_multiple_of(TRIES) {
                        go_on()?;
                    }
                    let drawn = stream.random_range(0..self.labels.len() as u64);
                    if self.labels[drawn as usize] != *own {
                        break drawn as i64;
                    }
                });
            }
        }
        Ok(out)
    }
}
