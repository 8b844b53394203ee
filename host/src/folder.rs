//! A run's folder: what is in it, who works in it, and how far it came.

use crate::experiment::Experiment;
use crate::failure::{Failure, Result};
use serde_json::Value;
use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The resolved configuration.
pub const CONFIG: &str = "config.toml";
/// With what the run was begun: versions, digests, device. A folder that has it is a run.
pub const INFO: &str = "run.json";
/// One JSON object a line: log points and epochs.
pub const METRICS: &str = "metrics.jsonl";
/// How the training ended.
pub const SUMMARY: &str = "summary.json";
/// The last checkpoint, from which the run can go on.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// The network of the best evaluation.
pub const BEST: &str = "best.safetensors";
/// Locked by the process that trains.
const LOCK: &str = ".lock";

/// Held by the process that trains in a folder. The system lets go of it however the process ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "locked while it is open")] File);

impl Lock {
    /// Takes the folder for this process, or says which one has it.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK);
        let fail = |e: std::io::Error| Failure::file("lock the run folder by", &path, e);
        let mut open = File::options();
        let mut file =
            open.read(true).write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        // `retort runs` looks whether a run is locked by locking it for a moment.
        for attempt in 0.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < 20 => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => {
                    let mut owner = String::new();
                    let _ = file.read_to_string(&mut owner);
                    return Err(Failure::new(format!(
                        "{} is being trained by process {}: wait until it has ended, or stop it \
                         with Ctrl-C",
                        dir.display(),
                        owner.trim()
                    )));
                }
                // A file system without locks: better without than not at all.
                Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => break,
                Err(TryLockError::Error(e)) => return Err(fail(e)),
            }
        }
        let mut sign = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        sign().map_err(fail)?;
        Ok(Lock(file))
    }

    /// Whether a process trains in the folder.
    fn is_taken(dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join(LOCK)) else { return false };
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It came to its end.
    Complete,
    /// A process trains in it.
    Running,
    /// Neither: `retort train resume` goes on with it.
    Interrupted,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            State::Complete => "complete",
            State::Running => "running",
            State::Interrupted => "interrupted",
        })
    }
}

/// A run, as its folder tells.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// What it was asked for.
    pub config: Experiment,
    /// What `run.json` says.
    pub info: Value,
    /// How it ended, if it did.
    pub summary: Option<Value>,
    /// The lines of `metrics.jsonl`.
    pub metrics: Vec<Value>,
    /// How far it is.
    pub state: State,
}

impl Run {
    /// Reads a run's folder.
    pub fn open(path: &Path) -> Result<Self> {
        if !is_run(path) {
            let why = if path.is_dir() {
                format!("it has no {INFO}; `retort runs list` shows the runs in a folder")
            } else if path.exists() {
                "it is no folder".to_owned()
            } else {
                "there is no such folder".to_owned()
            };
            return Err(Failure::usage(format!("{} isn't a run: {why}", path.display())));
        }
        let config = Experiment::read(Some(&path.join(CONFIG)), Experiment::default(), &[])?;
        let summary = path.join(SUMMARY);
        let summary = if summary.is_file() { Some(read_json(&summary)?) } else { None };
        let ended = |s: &Value| s["interrupted"] == Value::Bool(false);
        let state = match &summary {
            _ if Lock::is_taken(path) => State::Running,
            Some(summary) if ended(summary) => State::Complete,
            _ => State::Interrupted,
        };
        let info = read_json(&path.join(INFO))?;
        Ok(Run { path: path.to_owned(), config, info, summary, metrics: metrics(path)?, state })
    }

    /// `source` or `target`.
    pub fn role(&self) -> &str {
        match self.info["role"].as_str() {
            Some(role) => role,
            None if self.config.source.is_some() => "target",
            None => "source",
        }
    }

    /// Its losses' names, without the files they come from.
    pub fn losses(&self) -> String {
        let names = self.config.loss.iter().map(|l| l.name.rsplit('#').next().unwrap_or(&l.name));
        names.collect::<Vec<_>>().join("+")
    }

    /// Epochs that are done.
    pub fn epochs(&self) -> u64 {
        let epochs = self.epoch_lines().filter_map(|line| line["epoch"].as_u64());
        epochs.max().unwrap_or(0)
    }

    /// The best evaluation's epoch, its Recall at the smallest K, and the split it was made on. On
    /// the test classes, if the run has come to its end.
    pub fn best(&self) -> Option<(u64, f64, &str)> {
        let chosen = self.summary.as_ref().map_or(&Value::Null, |summary| &summary["best"]);
        if let (Some(epoch), Some(recall)) = (chosen["epoch"].as_u64(), smallest(chosen)) {
            return Some((epoch, recall, "test"));
        }
        let mut best: Option<(u64, f64, &str)> = None;
        for line in self.epoch_lines() {
            let (Some(epoch), Some(value)) = (line["epoch"].as_u64(), smallest(line)) else {
                continue;
            };
            if best.is_none_or(|(_, most, _)| value > most) {
                best = Some((epoch, value, line["split"].as_str().unwrap_or("test")));
            }
        }
        best
    }

    /// One number's course: `loss` of the log points, `mean_loss` of the epochs, and the like.
    pub fn curve(&self, key: &str) -> Vec<f64> {
        self.metrics.iter().filter_map(|line| line[key].as_f64()).collect()
    }

    /// Recall at the smallest K, of the epochs that were evaluated.
    pub fn recalls(&self) -> Vec<f64> {
        self.epoch_lines().filter_map(smallest).collect()
    }

    fn epoch_lines(&self) -> impl Iterator<Item = &Value> {
        self.metrics.iter().filter(|line| line.get("mean_loss").is_some())
    }
}

/// Recall at the smallest K of what has a `recall`.
fn smallest(line: &Value) -> Option<f64> {
    let recall = line["recall"].as_object().into_iter().flatten();
    recall.min_by_key(|(k, _)| k.parse::<u64>().unwrap_or(u64::MAX))?.1.as_f64()
}

/// Whether a folder is a run's.
pub fn is_run(path: &Path) -> bool {
    path.join(INFO).is_file() && path.join(CONFIG).is_file()
}

/// The runs in a folder and in the folders in it, in the order of their names. A run's own folders
/// aren't looked into.
pub fn find(dir: &Path) -> Result<Vec<PathBuf>> {
    const DEPTH: usize = 4;
    let (mut found, mut open) = (Vec::new(), vec![(dir.to_owned(), 0)]);
    while let Some((dir, depth)) = open.pop() {
        if is_run(&dir) {
            found.push(dir);
            continue;
        }
        let entries =
            std::fs::read_dir(&dir).map_err(|e| Failure::file("look for runs in", &dir, e))?;
        for entry in entries.filter_map(std::result::Result::ok) {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if depth < DEPTH && !hidden && entry.file_type().is_ok_and(|t| t.is_dir()) {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The lines of a run's metrics.
pub fn metrics(dir: &Path) -> Result<Vec<Value>> {
    Ok(metrics_with_text(dir)?.into_iter().map(|(_, line)| line).collect())
}

/// The same with their text, whose numbers have all digits; a line that was cut off ends them.
pub fn metrics_with_text(dir: &Path) -> Result<Vec<(String, Value)>> {
    let path = dir.join(METRICS);
    let whole = |l: &str| Some((l.to_owned(), serde_json::from_str(l).ok()?));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().map_while(whole).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Failure::file("read", &path, e)),
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, e))?;
    serde_json::from_str(&text).map_err(|e| Failure::file("read", path, e))
}
