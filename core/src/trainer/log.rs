//! Losses since the last log point, left on the device until somebody looks.

use super::Step;
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use std::time::Instant;

/// Losses on the device, between two log points, and their sum over the epoch.
#[derive(Debug)]
pub struct Log {
    pending: Vec<(usize, Tensor<1>)>,
    terms: Vec<(String, Tensor<1>)>,
    images: usize,
    since: Instant,
    sum: f64,
    count: usize,
}

impl Log {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        Log { pending: Vec::new(), terms: Vec::new(), images: 0, since, sum: 0.0, count: 0 }
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

    /// Mean loss, terms and images per second since the last call; or the first step whose loss
    /// isn't finite.
    #[expect(clippy::type_complexity, reason = "used once")]
    pub(super) fn read(
        &mut self,
    ) -> Result<(f64, BTreeMap<String, f64>, f64), (usize, String, f64)> {
        let terms: BTreeMap<String, f64> = std::mem::take(&mut self.terms)
            .into_iter()
            .map(|(name, x)| (name, x.into_scalar::<f64>()))
            .collect();
        let (mut sum, count) = (0.0, self.pending.len());
        for (step, loss) in self.pending.drain(..) {
            let loss = loss.into_scalar::<f64>();
            if !loss.is_finite() {
                let bad = terms.iter().find(|(_, v)| !v.is_finite());
                let what =
                    bad.map_or("the loss".to_owned(), |(name, _)| format!("the loss {name}"));
                return Err((step, what, loss));
            }
            sum += loss;
        }
        self.sum += sum;
        self.count += count;
        let rate = self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        (self.images, self.since) = (0, Instant::now());
        let mean = if count == 0 { f64::NAN } else { sum / count as f64 };
        Ok((mean, terms, rate))
    }

    pub(super) fn epoch_mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}
