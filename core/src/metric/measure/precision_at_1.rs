//! Precision at 1.

use super::{Metric, Needs};

pub(super) static METRIC: Metric = Metric {
    key: "precision_at_1",
    title: "precision@1",
    doc: "Share of queries whose nearest sample is of their class.",
    needs: Needs::Nothing,
    of: |found, _, query| {
        (found.relevant(query) > 0).then(|| f64::from(u8::from(found.first(query) == 1)))
    },
};
