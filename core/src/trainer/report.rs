//! What a training tells while it runs, and at its end.

use super::{Best, TrainError};
use std::collections::BTreeMap;

/// What is known at a log point.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps done, over all epochs.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Weighted sum of the losses, as all below a mean over the steps since the last log point.
    pub loss: f64,
    /// Each loss times its weight; 0 where it wasn't defined, so that they sum to `loss`.
    pub terms: BTreeMap<String, f64>,
    /// Each loss, and what it reports (`loss.name`), over the steps on which it was defined.
    pub values: BTreeMap<String, f64>,
    /// Learning rate.
    pub lr: f64,
    /// Images per second since the last log point.
    pub images_per_second: f64,
}

/// What is known at the end of an epoch.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps done, over all epochs.
    pub step: usize,
    /// Mean loss of the epoch.
    pub loss: f64,
    /// Recall@K, if the epoch was evaluated.
    pub recall: Option<BTreeMap<usize, f64>>,
}

/// How a training ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Steps done.
    pub steps: usize,
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// Recall@K of the last checkpoint; none if the training was interrupted.
    pub recall: Option<BTreeMap<usize, f64>>,
    /// Seconds in all.
    pub seconds: f64,
    /// Whole epochs done: fewer than asked for, if it was stopped early.
    pub epochs: usize,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
    /// Times that a loss was left out of a step (`on_undefined = "skip"`).
    pub skipped: usize,
    /// The best evaluation.
    pub best: Option<Best>,
}

/// Sees a training go by.
pub trait Observer {
    /// Called at every log point.
    fn step(&mut self, report: &StepReport) -> Result<(), TrainError>;
    /// Called after every epoch; its checkpoint is on disk, or on its way.
    fn epoch(&mut self, report: &EpochReport) -> Result<(), TrainError>;
    /// Called with a sentence that whoever trains should read.
    fn remark(&mut self, _text: &str) {}
    /// Called before a checkpoint is written: a training that goes on from it tells nothing twice,
    /// so what was told up to here must be on disk first.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        Ok(())
    }
}
