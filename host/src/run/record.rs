//! Writes a training's numbers as they come: `metrics.jsonl`, TensorBoard's events, the progress.

use crate::failure::{Failure, Result};
use crate::run::course::Lines;
use crate::run::folder::METRICS;
use crate::run::line::{Epoch, Line, Step};
use crate::run::tensorboard;
use crate::terminal::progress::Progress;
use retort_core::fs::{Draft, WriteError};
use retort_core::trainer::{EpochReport, Observer, StepReport, TrainError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A training's numbers on their way to the disk and the screen.
pub struct Record {
    metrics: Appender,
    events: Appender,
    progress: Progress,
    /// Where the evaluations are made: `test` or `validation`.
    split: &'static str,
    start: Instant,
    empty: bool,
    /// Seconds of training before this process.
    before: f64,
}

impl Record {
    /// Goes on with a folder's metrics after `step`: what the checkpoint made there doesn't know is
    /// dropped, and the events are made from what stays. In a new folder there is nothing to drop.
    pub fn new(folder: &Path, step: u64, split: &'static str, progress: Progress) -> Result<Self> {
        let mut metrics = Draft::new(&folder.join(METRICS)).map_err(Failure::new)?;
        let mut events = Draft::new(&folder.join(tensorboard::FILE)).map_err(Failure::new)?;
        let (mut begun, mut before) = (false, 0.0);
        for line in Lines::open(folder)? {
            let (mut text, line) = line?;
            if is_known_at(&line, step) {
                text.push('\n');
                metrics.append(text.as_bytes()).map_err(Failure::new)?;
                header(&mut events, &mut begun, line.time())?;
                events.append(&tensorboard::records(&line)).map_err(Failure::new)?;
                before = line.seconds();
            }
        }
        let empty = !begun;
        header(&mut events, &mut begun, now())?;
        Ok(Record {
            metrics: Appender::new(folder.join(METRICS), metrics)?,
            events: Appender::new(folder.join(tensorboard::FILE), events)?,
            progress,
            split,
            start: Instant::now(),
            empty,
            before,
        })
    }

    /// Seconds of training so far, without those between two processes.
    pub fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// Whether nothing was logged yet, by any process.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    /// Clears the progress bar.
    pub fn end(&mut self) {
        self.progress.end();
    }

    fn line(&mut self, mut line: Line) -> std::result::Result<(), TrainError> {
        self.empty = false;
        line.stamp(now(), self.seconds());
        let text = serde_json::to_string(&line).map_err(std::io::Error::from);
        let text = text.map_err(|e| self.metrics.failure(e))?;
        self.metrics.append(format!("{text}\n").as_bytes())?;
        Ok(self.events.append(&tensorboard::records(&line))?)
    }
}

/// Begins the events, once.
fn header(events: &mut Draft, begun: &mut bool, time: f64) -> Result<()> {
    if std::mem::replace(begun, true) {
        return Ok(());
    }
    events.append(&tensorboard::header(time)).map_err(Failure::new)
}

/// Whether a checkpoint made after `step` steps knows a line. That of an epoch comes after the
/// checkpoint at its end, and is written again.
fn is_known_at(line: &Line, step: u64) -> bool {
    match line {
        Line::Step(line) => line.step <= step,
        Line::Epoch(line) => line.step < step,
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

impl Observer for Record {
    fn step(&mut self, r: &StepReport) -> std::result::Result<(), TrainError> {
        self.progress.step(r);
        let some = |numbers: &BTreeMap<String, f64>| {
            numbers.iter().map(|(name, x)| (name.clone(), Some(*x))).collect()
        };
        self.line(Line::Step(Step {
            epoch: r.epoch,
            step: r.step as u64,
            loss: Some(r.loss),
            terms: some(&r.terms),
            values: some(&r.values),
            lr: Some(r.lr),
            images_per_second: Some(r.images_per_second),
            ..Step::default()
        }))
    }

    fn epoch(&mut self, r: &EpochReport) -> std::result::Result<(), TrainError> {
        self.progress.epoch(r);
        self.line(Line::Epoch(Epoch {
            epoch: r.epoch,
            step: r.step as u64,
            mean_loss: Some(r.loss),
            recall: r.recall.clone(),
            split: r.recall.is_some().then(|| self.split.to_owned()),
            ..Epoch::default()
        }))
    }

    fn remark(&mut self, text: &str) {
        self.progress.remark(text);
    }

    fn checkpoint(&mut self) -> std::result::Result<(), TrainError> {
        self.metrics.sync()?;
        Ok(self.events.sync()?)
    }
}

/// A file that grows.
struct Appender {
    path: PathBuf,
    file: File,
}

impl Appender {
    /// A file that continues a draft. It is written through what `publish` opened: by its name another
    /// file could be meant by then.
    fn new(path: PathBuf, draft: Draft) -> Result<Self> {
        let file = draft.publish().map_err(Failure::new)?;
        Ok(Appender { path, file })
    }

    fn append(&mut self, bytes: &[u8]) -> std::result::Result<(), WriteError> {
        self.file.write_all(bytes).map_err(|e| self.failure(e))
    }

    fn failure(&self, source: std::io::Error) -> WriteError {
        WriteError { path: self.path.clone(), source }
    }

    fn sync(&self) -> std::result::Result<(), WriteError> {
        self.file.sync_data().map_err(|e| self.failure(e))
    }
}
