//! Mean average precision at K.

use super::{Metric, Needs};

pub(super) static METRIC: Metric = Metric {
    key: "map_at_k",
    title: "MAP@",
    doc: "Mean average precision at K: over the K nearest.\n\n\
          `1/min(R, K) Σ_{i <= K} precision@i`, over those i where the i-th nearest is of the query's class \
          (Weyand, Araujo, Cao & Sim, \"Google Landmarks Dataset v2\", CVPR 2020, equation 2).",
    needs: Needs::Lists,
    of: |found, k, query| {
        let precision = found.precision(k).filter(|_| found.relevant(query) > 0)?;
        Some(precision[query] / k.min(found.relevant(query)) as f64)
    },
};
