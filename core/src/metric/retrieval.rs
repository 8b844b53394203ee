//! What a search has found, and the metrics that follow from it.

use super::Measure;
use std::collections::BTreeMap;

/// What a query's K nearest hold.
#[derive(Clone, Debug, PartialEq)]
struct Depth {
    k: usize,
    /// Samples of the query's class among them.
    hits: Vec<u32>,
    /// `Σ precision@i` over these.
    precision: Vec<f64>,
}

/// What is known of every query's neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Retrieval {
    labels: Vec<i64>,
    relevant: Vec<u32>,
    /// Rank of the first sample of the query's class, from 1; `u32::MAX` if past all interest.
    first: Vec<u32>,
    r_precision: Vec<f64>,
    average_precision: Vec<f64>,
    /// For each K of interest.
    depths: Vec<Depth>,
    /// Whether the device failed, or its products were coarser than `f32` arithmetic, so that the CPU
    /// had to do its work. The results are right all the same.
    pub device_refused: bool,
}

impl Retrieval {
    /// Queries of which nothing has been found yet.
    pub(super) fn new(queries: &[i64], gallery: &[i64], same: bool, lists: &[usize]) -> Self {
        let mut members: BTreeMap<i64, u32> = BTreeMap::new();
        for &class in gallery {
            *members.entry(class).or_default() += 1;
        }
        let relevant = |class| members.get(class).map_or(0, |&n: &u32| n - u32::from(same));
        let n = queries.len();
        Retrieval {
            labels: queries.to_vec(),
            relevant: queries.iter().map(relevant).collect(),
            first: vec![u32::MAX; n],
            r_precision: vec![0.0; n],
            average_precision: vec![0.0; n],
            depths: lists
                .iter()
                .map(|&k| Depth { k, hits: vec![0; n], precision: vec![0.0; n] })
                .collect(),
            device_refused: false,
        }
    }

    /// Notes the ranks of a query's own class, in order, as far as they matter.
    pub(super) fn add(&mut self, query: usize, ranks: impl Iterator<Item = usize>, r: usize) {
        let deepest = self.depths.iter().map(|depth| depth.k).fold(r, usize::max);
        for (i, rank) in ranks.enumerate() {
            if i == 0 {
                self.first[query] = rank as u32;
            }
            if rank > deepest {
                break;
            }
            let precision = (i + 1) as f64 / rank as f64;
            if rank <= r {
                self.r_precision[query] += 1.0 / r as f64;
                self.average_precision[query] += precision / r as f64;
            }
            for depth in self.depths.iter_mut().filter(|depth| rank <= depth.k) {
                depth.hits[query] += 1;
                depth.precision[query] += precision;
            }
        }
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no query.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Class of each query.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// R: other samples of the query's class.
    pub fn relevant(&self, query: usize) -> usize {
        self.relevant[query] as usize
    }

    /// Queries without another sample of their class.
    pub fn alone(&self) -> usize {
        self.relevant.iter().filter(|&&r| r == 0).count()
    }

    /// A query's part in a metric; none if the metric leaves it out.
    pub fn of(&self, measure: Measure, query: usize) -> Option<f64> {
        (measure.metric.of)(self, measure.k, query)
    }

    /// Rank of the first sample of the query's class, from 1; greater than any K of interest if it is past
    /// all of them.
    pub fn first(&self, query: usize) -> usize {
        self.first[query] as usize
    }

    /// Of the R nearest, the share that is of the query's class.
    pub fn r_precision(&self, query: usize) -> f64 {
        self.r_precision[query]
    }

    /// Average precision over the R nearest.
    pub fn average_precision(&self, query: usize) -> f64 {
        self.average_precision[query]
    }

    /// `[queries]`: samples of the query's class among its K nearest, of a search for lists.
    pub fn hits(&self, k: usize) -> Option<&[u32]> {
        self.depth(k).map(|depth| depth.hits.as_slice())
    }

    /// `[queries]`: `Σ precision@i` over these.
    pub fn precision(&self, k: usize) -> Option<&[f64]> {
        self.depth(k).map(|depth| depth.precision.as_slice())
    }

    fn depth(&self, k: usize) -> Option<&Depth> {
        self.depths.iter().find(|depth| depth.k == k)
    }

    /// The mean of a metric's means over each class, so that large classes count no more than small ones; NaN
    /// if it leaves out all.
    pub fn class_mean(&self, measure: Measure) -> f64 {
        let means = self.per_class(measure).into_values().map(|(_, mean)| mean);
        let (sum, count) = means
            .filter(|mean| !mean.is_nan())
            .fold((0.0, 0usize), |(sum, count), mean| (sum + mean, count + 1));
        sum / count as f64
    }

    /// A metric over all queries; NaN if it leaves out all.
    pub fn mean(&self, measure: Measure) -> f64 {
        let (sum, count) = (0..self.len())
            .filter_map(|query| self.of(measure, query))
            .fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
        sum / count as f64
    }

    /// A metric over the queries of each class: class, its queries, and NaN if it leaves out all.
    pub fn per_class(&self, measure: Measure) -> BTreeMap<i64, (usize, f64)> {
        let sums = self.class_sums(measure);
        let mean = |(sum, count, queries): (f64, usize, usize)| (queries, sum / count as f64);
        sums.into_iter().map(|(class, sums)| (class, mean(sums))).collect()
    }

    /// For each class: sum of a metric, queries that count in it, and all its queries.
    pub(super) fn class_sums(&self, measure: Measure) -> BTreeMap<i64, (f64, usize, usize)> {
        let mut sums: BTreeMap<i64, (f64, usize, usize)> = BTreeMap::new();
        for (query, class) in self.labels.iter().enumerate() {
            let of_class = sums.entry(*class).or_default();
            of_class.2 += 1;
            if let Some(value) = self.of(measure, query) {
                of_class.0 += value;
                of_class.1 += 1;
            }
        }
        sums
    }
}
