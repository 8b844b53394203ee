//! R-precision.

use super::{Metric, Needs};

pub(super) static METRIC: Metric = Metric {
    key: "r_precision",
    title: "R-precision",
    doc: "Of the R nearest, the share that is of the query's class, where R samples are.",
    needs: Needs::Nothing,
    of: |found, _, query| (found.relevant(query) > 0).then(|| found.r_precision(query)),
};
