//! Why a training ended early.

use crate::checkpoint::CheckpointError;
use crate::loss::LossError;
use crate::metric::MetricError;
use retort_datasets::DataError;
use std::path::PathBuf;

/// Why a training ended early. The last checkpoint stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe, a network or a data set is misconfigured.
    #[error("{0}")]
    Setup(String),
    /// The source can't teach.
    #[error("the source can't teach: {0}")]
    Source(String),
    /// A loss can't run on this training's batches.
    #[error("at set-up: {0}")]
    Probe(Box<LossError>),
    /// A picture could not be had, or the data doesn't fit the recipe.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A loss failed.
    #[error("epoch {epoch}, step {step}: {source}{kept}")]
    Loss {
        /// Epoch, from 1.
        epoch: usize,
        /// Step in the epoch, from 1.
        step: usize,
        /// Why.
        source: Box<LossError>,
        /// Where the last good checkpoint is.
        kept: Kept,
    },
    /// The backend failed in a step.
    #[error("epoch {epoch}, step {step}: the backend refused: {why}{kept}")]
    Backend {
        /// Epoch, from 1.
        epoch: usize,
        /// Step in the epoch, from 1.
        step: usize,
        /// What it said.
        why: String,
        /// Where the last good checkpoint is.
        kept: Kept,
    },
    /// A value is NaN or infinite.
    #[error(
        "epoch {epoch}, step {step}: {what} is {value}; the training has diverged: try a smaller learning rate{kept}"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Step in the epoch, from 1.
        step: usize,
        /// What isn't finite.
        what: String,
        /// Its value.
        value: f64,
        /// Where the last good checkpoint is.
        kept: Kept,
    },
    /// A number isn't finite, found by looking after each step.
    #[error(
        "epoch {epoch}, step {step}: the training has diverged: try a smaller learning rate. The first that \
         isn't finite: {what}{kept}"
    )]
    Anomaly {
        /// Epoch, from 1.
        epoch: usize,
        /// Step in the epoch, from 1.
        step: usize,
        /// What isn't finite, and where.
        what: String,
        /// Where the last good checkpoint is.
        kept: Kept,
    },
    /// A checkpoint isn't of this training.
    #[error("the training can't go on from {path}: {why}", path = path.display())]
    Resume {
        /// The checkpoint.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The checkpoint could not be written.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// The embeddings can't be evaluated.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The run folder could not be written.
    #[error(transparent)]
    Write(#[from] crate::fs::WriteError),
}

impl From<CheckpointError> for TrainError {
    fn from(e: CheckpointError) -> Self {
        TrainError::Checkpoint(Box::new(e))
    }
}

/// The last good checkpoint, for messages.
#[derive(Debug)]
pub struct Kept(pub(super) Option<(PathBuf, (usize, usize))>);

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some((path, (epoch, 0))) => {
                write!(f, ". {} holds the network after epoch {epoch}", path.display())
            }
            Some((path, (epoch, steps))) => {
                let epoch = epoch + 1;
                write!(
                    f,
                    ". {} holds the network after step {steps} of epoch {epoch}",
                    path.display()
                )
            }
            None => f.write_str(". There is no checkpoint of this run yet"),
        }
    }
}
