//! Metrics of retrieval: one file each; a new one is one line in [`METRICS`].

mod map_at_k;
mod map_at_r;
mod precision_at_1;
mod precision_at_k;
mod r_precision;
mod recall;

use super::Retrieval;

/// All metrics. But for Recall they leave out queries without another sample of their class.
pub static METRICS: &[&Metric] = &[
    &recall::METRIC,
    &precision_at_1::METRIC,
    &r_precision::METRIC,
    &map_at_r::METRIC,
    &precision_at_k::METRIC,
    &map_at_k::METRIC,
];

/// A metric of retrieval, from 0 to 1.
#[derive(Debug)]
pub struct Metric {
    /// Its key in JSON; one at K has an entry there for each K.
    pub key: &'static str,
    /// Its name in tables, before K if it has one.
    pub title: &'static str,
    /// What it is, and the paper.
    pub doc: &'static str,
    /// What it asks of the search.
    pub needs: Needs,
    /// A query's part in it, at a K where it has one; none if it leaves the query out.
    pub of: fn(&Retrieval, usize, usize) -> Option<f64>,
}

/// What a metric asks of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The ranks of the query's own class among its R nearest.
    Nothing,
    /// The rank of the first of them; it is a metric at K.
    Depth,
    /// Those among its K nearest ([`lists`](super::Search::lists)); it is a metric at K.
    Lists,
}

/// A metric, at a K if it has one.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Which.
    pub metric: &'static Metric,
    /// K; 0 of a metric without.
    pub k: usize,
}

impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        (self.metric.key, self.k) == (other.metric.key, other.k)
    }
}

impl Eq for Measure {}

impl Measure {
    /// Recall@K, which every training reports.
    pub fn recall(k: usize) -> Self {
        Measure { metric: &recall::METRIC, k }
    }

    /// The metric with this key, at this K if it has one.
    pub fn of(key: &str, k: usize) -> Option<Self> {
        let metric = METRICS.iter().copied().find(|metric| metric.key == key)?;
        Some(Measure { metric, k: if metric.at_k() { k } else { 0 } })
    }

    /// Its name in a table.
    pub fn title(self) -> String {
        if self.metric.at_k() {
            format!("{}{}", self.metric.title, self.k)
        } else {
            self.metric.title.to_owned()
        }
    }
}

impl Metric {
    /// Whether it is a metric at K.
    pub fn at_k(&self) -> bool {
        self.needs != Needs::Nothing
    }

    /// Itself, or itself at each K.
    pub fn at(&'static self, ks: &[usize]) -> Vec<Measure> {
        if self.at_k() {
            ks.iter().map(|&k| Measure { metric: self, k }).collect()
        } else {
            vec![Measure { metric: self, k: 0 }]
        }
    }
}
