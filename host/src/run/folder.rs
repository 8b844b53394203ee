//! A run's folder: what is in it, and how far it came.

use crate::experiment::Experiment;
use crate::failure::{Failure, Result};
use crate::io::regular;
use crate::plugin::registry::short_name;
use crate::run::claim::is_unbegun;
use crate::run::course::Course;
use crate::run::info::Info;
use crate::run::line::why;
use crate::run::lock::Lock;
use crate::run::outcome::Outcome;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

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

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It came to its end.
    Complete,
    /// A process trains in it.
    Running,
    /// Neither: `retort train resume` goes on with it.
    Interrupted,
    /// It ended with an error, which its summary has.
    Failed,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            State::Complete => "complete",
            State::Running => "running",
            State::Interrupted => "interrupted",
            State::Failed => "failed",
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
    /// The text of `config.toml`.
    pub text: String,
    /// What `run.json` says.
    pub info: Info,
    /// How it ended, if it did.
    pub summary: Option<Outcome>,
    /// What `metrics.jsonl` says.
    pub course: Course,
    /// How far it is.
    pub state: State,
}

impl Run {
    /// Reads a run's folder.
    pub fn open(path: &Path) -> Result<Self> {
        if !is_run(path) {
            return Err(Failure::usage(no_run(path)));
        }
        let config = path.join(CONFIG);
        let text = regular::read(&config, regular::SMALL);
        let text = text.map_err(|e| Failure::file("read", &config, e))?;
        let config = Experiment::of_run(&text, &config)?;
        let summary = path.join(SUMMARY);
        let there = summary.symlink_metadata().is_ok();
        let summary: Option<Outcome> = there.then(|| read_object(&summary)).transpose()?;
        let state = match &summary {
            _ if Lock::is_taken(path) => State::Running,
            Some(summary) if !summary.interrupted => State::Complete,
            Some(summary) if summary.failed.is_some() => State::Failed,
            _ => State::Interrupted,
        };
        let info = read_object(&path.join(INFO))?;
        Ok(Run {
            path: path.to_owned(),
            config,
            text,
            info,
            summary,
            course: Course::read(path)?,
            state,
        })
    }

    /// `source` or `target`.
    pub fn role(&self) -> &str {
        match self.info.role.as_deref() {
            Some(role) => role,
            None if self.config.source.is_some() => "target",
            None => "source",
        }
    }

    /// Whether it came to its end, whoever works in it now.
    pub fn has_ended(&self) -> bool {
        self.summary.as_ref().is_some_and(|summary| !summary.interrupted)
    }

    /// Why it failed, if it did.
    pub fn failed(&self) -> Option<&str> {
        let summary = self.summary.as_ref().filter(|_| self.state == State::Failed);
        summary.and_then(|summary| summary.failed.as_deref())
    }

    /// Its losses' names, without the files they come from.
    pub fn losses(&self) -> String {
        let names = self.config.loss.iter().map(|l| short_name(&l.name));
        names.collect::<Vec<_>>().join("+")
    }

    /// The best evaluation's epoch, its Recall at the smallest K, and the split it was made on. On
    /// the test classes, if the run has come to its end.
    pub fn best(&self) -> Option<(usize, f64, &str)> {
        let chosen = self.summary.as_ref().and_then(|summary| summary.best.as_ref());
        if let Some(best) = chosen
            && let Some((_, recall)) = best.first_recall()
        {
            return Some((best.epoch, recall, "test"));
        }
        self.course.best.as_ref().map(|(epoch, recall, split)| (*epoch, *recall, split.as_str()))
    }
}

/// Why a folder isn't a run, and what to do.
pub fn no_run(path: &Path) -> String {
    let run = path.display();
    if is_unbegun(path) && !Lock::is_taken(path) {
        return format!(
            "{run} isn't a run yet: its training was killed before it had begun. Train into it again \
             with --out {run}, or delete it with `retort runs rm {run} --yes`"
        );
    }
    let why = if path.is_dir() {
        format!("it has no {INFO}; `retort runs list` shows the runs in a folder")
    } else if path.exists() {
        "it is no folder".to_owned()
    } else {
        "there is no such folder".to_owned()
    };
    format!("{run} isn't a run: {why}")
}

/// Whether a folder is a run's.
pub fn is_run(path: &Path) -> bool {
    path.join(INFO).is_file() && path.join(CONFIG).is_file()
}

/// The runs in a folder and in the folders in it, in the order of their names. A run's own folders
/// aren't looked into.
pub fn find(dir: &Path) -> Result<Vec<PathBuf>> {
    const DEPTH: usize = 4;
    if !is_run(dir) {
        std::fs::read_dir(dir).map_err(|e| Failure::file("look for runs in", dir, e))?;
    }
    let walk = WalkDir::new(dir).max_depth(DEPTH);
    let mut folders = walk.into_iter().filter_entry(|entry| {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        entry.depth() == 0 || (entry.file_type().is_dir() && !hidden)
    });
    let mut found = Vec::new();
    while let Some(folder) = folders.next() {
        // One that went away, or is another user's, hides none of the others.
        let Ok(folder) = folder else { continue };
        if is_run(folder.path()) {
            found.push(folder.into_path());
            folders.skip_current_dir();
        }
    }
    found.sort();
    Ok(found)
}

/// A small file with one JSON object.
fn read_object<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = regular::read(path, regular::SMALL).map_err(|e| Failure::file("read", path, e))?;
    if !text.trim_start().starts_with('{') {
        return Err(Failure::file("use", path, "it is no object"));
    }
    serde_json::from_str(&text).map_err(|e| Failure::file("use", path, why(&e)))
}
