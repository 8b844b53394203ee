//! Whether retrieval tells anything about a network, or comes out the same whatever it does.

use crate::experiment::Pictures;
use crate::failure::{Failure, Result};
use std::collections::BTreeMap;

/// Why Recall would be the same for every network, if it would: the labels of the queries, and of the gallery
/// where that is apart.
pub fn nothing_to_measure<L: Ord + Copy>(queries: &[L], gallery: Option<&[L]>) -> Option<String> {
    let among = gallery.unwrap_or(queries);
    let mut members: BTreeMap<L, usize> = BTreeMap::new();
    for &class in among {
        *members.entry(class).or_default() += 1;
    }
    let least = if gallery.is_some() { 1 } else { 2 };
    let has_partner = |class| members.get(class).is_some_and(|&n| n >= least);
    let found = queries.iter().any(has_partner);
    match (found, members.len()) {
        (_, 0) => None,
        (false, _) if gallery.is_some() => Some(
            "queries and gallery have no class in common, so no query can be found and Recall is 0 % \
             whatever the network does"
                .to_owned(),
        ),
        (false, _) => Some(
            "no class has two samples, so no query can be found and Recall is 0 % whatever the network \
             does"
                .to_owned(),
        ),
        (true, 1) => Some(
            "all samples to be found are of one class, so Recall is 100 % whatever the network does"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Refuses a split to measure on that tells nothing.
pub fn check(queries: &Pictures, gallery: Option<&Pictures>, name: &str) -> Result<()> {
    let labels = gallery.map(|gallery| gallery.labels());
    match nothing_to_measure(queries.labels(), labels) {
        None => Ok(()),
        Some(why) => Err(Failure::new(format!(
            "{name}: {} pictures to test on, but {why}. Give at least two classes to test on, with two pictures \
             or more each (`retort data info` counts them)",
            queries.len()
        ))),
    }
}
