//! `summary.json`: how a training ended.

use crate::io::regular;
use crate::run::folder::SUMMARY;
use crate::run::line::Recall;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How a training ended. One that failed has few of these.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The best epoch, of one that came to its end.
    pub best: Option<Chosen>,
    /// Whole epochs done.
    pub epochs: Option<usize>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Whether it ended before its end.
    #[serde(default = "yes")]
    pub interrupted: bool,
    /// Mean loss of the last epoch.
    pub loss: Option<f64>,
    /// Scalars that were trained, without the losses'.
    pub parameters: Option<usize>,
    /// Pictures read in spite of damage.
    pub pictures_damaged: usize,
    /// Pictures left out (`on_corrupt = "skip"`).
    pub pictures_left_out: usize,
    /// Recall@K of the last checkpoint on the test classes.
    pub recall: Option<Recall>,
    /// Seconds of training.
    pub seconds: Option<f64>,
    /// Times that a loss was left out of a step (`on_undefined = "skip"`).
    pub skipped: usize,
    /// Steps done.
    pub steps: Option<usize>,
}

/// The best epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Chosen {
    /// From 1.
    pub epoch: usize,
    /// Recall@K on the test classes.
    pub recall: Recall,
    /// Recall at the smallest K, by which it was chosen.
    pub selected_by: Option<f64>,
    /// The classes on which it was: `test` or `validation`; older runs don't say it.
    pub selected_on: Option<String>,
}

fn yes() -> bool {
    true
}

impl Outcome {
    /// That of the run in a folder, if there is one to be read.
    pub fn find(run: &Path) -> Option<Self> {
        serde_json::from_str(&regular::read(&run.join(SUMMARY), regular::SMALL).ok()?).ok()
    }

    /// Recall at the smallest K, with the K.
    pub fn first_recall(&self) -> Option<(usize, f64)> {
        self.recall.as_ref().and_then(first)
    }
}

impl Chosen {
    /// The classes on which it was chosen.
    pub fn on(&self) -> &str {
        self.selected_on.as_deref().unwrap_or("test")
    }

    /// Recall at the smallest K, with the K.
    pub fn first_recall(&self) -> Option<(usize, f64)> {
        first(&self.recall)
    }
}

fn first(recall: &Recall) -> Option<(usize, f64)> {
    recall.first_key_value().map(|(k, r)| (*k, *r))
}
