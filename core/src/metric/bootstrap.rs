//! Confidence intervals by bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993,
//! chapter 13: the percentile interval).

use super::{Measure, Retrieval};
use crate::random;
use rand::RngExt as _;

/// What is drawn with replacement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Whole classes, with all their queries. Queries of a class share their partners, so they err
    /// together, and an interval over queries is too narrow; and what one wants to know is how the
    /// network does on classes that it hasn't seen.
    #[default]
    Class,
    /// Single queries, as if they were independent.
    Query,
}

/// Where a metric lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The 2.5 % quantile of the resampled metric.
    pub low: f64,
    /// The 97.5 % quantile.
    pub high: f64,
}

/// Confidence intervals of metrics, each from the same resamples.
///
/// The queries are resampled, the gallery stays. The same seed gives the same intervals. A resample
/// in which no query counts is left out; NaN where that's all of them.
pub fn bootstrap(
    found: &Retrieval,
    measures: &[Measure],
    resamples: usize,
    unit: Unit,
    seed: u64,
) -> Vec<Interval> {
    // Sum of a metric over each unit, and the queries that count in it.
    let parts: Vec<Vec<(f64, usize)>> = measures
        .iter()
        .map(|&measure| match unit {
            Unit::Class => found.class_sums(measure).into_values().map(|c| (c.0, c.1)).collect(),
            Unit::Query => (0..found.len())
                .map(|query| found.of(measure, query).map_or((0.0, 0), |value| (value, 1)))
                .collect(),
        })
        .collect();
    let units = parts.first().map_or(0, Vec::len);
    let key = random::key(seed, "bootstrap");
    let mut means = vec![Vec::with_capacity(resamples); measures.len()];
    let mut times = vec![0u32; units];
    for resample in 0..resamples as u64 {
        let mut stream = random::stream(key, &[resample]);
        times.fill(0);
        (0..units).for_each(|_| times[stream.random_range(0..units)] += 1);
        for (parts, means) in parts.iter().zip(&mut means) {
            let drawn = parts.iter().zip(&times);
            let (sum, count) = drawn.fold((0.0, 0), |(sum, count), (part, &times)| {
                (sum + part.0 * f64::from(times), count + part.1 * times as usize)
            });
            if count > 0 {
                means.push(sum / count as f64);
            }
        }
    }
    means
        .into_iter()
        .map(|mut means| {
            means.sort_by(f64::total_cmp);
            Interval { low: quantile(&means, 0.025), high: quantile(&means, 0.975) }
        })
        .collect()
}

/// A quantile of sorted values, linear between two of them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let below = sorted[place.floor() as usize];
    below + (sorted[place.ceil() as usize] - below) * place.fract()
}
