//! Losses since the last log point, left on the device until somebody looks.

use super::Step;
use super::exact::Exact;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Losses on the device, between two log points, and their sum over the epoch.
#[derive(Debug)]
pub struct Log {
    /// Steps in the epoch, from 0, and their losses.
    pending: Vec<(usize, Step)>,
    /// The sums of the losses that were read since the last log point.
    settled: Vec<f64>,
    /// What each loss, and what each reported, came to in those steps.
    values: BTreeMap<String, Total>,
    images: usize,
    since: Instant,
    sum: f64,
    count: usize,
}

/// A value's sum over the steps that had it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Total {
    sum: Exact,
    steps: usize,
    /// A loss's factor; none for what a loss reports beside its value.
    weight: Option<Exact>,
}

/// A [`Log`] in a checkpoint, without its clock.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Losses {
    since_log_point: Vec<Exact>,
    #[serde(default)]
    values: BTreeMap<String, Total>,
    sum: Exact,
    count: usize,
}

/// What the steps since the last log point came to; each number is a mean over those of them in which
/// any loss was defined.
#[derive(Debug)]
pub(super) struct Means {
    pub(super) loss: f64,
    /// Each loss times its weight, 0 in a step that left it out; their sum is `loss`.
    pub(super) terms: BTreeMap<String, f64>,
    /// Each loss, and what it reports, over the steps that had it.
    pub(super) values: BTreeMap<String, f64>,
    pub(super) images_per_second: f64,
}

/// The first step whose loss isn't finite, what isn't, and its value.
pub(super) type Bad = (usize, String, f64);

impl Log {
    pub(super) fn new() -> Self {
        Log {
            pending: Vec::new(),
            settled: Vec::new(),
            values: BTreeMap::new(),
            images: 0,
            since: Instant::now(),
            sum: 0.0,
            count: 0,
        }
    }

    pub(super) fn start_epoch(&mut self) {
        (self.sum, self.count) = (0.0, 0);
    }

    pub(super) fn add(&mut self, step: usize, images: usize, outcome: Option<Step>) {
        self.pending.extend(outcome.map(|losses| (step, losses)));
        self.images += images;
    }

    /// Reads what is on the device; or the first step whose loss isn't finite.
    pub(super) fn settle(&mut self) -> Result<(), Bad> {
        for (number, step) in self.pending.drain(..) {
            let total = step.total.into_scalar::<f64>();
            let mut bad = None;
            for (name, weight, value) in step.values {
                let value = value.into_scalar::<f64>();
                if weight.is_some() && !value.is_finite() {
                    bad.get_or_insert_with(|| format!("the loss {name}"));
                }
                let new = Total { sum: Exact(0.0), steps: 0, weight: weight.map(Exact) };
                let so_far = self.values.entry(name).or_insert(new);
                so_far.sum.0 += value;
                so_far.steps += 1;
            }
            if !total.is_finite() {
                return Err((number, bad.unwrap_or_else(|| "the loss".to_owned()), total));
            }
            let seen = step.seen.map_or(0.0, |sum| sum.into_scalar::<f64>());
            if !seen.is_finite() {
                // A loss may be finite all the same, if it takes no pair of such embeddings.
                return Err((number, "the sum of the target's embeddings".to_owned(), seen));
            }
            self.settled.push(total);
        }
        Ok(())
    }

    /// Means since the last call; or the first step whose loss isn't finite.
    pub(super) fn read(&mut self) -> Result<Means, Bad> {
        self.settle()?;
        let (sum, count) = (self.settled.iter().sum::<f64>(), self.settled.len());
        self.settled.clear();
        self.sum += sum;
        self.count += count;
        let images_per_second = self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        (self.images, self.since) = (0, Instant::now());
        let values = std::mem::take(&mut self.values);
        let term = |(name, total): (&String, &Total)| {
            Some((name.clone(), total.weight?.0 * total.sum.0 / count as f64))
        };
        Ok(Means {
            loss: if count == 0 { f64::NAN } else { sum / count as f64 },
            terms: values.iter().filter_map(term).collect(),
            values: values.into_iter().map(|(n, t)| (n, t.sum.0 / t.steps as f64)).collect(),
            images_per_second,
        })
    }

    /// Mean loss of the epoch so far, of what was read.
    pub(super) fn epoch_mean(&self) -> f64 {
        let count = self.count + self.settled.len();
        (self.sum + self.settled.iter().sum::<f64>()) / count.max(1) as f64
    }

    /// What [`settle`](Self::settle) read, for a checkpoint.
    pub(super) fn state(&self) -> Losses {
        Losses {
            since_log_point: self.settled.iter().copied().map(Exact).collect(),
            values: self.values.clone(),
            sum: Exact(self.sum),
            count: self.count,
        }
    }

    pub(super) fn load_state(&mut self, state: Losses) {
        *self = Log {
            settled: state.since_log_point.into_iter().map(|x| x.0).collect(),
            values: state.values,
            sum: state.sum.0,
            count: state.count,
            ..Log::new()
        };
    }
}
