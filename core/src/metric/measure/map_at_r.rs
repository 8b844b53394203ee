//! Mean average precision at R.

use super::{Metric, Needs};

pub(super) static METRIC: Metric = Metric {
    key: "map_at_r",
    title: "MAP@R",
    doc: "Mean average precision at R: over the R nearest, where R samples are of the query's class.\n\n\
          `1/R Σ_{i <= R} precision@i`, over those i where the i-th nearest is of the query's class (Musgrave, \
          Belongie & Lim, \"A Metric Learning Reality Check\", ECCV 2020, equation 2).",
    needs: Needs::Nothing,
    of: |found, _, query| (found.relevant(query) > 0).then(|| found.average_precision(query)),
};
