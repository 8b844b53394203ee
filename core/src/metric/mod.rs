//! How good embeddings are at retrieval and clustering.
//!
//! Neighbours are ordered by their `f64` distance of the `f32` rows, equal ones by index, and the
//! query is left out by its index. The order is exact, though almost all of the work is an `f32`
//! product: `rows.rs` bounds what the product can be off, and only pairs within that are looked at
//! again. No list of neighbours and no matrix of distances is ever kept: `rank.rs` counts.

mod bootstrap;
mod difference;
mod information;
mod kmeans;
mod measure;
mod nearest;
mod product;
mod projection;
mod rank;
mod retrieval;
mod rows;
mod statistics;

pub use bootstrap::{Interval, Unit, bootstrap};
pub use difference::{central, richardson};
pub use information::{adjusted_mutual_information, normalized_mutual_information};
pub use kmeans::{Clusters, kmeans};
pub use measure::{METRICS, Measure, Metric, Needs};
pub use nearest::Neighbours;
pub use projection::{pca, tsne};
pub use retrieval::Retrieval;
pub use statistics::{deviation, mean, paired_t, separation};

use burn::tensor::Device;
use std::borrow::Cow;

/// Embeddings of a data set, one row a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// `[n, dim]`, row-major.
    pub rows: Vec<f32>,
    /// Dimensions of a row.
    pub dim: usize,
    /// Class of each row, `[n]`.
    pub labels: Vec<i64>,
}

/// What nearness is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distance {
    /// Euclidean distance.
    #[default]
    Euclidean,
    /// One minus the cosine: the order of Euclidean distances between rows of length 1, rounded to
    /// `f32`.
    Cosine,
}

/// Which sample is no neighbour of a query that is itself in the gallery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exclude {
    /// The query, by its index.
    #[default]
    Query,
    /// The first neighbour, whoever it is: the way of the paper's own code. Where a sample with a
    /// smaller index has the same embedding, that one is dropped, and the query stays in its own
    /// list, as a hit.
    FirstNeighbour,
}

/// How neighbours are searched for.
#[derive(Clone, Debug)]
pub struct Search {
    /// What nearness is.
    pub distance: Distance,
    /// Which sample is left out, where queries and gallery are the same samples.
    pub exclude: Exclude,
    /// Whether precision@K and MAP@K are wanted, for which every rank up to K matters: more work for a large K.
    pub lists: bool,
    /// Bytes that the search may hold beside the embeddings.
    pub memory: usize,
    /// Threads; 0 takes all of the machine. They change no result.
    pub threads: usize,
    /// Where products are computed; none, and Burn's CPU, take the CPU.
    pub device: Option<Device>,
}

impl Default for Search {
    fn default() -> Self {
        Search {
            distance: Distance::Euclidean,
            exclude: Exclude::Query,
            lists: false,
            memory: 512 << 20,
            threads: 0,
            device: None,
        }
    }
}

/// Why a metric isn't defined.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// A K that no query can have.
    #[error(
        "K = {k} needs {k} neighbours, but a query has {others} in all: use a smaller K or more data"
    )]
    TooFew {
        /// The K asked for.
        k: usize,
        /// Neighbours there are.
        others: usize,
    },
    /// An embedding isn't a number.
    #[error(
        "the embedding of sample {row} is not finite (counted from 0): the network has diverged"
    )]
    NotFinite {
        /// The sample's row.
        row: usize,
    },
    /// An embedding has no direction.
    #[error("the embedding of sample {row} is all zeros (counted from 0): it has no cosine")]
    Zero {
        /// The sample's row.
        row: usize,
    },
    /// Rows and labels don't fit.
    #[error("{values} values are no {labels} rows of {dim} dimensions")]
    Shape {
        /// Values given.
        values: usize,
        /// Labels given.
        labels: usize,
        /// Dimensions of a row.
        dim: usize,
    },
    /// There is nothing to measure.
    #[error("there are no samples")]
    Empty,
    /// Queries and gallery come from different networks.
    #[error("queries have {queries} dimensions, but the gallery has {gallery}")]
    Dimensions {
        /// Dimensions of a query.
        queries: usize,
        /// Dimensions of a sample of the gallery.
        gallery: usize,
    },
    /// The search can't be done in so little memory.
    #[error("a search in {asked} bytes isn't possible; it needs at least {needed}")]
    Memory {
        /// Bytes allowed.
        asked: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// Two labelings of different samples.
    #[error("{labels} labels and {clusters} clusters are not of the same samples")]
    Labelings {
        /// Labels given.
        labels: usize,
        /// Cluster numbers given.
        clusters: usize,
    },
    /// A number of clusters that the data can't have.
    #[error("{n} samples can't be put into {k} clusters")]
    Clusters {
        /// Clusters asked for.
        k: usize,
        /// Samples there are.
        n: usize,
    },
}

impl Embeddings {
    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// A sample's embedding, `[dim]`.
    pub fn row(&self, sample: usize) -> &[f32] {
        &self.rows[sample * self.dim..(sample + 1) * self.dim]
    }

    /// What a metric needs to be true of embeddings.
    pub fn check(&self) -> Result<(), MetricError> {
        let Embeddings { rows, dim, labels } = self;
        if *dim == 0 || *dim > rows::WIDEST || rows.len() != labels.len() * dim {
            return Err(MetricError::Shape { values: rows.len(), labels: labels.len(), dim: *dim });
        }
        if labels.is_empty() {
            return Err(MetricError::Empty);
        }
        match rows.iter().position(|x| !x.is_finite()) {
            Some(bad) => Err(MetricError::NotFinite { row: bad / dim }),
            None => Ok(()),
        }
    }

    /// Rows of length 1: each divided by its norm in `f64`, then rounded to `f32`.
    pub fn normalized(&self) -> Result<Self, MetricError> {
        let mut rows = Vec::with_capacity(self.rows.len());
        for (sample, row) in self.rows.chunks_exact(self.dim).enumerate() {
            let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            if norm == 0.0 {
                return Err(MetricError::Zero { row: sample });
            }
            rows.extend(row.iter().map(|&x| (f64::from(x) / norm) as f32));
        }
        Ok(Embeddings { rows, dim: self.dim, labels: self.labels.clone() })
    }

    /// Checked rows whose Euclidean distances are in the order of this distance.
    fn prepared(&self, distance: Distance) -> Result<Cow<'_, Self>, MetricError> {
        self.check()?;
        Ok(match distance {
            Distance::Euclidean => Cow::Borrowed(self),
            Distance::Cosine => Cow::Owned(self.normalized()?),
        })
    }
}

/// Recall@K for each K, as [`Search`] does by default: Euclidean, the query left out.
///
/// A query without another sample of its class is a miss.
pub fn recall_at(
    embeddings: &Embeddings,
    ks: &[usize],
    device: Option<&Device>,
) -> Result<Vec<f64>, MetricError> {
    let search = Search { device: device.cloned(), ..Search::default() };
    let found = search.retrieval(embeddings, ks)?;
    Ok(ks.iter().map(|&k| found.mean(Measure::recall(k))).collect())
}
