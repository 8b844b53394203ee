//! `retort compare`: a suite of trainings, and its tables.

use crate::command::{Common, loss, stop_flag};
use crate::failure::{Failure, Result};
use crate::plugin::registry::Registry;
use crate::suite::plan::{Folder, Job, Planned, Planner};
use crate::suite::result::{Results, collect, fewer};
use crate::suite::table::{self, Format};
use crate::suite::work::Ended;
use crate::suite::{Over, Suite, builtin, slurm, work};
use crate::terminal::{clean, output};
use clap::{Args, ValueEnum};
use retort_core::Limits;
use retort_datasets::Split;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = concat!("The same command again goes on where it stopped: a training whose settings, losses and source \
                  are the\nsame isn't repeated. Each is a run folder in DIR/runs; the tables are DIR/table.txt, \
                  .md, .tex and .csv, and\neverything is in DIR/results.json.\n\n", native_code!(), "\n\nExamples:\n  \
                  retort compare glyphs --jobs 2\n  \
                  retort compare omniglot --data-root data/omniglot --dry-run\n  \
                  retort compare glyphs --loss my_pack.wasm#my_loss\n  \
                  retort compare my_suite.toml --data-root cub=data/CUB_200_2011 --on slurm --sbatch=--gres=gpu:1")
)]
pub struct Compare {
    /// The suite: data sets, settings, methods and seeds.
    #[arg(value_name = "SUITE", help = suite_help())]
    suite: PathBuf,
    /// The suite's folder [default: `runs/suite-NAME`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Trainings at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Where the trainings run.
    #[arg(long, value_enum, default_value_t = On::Here)]
    on: On,
    /// An argument for `sbatch`; may be given several times.
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Folder with a data set's files; a folder of such folders, by the data sets' names, without NAME.
    #[arg(long, value_name = "[NAME=]DIR")]
    data_root: Vec<String>,
    /// A key of every experiment, such as train.epochs=2.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds in place of the suite's.
    #[arg(long, value_delimiter = ',', value_name = "SEEDS")]
    seeds: Vec<u64>,
    /// A further method, a row beside the suite's: a loss, or FILE#NAME; may be given several times. What the
    /// suite's folder has already isn't trained again.
    #[arg(long, value_name = "LOSS")]
    loss: Vec<String>,
    /// Only this method; may be given several times.
    #[arg(long, value_name = "METHOD")]
    only: Vec<String>,
    /// What the tables are printed as.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// What SUITE may be.
fn suite_help() -> String {
    let names = builtin::names().collect::<Vec<_>>().join(", ");
    format!("A suite's file, or one of {names}")
}

/// Where trainings run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum On {
    /// On this machine.
    Here,
    /// As a job array on a Slurm cluster.
    Slurm,
}

/// Runs the command.
pub fn run(args: &Compare, common: &Common) -> Result<()> {
    let text = builtin::text(&args.suite)?;
    let mut suite = Suite::parse(&text, &args.suite)?;
    let mut registry = Registry::new(Limits::default())?;
    let over = over(args, &mut registry)?;
    suite.narrow(&over)?;
    let stem = args.suite.file_stem().unwrap_or_default().to_string_lossy();
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("suite-{stem}")));
    let out = std::path::absolute(&out).map_err(|e| Failure::file("find", &out, e))?;
    let folder = Folder(out);
    let mut planner = Planner::new(registry, folder.clone());
    let (sources, targets) = planner.plan(&suite, &over)?;
    data(&targets)?;
    say_fewer_trials(&suite, &targets);
    if args.dry_run {
        dry_run(&sources, &targets, &folder, common);
        return Ok(());
    }
    check_folder(&folder)?;
    folder.make()?;
    let lock = work::lock(&folder)?;
    folder.write("suite.toml", &text)?;

    let device = common.device.to_string();
    let here = Here { args, device: &device, folder: &folder, lock: &lock, stop: stop_flag()? };
    let mut outcome = Ended::default();
    if args.on == On::Slurm {
        outcome = slurm::attach(&folder, here.stop)?;
    }
    let all = sources.len() + targets.len();
    let left = here.left(&sources.iter().collect::<Vec<_>>());
    let targets_left = targets.iter().filter(|p| match &p.job {
        Some(job) => folder.summary(&job.id).is_none(),
        None => true,
    });
    let done = all - left.len() - targets_left.count();
    output::say(format_args!("{all} trainings, {done} done already; in {}", folder.0.display()));
    if !outcome.stopped {
        outcome = here.work(&left)?;
    }
    // With the sources' digests the targets have their names.
    let (_, targets) = planner.plan(&suite, &over)?;
    if !outcome.stopped {
        let jobs: Vec<&Job> = targets.iter().filter_map(|p| p.job.as_ref()).collect();
        let more = here.work(&here.left(&jobs))?;
        outcome.stopped = more.stopped;
        outcome.failed.extend(more.failed);
    }
    let results = collect(&suite, &over, &targets, &folder)?;
    for (format, name) in Format::FILES {
        folder.write(name, &table::write(&results, format))?;
    }
    print(&results, args, common, &folder);
    end(&outcome, &results)
}

/// Where and how this suite's jobs run.
struct Here<'a> {
    args: &'a Compare,
    device: &'a str,
    folder: &'a Folder,
    lock: &'a File,
    stop: &'static AtomicBool,
}

