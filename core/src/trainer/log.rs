//! Losses since the last log point, left on the device until somebody looks.

use super::Step;
use super::save::Exact;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Losses on the device, between two log points, and their sum over the epoch.
#[derive(Debug)]
pub struct Log {
    pending: Vec<(usize, Tensor<1>)>,
    terms: Vec<(String, Tensor<1>)>,
    /// What was read of them before the log point, because a checkpoint needed it.
    settled: Vec<f64>,
    settled_terms: BTreeMap<String, f64>,
    images: usize,
    since: Instant,
    sum: f64,
    count: usize,
}

/// A [`Log`] in a checkpoint, without its clock.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Losses {
    since_log_point: Vec<Exact>,
    terms: BTreeMap<String, Exact>,
    sum: Exact,
    count: usize,
}

impl Log {
    pub(super) fn new() -> Self {
        Log {
            pending: Vec::new(),
            terms: Vec::new(),
            settled: Vec::new(),
            settled_terms: BTreeMap::new(),
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
        if let Some((loss, terms)) = outcome {
            self.pending.push((step, loss));
            self.terms = terms;
        }
        self.images += images;
    }

    /// Reads what is on the device; or the first step whose loss isn't finite.
    pub(super) fn settle(&mut self) -> Result<(), (usize, String, f64)> {
        if !self.terms.is_empty() {
            let read = |(name, x): (String, Tensor<1>)| (name, x.into_scalar::<f64>());
            self.settled_terms = std::mem::take(&mut self.terms).into_iter().map(read).collect();
        }
        for (step, loss) in self.pending.drain(..) {
            let loss = loss.into_scalar::<f64>();
            if !loss.is_finite() {
                let bad = self.settled_terms.iter().find(|(_, v)| !v.is_finite());
                let what =
                    bad.map_or("the loss".to_owned(), |(name, _)| format!("the loss {name}"));
                return Err((step, what, loss));
            }
            self.settled.push(loss);
        }
        Ok(())
    }

    /// Mean loss, terms and images per second since the last call; or the first step whose loss
    /// isn't finite.
    #[expect(clippy::type_complexity, reason = "used once")]
    pub(super) fn read(
        &mut self,
    ) -> Result<(f64, BTreeMap<String, f64>, f64), (usize, String, f64)> {
        self.settle()?;
        let (sum, count) = (self.settled.iter().sum::<f64>(), self.settled.len());
        self.settled.clear();
        self.sum += sum;
        self.count += count;
        let rate = self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        (self.images, self.since) = (0, Instant::now());
        let mean = if count == 0 { f64::NAN } else { sum / count as f64 };
        Ok((mean, std::mem::take(&mut self.settled_terms), rate))
    }

    /// Mean loss of the epoch so far, of what was read.
    pub(super) fn epoch_mean(&self) -> f64 {
        let count = self.count + self.settled.len();
        (self.sum + self.settled.iter().sum::<f64>()) / count.max(1) as f64
    }

    /// What [`settle`](Self::settle) read, for a checkpoint.
    pub(super) fn state(&self) -> Losses {
        let exact = |(name, x): (&String, &f64)| (name.clone(), Exact(*x));
        Losses {
            since_log_point: self.settled.iter().copied().map(Exact).collect(),
            terms: self.settled_terms.iter().map(exact).collect(),
            sum: Exact(self.sum),
            count: self.count,
        }
    }

    pub(super) fn load_state(&mut self, state: Losses) {
        *self = Log {
            settled: state.since_log_point.into_iter().map(|x| x.0).collect(),
            settled_terms: state.terms.into_iter().map(|(name, x)| (name, x.0)).collect(),
            sum: state.sum.0,
            count: state.count,
            ..Log::new()
        };
    }
}
