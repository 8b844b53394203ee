//! How much two labelings of the same samples tell about each other.
//!
//! Vinh, Epps & Bailey, "Information Theoretic Measures for Clusterings Comparison", JMLR 2010; with
//! the arithmetic mean of the two entropies as the normaliser, as scikit-learn has by default.

use super::MetricError;
use std::collections::BTreeMap;

/// Samples of each class, of each cluster, and of each pair of both.
struct Contingency {
    n: usize,
    classes: Vec<usize>,
    clusters: Vec<usize>,
    /// Class, cluster and samples of the pairs that have any.
    pairs: Vec<(usize, usize, usize)>,
}

impl Contingency {
    fn new(labels: &[i64], clusters: &[i64]) -> Result<Self, MetricError> {
        if labels.len() != clusters.len() {
            let (labels, clusters) = (labels.len(), clusters.len());
            return Err(MetricError::Labelings { labels, clusters });
        }
        if labels.is_empty() {
            return Err(MetricError::Empty);
        }
        let number = |labels: &[i64]| {
            let mut numbers: BTreeMap<i64, usize> = labels.iter().map(|&l| (l, 0)).collect();
            numbers.values_mut().enumerate().for_each(|(i, number)| *number = i);
            labels.iter().map(|l| numbers[l]).collect::<Vec<usize>>()
        };
        let (rows, columns) = (number(labels), number(clusters));
        let sizes = |numbers: &[usize]| {
            let mut sizes = vec![0; numbers.iter().max().map_or(0, |m| m + 1)];
            for &i in numbers {
                sizes[i] += 1;
            }
            sizes
        };
        let mut pairs: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        rows.iter().zip(&columns).for_each(|(&r, &c)| *pairs.entry((r, c)).or_default() += 1);
        Ok(Contingency {
            n: labels.len(),
            classes: sizes(&rows),
            clusters: sizes(&columns),
            pairs: pairs.into_iter().map(|((r, c), samples)| (r, c, samples)).collect(),
        })
    }

    /// Mutual information, in nats.
    fn information(&self) -> f64 {
        let n = self.n as f64;
        let part = |&(row, column, samples): &(usize, usize, usize)| {
            let (a, b, s) =
                (self.classes[row] as f64, self.clusters[column] as f64, samples as f64);
            s / n * (s / a * (n / b)).ln()
        };
        self.pairs.iter().map(part).sum::<f64>().max(0.0)
    }

    /// The mean of both entropies, in nats.
    fn entropy(&self) -> f64 {
        let n = self.n as f64;
        let of = |sizes: &[usize]| {
            sizes.iter().map(|&s| -(s as f64 / n) * (s as f64 / n).ln()).sum::<f64>()
        };
        f64::midpoint(of(&self.classes), of(&self.clusters))
    }

    /// Whether both labelings divide the samples alike.
    fn is_same(&self) -> bool {
        self.pairs.len() == self.classes.len() && self.pairs.len() == self.clusters.len()
    }

    /// The mutual information to expect of two random labelings with classes and clusters of these
    /// sizes (the paper's equation 24a).
    fn expected(&self) -> f64 {
        let n = self.n;
        let logs = log_factorials(n);
        let count = |sizes: &[usize]| {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for &size in sizes {
                *counts.entry(size).or_default() += 1;
            }
            counts
        };
        let (classes, clusters) = (count(&self.classes), count(&self.clusters));
        let mut sum = 0.0;
        for (&a, &times_a) in &classes {
            for (&b, &times_b) in &clusters {
                let whole = logs[a] + logs[b] + logs[n - a] + logs[n - b] - logs[n];
                let parts = ((a + b).saturating_sub(n).max(1)..=a.min(b)).map(|both| {
                    let s = both as f64;
                    let chance = whole
                        - logs[both]
                        - logs[a - both]
                        - logs[b - both]
                        - logs[n + both - a - b];
                    s / n as f64 * (n as f64 * s / (a as f64 * b as f64)).ln() * chance.exp()
                });
                sum += parts.sum::<f64>() * (times_a * times_b) as f64;
            }
        }
        sum
    }
}

/// `ln(i!)` for `i` from 0 to `n`, summed with compensation (Kahan).
fn log_factorials(n: usize) -> Vec<f64> {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    let mut logs = vec![0.0];
    logs.extend((1..=n).map(|i| {
        let add = (i as f64).ln() - lost;
        let next = sum + add;
        lost = (next - sum) - add;
        sum = next;
        sum
    }));
    logs
}

/// NMI: mutual information over the arithmetic mean of both entropies, from 0 to 1.
pub fn normalized_mutual_information(labels: &[i64], clusters: &[i64]) -> Result<f64, MetricError> {
    let table = Contingency::new(labels, clusters)?;
    let (information, entropy) = (table.information(), table.entropy());
    Ok(if table.is_same() {
        1.0
    } else if information <= f64::EPSILON {
        0.0
    } else {
        information / entropy
    })
}

/// AMI: NMI with what chance alone gives taken off, so that random clusters have 0.
pub fn adjusted_mutual_information(labels: &[i64], clusters: &[i64]) -> Result<f64, MetricError> {
    let table = Contingency::new(labels, clusters)?;
    if table.is_same() {
        return Ok(1.0);
    }
    let (information, expected) = (table.information(), table.expected());
    let range = table.entropy() - expected;
    // Nothing above chance is possible: one cluster, or one for each sample.
    if range.abs() <= 1e-12 {
        return Ok(0.0);
    }
    Ok((information - expected) / range)
}