impl Here<'_> {
    /// The jobs that aren't done, each once.
    fn left<'j>(&self, jobs: &[&'j Job]) -> Vec<&'j Job> {
        let mut left: Vec<&Job> = Vec::new();
        for &job in jobs {
            let new = left.iter().all(|known| known.id != job.id);
            if new && self.folder.summary(&job.id).is_none() {
                left.push(job);
            }
        }
        left
    }

    fn work(&self, jobs: &[&Job]) -> Result<Ended> {
        let (n, device, stop) = (usize::from(self.args.jobs), self.device, self.stop);
        match self.args.on {
            On::Here => {
                let options = work::Options { jobs: n, device, lock: self.lock, stop };
                work::run(jobs, self.folder, &options)
            }
            On::Slurm => {
                let options = slurm::Options { jobs: n, device, sbatch: &self.args.sbatch, stop };
                slurm::run(jobs, self.folder, &options)
            }
        }
    }
}

fn over(args: &Compare, registry: &mut Registry) -> Result<Over> {
    let mut roots = BTreeMap::new();
    for text in &args.data_root {
        // A folder's own name may have an equals sign; a data set's has none.
        let (name, dir) = match text.split_once('=') {
            Some((name, dir)) if !Path::new(text).is_dir() => (name, dir),
            _ => ("", text.as_str()),
        };
        if !Path::new(dir).is_dir() {
            return Err(Failure::usage(format!("--data-root {text}: there is no folder {dir}")));
        }
        if roots.insert(name.to_owned(), PathBuf::from(dir)).is_some() {
            let what = if name.is_empty() { "for all data sets" } else { name };
            return Err(Failure::usage(format!("--data-root is given twice {what}")));
        }
    }
    let (set, seeds, only) = (args.set.clone(), args.seeds.clone(), args.only.clone());
    let mut losses = Vec::new();
    for name in &args.loss {
        let found = registry.find(name)?;
        losses.push((name.clone(), loss::uses_source(&found, &Limits::default())));
    }
    Ok(Over { roots, set, seeds, only, losses })
}

/// A sweep with fewer different trials than it asks for says so before it begins.
fn say_fewer_trials(suite: &Suite, targets: &[Planned]) {
    for (m, method) in suite.method.iter().enumerate() {
        let of: Vec<_> = targets.iter().map(|t| &t.wanted).filter(|w| w.method == m).collect();
        let mut trials: Vec<&Map<String, Value>> = Vec::new();
        for wanted in &of {
            if !trials.contains(&&wanted.trial) {
                trials.push(&wanted.trial);
            }
        }
        let asked = of.first().map_or(0, |wanted| wanted.asked);
        if let Some(text) = fewer(&method.name, trials.len(), asked) {
            output::say(clean::line(&text));
        }
    }
}

/// Wrong data is told at once, not by every training.
fn data(targets: &[Planned]) -> Result<()> {
    let mut seen = Vec::new();
    for planned in targets {
        let data = &planned.wanted.experiment.data;
        if !seen.contains(&data) {
            data.open(Split::Train)?;
            seen.push(data);
        }
    }
    Ok(())
}

/// A folder with anything else in it isn't ours.
fn check_folder(folder: &Folder) -> Result<()> {
    let Ok(mut entries) = std::fs::read_dir(&folder.0) else { return Ok(()) };
    if entries.next().is_none() || folder.0.join("suite.toml").is_file() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} isn't empty, and no suite's folder: name another with --out",
        folder.0.display()
    )))
}

fn dry_run(sources: &[Job], targets: &[Planned], folder: &Folder, common: &Common) {
    let mut jobs: Vec<(String, bool)> =
        sources.iter().map(|job| (job.label.clone(), folder.summary(&job.id).is_some())).collect();
    for planned in targets {
        let job = planned.job.as_ref();
        let done = job.is_some_and(|job| folder.summary(&job.id).is_some());
        jobs.push((planned.label.clone(), done));
    }
    if common.json {
        let list: Vec<Value> =
            jobs.iter().map(|(label, done)| json!({"training": label, "done": done})).collect();
        output::json(&json!({"folder": folder.0, "trainings": list}));
        return;
    }
    for (label, done) in &jobs {
        let label = clean::line(label);
        output::line(format_args!("{} {label}", if *done { "done " } else { "to do" }));
    }
    let done = jobs.iter().filter(|(_, done)| *done).count();
    output::line(format_args!("{} trainings, {done} done, in {}", jobs.len(), folder.0.display()));
}

fn print(results: &Results, args: &Compare, common: &Common, folder: &Folder) {
    let format = if common.json { Format::Json } else { args.format };
    let text = table::write(results, format);
    if format == Format::Text {
        output::marked(&text);
    } else {
        output::line(text.trim_end());
    }
    if format == Format::Text {
        output::line(format_args!("Try: retort report {}", folder.0.display()));
    }
}

fn end(outcome: &Ended, results: &Results) -> Result<()> {
    if outcome.stopped {
        let message = format!(
            "stopped; {} trainings are left, and the same command goes on with them",
            results.missing
        );
        return Err(Failure::ended(message, 130));
    }
    if outcome.failed.is_empty() && results.missing == 0 {
        return Ok(());
    }
    let failed = outcome.failed.len();
    let mut failure = Failure::new(format!(
        "{} trainings are missing, {failed} failed; the same command tries them again",
        results.missing
    ));
    let list = outcome.failed.iter().take(10).map(|(label, why)| format!("{label}: {why}"));
    failure.list = list.collect();
    Err(failure)
}
