//! Precision at K.

use super::{Metric, Needs};

pub(super) static METRIC: Metric = Metric {
    key: "precision_at_k",
    title: "precision@",
    doc: "Of the K nearest, the share that is of the query's class.",
    needs: Needs::Lists,
    of: |found, k, query| {
        let hits = found.hits(k).filter(|_| found.relevant(query) > 0)?;
        Some(f64::from(hits[query]) / k as f64)
    },
};
