//! Recall@K.

use super::{Metric, Needs};

pub(super) static METRIC: Metric = Metric {
    key: "recall",
    title: "R@",
    doc: "Share of queries with a sample of their class among their K nearest.\n\n\
          A query without another sample of its class is a miss.",
    needs: Needs::Depth,
    of: |found, k, query| Some(f64::from(u8::from(found.first(query) <= k))),
};
