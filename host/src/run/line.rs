//! A line of a run's `metrics.jsonl`: a log point, or the end of an epoch.

use serde::{Deserialize, Serialize};
use serde_json::{Error, Value};
use std::collections::BTreeMap;

/// Recall@K by K, as a share of 1.
pub type Recall = BTreeMap<usize, f64>;

/// Numbers by name; none where one isn't finite, which JSON can't say.
type Numbers = BTreeMap<String, Option<f64>>;

/// What is written at a log point: means over the steps since the last one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// From 1.
    pub epoch: usize,
    /// How fast it trained.
    pub images_per_second: Option<f64>,
    /// Weighted sum of the losses.
    pub loss: Option<f64>,
    /// Learning rate.
    pub lr: Option<f64>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// Steps done, over all epochs.
    pub step: u64,
    /// Each loss times its weight.
    pub terms: Numbers,
    /// Seconds since 1970.
    pub time: f64,
    /// Each loss, and what it reports.
    pub values: Numbers,
}

/// What is written at the end of an epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    /// Mean loss of the epoch.
    pub mean_loss: Option<f64>,
    /// If the epoch was evaluated.
    pub recall: Option<Recall>,
    /// Seconds of training so far.
    pub seconds: f64,
    /// On which classes it was evaluated: `test` or `validation`; older runs don't say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Steps done, over all epochs.
    pub step: u64,
    /// Seconds since 1970.
    pub time: f64,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// A log point.
    Step(Step),
    /// The end of an epoch.
    Epoch(Epoch),
}

impl Line {
    /// Reads one from JSON; an epoch's has a `mean_loss`.
    pub fn read(line: Value) -> Result<Self, Error> {
        if line.get("mean_loss").is_some() {
            serde_json::from_value(line).map(Line::Epoch)
        } else {
            serde_json::from_value(line).map(Line::Step)
        }
    }

    /// Steps done when it was written.
    pub fn step(&self) -> u64 {
        match self {
            Line::Step(line) => line.step,
            Line::Epoch(line) => line.step,
        }
    }

    /// When it was written, in seconds since 1970.
    pub fn time(&self) -> f64 {
        match self {
            Line::Step(line) => line.time,
            Line::Epoch(line) => line.time,
        }
    }

    /// Seconds of training when it was written.
    pub fn seconds(&self) -> f64 {
        match self {
            Line::Step(line) => line.seconds,
            Line::Epoch(line) => line.seconds,
        }
    }

    /// Says when it is written.
    pub fn stamp(&mut self, now: f64, trained: f64) {
        let (time, seconds) = match self {
            Line::Step(line) => (&mut line.time, &mut line.seconds),
            Line::Epoch(line) => (&mut line.time, &mut line.seconds),
        };
        (*time, *seconds) = (now, trained);
    }

    /// If it is an epoch's.
    pub fn epoch(&self) -> Option<&Epoch> {
        match self {
            Line::Step(_) => None,
            Line::Epoch(line) => Some(line),
        }
    }
}

/// Why JSON isn't what a training writes: as the parser has it, but for what it repeats of a long value.
pub fn why(e: &Error) -> String {
    const MOST: usize = 200;
    let text = e.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => {
            format!("{}… at line {} column {}", &text[..end], e.line(), e.column())
        }
        None => text,
    }
}

impl Epoch {
    /// Recall at the smallest K, if it was evaluated.
    pub fn first_recall(&self) -> Option<f64> {
        self.recall.as_ref()?.values().next().copied()
    }
}
