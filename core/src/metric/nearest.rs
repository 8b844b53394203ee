//! The K nearest samples of a gallery, in exact order.

use super::product::{Product, Tile};
use super::rows::{Frame, Pair, Rows, pieces};
use super::{Distance, Embeddings, MetricError, Search};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The nearest samples of each query, nearest first, equal ones by index.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Neighbours of each query.
    pub k: usize,
    /// Index in the gallery, `[queries, k]`.
    pub samples: Vec<u32>,
    /// Distance in `f64`, `[queries, k]`: Euclidean, or one minus the cosine.
    pub distances: Vec<f64>,
}

/// Samples that may be among a query's nearest.
struct List {
    query: usize,
    /// A scaled squared distance that the k-th nearest surely doesn't exceed.
    limit: f64,
    /// Greatest scaled squared distance that a sample can have, and the sample.
    found: Vec<(f64, u32)>,
}

impl List {
    /// Takes in the query's products with a part of the gallery.
    fn take(&mut self, dots: &[f32], gallery: &Range<usize>, k: usize, pair: &Pair) {
        let near = &pair.gallery.near[gallery.clone()];
        let mut b = self.bound(pair);
        if dots.iter().zip(near).map(|(&dot, &near)| u32::from(dot >= near + b)).sum::<u32>() == 0 {
            return;
        }
        for (sample, (&dot, &near)) in gallery.clone().zip(dots.iter().zip(near)) {
            if dot >= near + b {
                let (_, upper) = pair.bounds(self.query, sample, dot);
                self.found.push((upper, sample as u32));
                if self.found.len() == self.found.capacity() {
                    self.prune(k, pair);
                    b = self.bound(pair);
                }
            }
        }
    }

    fn bound(&self, pair: &Pair) -> f32 {
        pair.frame.maybe(pair.queries.norms[self.query], self.limit)
    }

    /// Drops samples that k others surely precede; by exact distances if too many are left.
    fn prune(&mut self, k: usize, pair: &Pair) {
        if self.found.len() <= k {
            return;
        }
        let (_, kth, _) = self.found.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0));
        self.limit = self.limit.min(kth.0);
        let (query, limit, norms) = (self.query, self.limit, &pair.gallery.norms);
        let error =
            |sample: u32| pair.frame.error(pair.queries.norms[query] + norms[sample as usize]);
        self.found.retain(|&(upper, sample)| upper - 2.0 * error(sample) <= limit);
        if self.found.len() > self.found.capacity() / 2 + k / 2 {
            let kept = self.exact(k, pair);
            self.found.retain(|&(_, sample)| kept.iter().any(|&(_, other)| other == sample));
        }
    }

    /// The k nearest of what was found, with their squared distances.
    fn exact(&self, k: usize, pair: &Pair) -> Vec<(f64, u32)> {
        let distance =
            |&(_, sample): &(f64, u32)| (pair.exact(self.query, sample as usize), sample);
        let mut all: Vec<(f64, u32)> = self.found.iter().map(distance).collect();
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        all
    }
}

impl Search {
    /// The k nearest samples of a gallery to each query, none left out. Memory: 16 bytes for each of
    /// a query's `2k + 64` candidates, as many queries at a time as fit, and the result.
    pub fn nearest(
        &self,
        queries: &Embeddings,
        gallery: &Embeddings,
        k: usize,
    ) -> Result<Neighbours, MetricError> {
        let (queries, gallery) =
            (&*queries.prepared(self.distance)?, &*gallery.prepared(self.distance)?);
        if queries.dim != gallery.dim {
            let (queries, gallery) = (queries.dim, gallery.dim);
            return Err(MetricError::Dimensions { queries, gallery });
        }
        if k == 0 || k > gallery.len() {
            return Err(MetricError::TooFew { k, others: gallery.len() });
        }
        let frame = Frame::new(gallery, queries);
        let (of_queries, of_gallery) = (Rows::new(queries, &frame), Rows::new(gallery, &frame));
        let pair = Pair { frame: &frame, queries: &of_queries, gallery: &of_gallery };
        let device = self.device.as_ref();
        let product = Product::new(&frame, gallery.dim, device, self.threads, self.memory / 2);
        let candidates = 2 * k + 64;
        let room = self.memory / 2 / (product.threads * candidates * size_of::<(f64, u32)>());
        let blocks: Vec<Range<usize>> =
            pieces(0..queries.len(), product.side.min(room).max(1)).collect();
        let empty = (vec![0u32; queries.len() * k], vec![0.0f64; queries.len() * k]);
        let (next, result) = (AtomicUsize::new(0), Mutex::new(empty));
        let work = || {
            let mut tile = Tile::default();
            while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let mut lists: Vec<List> = block
                    .clone()
                    .map(|query| {
                        let found = Vec::with_capacity(candidates);
                        List { query, limit: f64::INFINITY, found }
                    })
                    .collect();
                for part in pieces(0..gallery.len(), product.side) {
                    let queries = (pair.queries, block.clone());
                    product.blocks(&mut tile, queries, (pair.gallery, part.clone()));
                    for (list, dots) in lists.iter_mut().zip(tile.dots.chunks_exact(part.len())) {
                        list.take(dots, &part, k, &pair);
                    }
                }
                for list in &mut lists {
                    list.prune(k, &pair);
                    let nearest = list.exact(k, &pair);
                    let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
                    for (i, (squared, sample)) in nearest.into_iter().enumerate() {
                        result.0[list.query * k + i] = sample;
                        result.1[list.query * k + i] = match self.distance {
                            Distance::Euclidean => squared.sqrt(),
                            Distance::Cosine => squared / 2.0,
                        };
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..product.threads.min(blocks.len()) {
                scope.spawn(work);
            }
        });
        let (samples, distances) = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Neighbours { k, samples, distances })
    }
}
