//! Reads run folders and suites.

use crate::experiment::Experiment;
use crate::failure::{Failure, Result};
use crate::run::folder;
use crate::run::info::Info;
use crate::run::line::Line;
use crate::run::outcome::Outcome;
use crate::suite::result::{self, Results};
use std::path::{Path, PathBuf};

/// Everything that a report shows, before any embedding.
#[derive(Debug)]
pub struct Gathered {
    pub title: String,
    pub about: String,
    /// The results of a suite, if it is one.
    pub results: Option<Results>,
    pub runs: Vec<Run>,
    /// Why runs that were asked for are missing.
    pub lacks: Vec<String>,
}

/// One run folder.
#[derive(Debug)]
pub struct Run {
    pub folder: PathBuf,
    /// Its name in the report.
    pub name: String,
    /// Runs of one group differ in their seed only.
    pub group: String,
    /// Its name in its group.
    pub member: String,
    pub experiment: Experiment,
    /// `config.toml` as it is.
    pub config: String,
    /// `run.json`.
    pub info: Info,
    /// The lines of `metrics.jsonl`.
    pub metrics: Vec<Line>,
    /// `summary.json`; nothing while it trains.
    pub summary: Outcome,
}

/// Reads what the paths name.
pub fn gather(paths: &[PathBuf]) -> Result<Gathered> {
    if let [path] = paths
        && path.join("results.json").is_file()
    {
        return suite(path);
    }
    let mut folders = Vec::new();
    for path in paths {
        if path.join("results.json").is_file() {
            return Err(Failure::usage(format!(
                "{} is a suite; a report has one suite, or runs",
                path.display()
            )));
        }
        folders.extend(expand(path)?);
    }
    let (mut runs, mut lacks) = (Vec::new(), Vec::new());
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match run(&folder, name.clone(), "runs".to_owned(), name) {
            Ok(run) => runs.push(run),
            Err(why) => lacks.push(why),
        }
    }
    let lacks = lacking(runs.is_empty(), lacks)?;
    let title = match (paths, runs.as_slice()) {
        (_, [only]) => only.name.clone(),
        ([folder], _) => folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (_, runs) => format!("{} runs", runs.len()),
    };
    Ok(Gathered { title, about: String::new(), results: None, runs, lacks })
}

/// Some damaged runs hide no others; but nothing at all is no report.
fn lacking(nothing: bool, failures: Vec<Failure>) -> Result<Vec<String>> {
    let mut failures = failures.into_iter();
    if nothing && let Some(first) = failures.next() {
        return Err(first);
    }
    Ok(failures.map(|why| format!("not all runs: {}", why.message)).collect())
}

/// A run folder, or those in a folder, sources first.
fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    if folder::is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut inside = folder::find(path)?;
    let target = |dir: &PathBuf| {
        !dir.file_name().unwrap_or_default().to_string_lossy().starts_with("source")
    };
    inside.sort_by_key(|dir| (target(dir), dir.clone()));
    if inside.is_empty() {
        let why = "it is no run folder (it has no config.toml and run.json), and holds none; nor is it \
                   a suite's (that has results.json)";
        return Err(Failure::usage(format!("can't report on {}: {why}", path.display())));
    }
    Ok(inside)
}

fn run(path: &Path, name: String, group: String, member: String) -> Result<Run> {
    let run = folder::Run::open(path)?;
    Ok(Run {
        folder: path.to_owned(),
        name,
        group,
        member,
        experiment: run.config,
        config: run.text,
        info: run.info,
        metrics: run.course.lines,
        summary: run.summary.unwrap_or_default(),
    })
}

fn suite(path: &Path) -> Result<Gathered> {
    let results = result::read(path)?;
    let several = results.tables.iter().any(|t| t.columns.len() > 1);
    let (mut runs, mut lacks): (Vec<Run>, _) = (Vec::new(), Vec::new());
    for table in &results.tables {
        for row in &table.rows {
            for (column, cell) in table.columns.iter().zip(&row.cells) {
                let mut group = row.name.clone();
                if several {
                    group = format!("{group} on {}", column.dataset);
                }
                if !table.setting.is_empty() && !row.source {
                    group = format!("{group}, {}", table.setting);
                }
                for done in &cell.runs {
                    // A suite that was moved: its runs lie where they lay in it.
                    let folder = [done.run.clone(), moved(path, &done.run)];
                    let folder = folder.into_iter().find(|f| f.join("config.toml").is_file());
                    let Some(folder) = folder else { continue };
                    if runs.iter().any(|r| r.folder == folder) {
                        continue;
                    }
                    let member = format!("seed {}", done.seed);
                    match run(&folder, format!("{group}, {member}"), group.clone(), member) {
                        Ok(run) => runs.push(run),
                        Err(why) => lacks.push(why),
                    }
                }
            }
        }
    }
    let lacks = lacking(false, lacks)?;
    let (title, about) = (results.title.clone(), results.about.clone());
    Ok(Gathered { title, about, results: Some(results), runs, lacks })
}

/// Where a run lies in a suite that was moved.
fn moved(suite: &Path, run: &Path) -> PathBuf {
    suite.join("runs").join(run.file_name().unwrap_or_default())
}

impl Gathered {
    /// The run at a folder, or what a moved suite made of it.
    pub fn find(&self, folder: &Path) -> Option<&Run> {
        let name = folder.file_name();
        let same = |r: &&Run| r.folder == folder;
        let moved = |r: &&Run| self.results.is_some() && r.folder.file_name() == name;
        self.runs.iter().find(same).or_else(|| self.runs.iter().find(moved))
    }
}
