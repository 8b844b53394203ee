//! Jobs on this machine: each a process of its own, so that one that crashes ends no other.

use super::plan::{Folder, Job};
use crate::failure::{Failure, Result};
use crate::io::regular;
use crate::run::folder::{CHECKPOINT, is_run};
use crate::run::outcome::Outcome;
use crate::terminal::{clean, output};
use indicatif::{ProgressBar, ProgressStyle};
use retort_core::fs::atomic_write;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How jobs are worked off.
#[derive(Debug)]
pub struct Options<'a> {
    /// How many at a time.
    pub jobs: usize,
    /// The value of `--device`.
    pub device: &'a str,
    /// Held by this process and by every job it starts.
    pub lock: &'a File,
    /// Set when the user asks to stop.
    pub stop: &'static AtomicBool,
}

/// What became of jobs.
#[derive(Debug, Default)]
pub struct Ended {
    /// Label of each that failed, and why.
    pub failed: Vec<(String, String)>,
    /// Whether the user stopped it.
    pub stopped: bool,
}

/// The lock of a suite's folder.
///
/// Jobs inherit it: while one that lost its suite still trains, no other suite starts there.
pub fn lock(folder: &Folder) -> Result<File> {
    let path = folder.0.join("lock");
    let (file, _) = regular::make(&path).map_err(|e| Failure::file("make", &path, e))?;
    file.try_lock().map_err(|_| {
        Failure::new(format!(
            "another `retort compare`, or a training that one left behind, still works in {}: wait \
             for it, or stop it",
            folder.0.display()
        ))
    })?;
    Ok(file)
}

/// Writes a job's experiment file, and gives the arguments of its process: an interrupted run goes on
/// from its last checkpoint.
pub fn prepare(folder: &Folder, job: &Job, device: &str) -> Result<Vec<String>> {
    let text = toml::to_string(&job.experiment)
        .map_err(|e| Failure::new(format!("can't write the experiment as TOML: {e}")))?;
    let (config, run) = (folder.config(&job.id), folder.run(&job.id));
    atomic_write(&config, text.as_bytes()).map_err(Failure::new)?;
    // What it said before; a link of this name would lead its words elsewhere.
    let log = folder.log(&job.id);
    match std::fs::remove_file(&log) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Failure::file("delete", &log, e)),
        _ => {}
    }
    let path = |path: &Path| path.display().to_string();
    let device = format!("--device={device}");
    if is_run(&run) && run.join(CHECKPOINT).is_file() {
        return Ok(vec!["train".to_owned(), "resume".to_owned(), path(&run), device]);
    }
    if run.exists() {
        // It hasn't saved anything yet.
        std::fs::remove_dir_all(&run)
            .map_err(|e| Failure::file("clear the unfinished run", &run, e))?;
    }
    let (train, out) = ("train".to_owned(), "--out".to_owned());
    Ok(vec![train, job.role.to_owned(), path(&config), out, path(&run), device])
}

/// Why a job failed, from what it said.
pub fn why(log: &Path) -> String {
    let text = regular::read(log, regular::SMALL).unwrap_or_default();
    let error = text.lines().rev().find_map(|l| l.strip_prefix("error: "));
    let last = error.or_else(|| text.lines().rev().find(|l| !l.trim().is_empty()));
    last.map_or_else(|| "it said nothing".to_owned(), str::to_owned)
}

/// A line about a job that is done.
pub fn done(summary: &Outcome) -> String {
    let recall = summary.first_recall().map(|(k, r)| format!("Recall@{k} {:.1} %", 100.0 * r));
    format!("{} ({:.0} s)", recall.unwrap_or_default(), summary.seconds.unwrap_or_default())
}

/// Works the jobs off that aren't done.
pub fn run(jobs: &[&Job], folder: &Folder, options: &Options) -> Result<Ended> {
    let mut outcome = Ended::default();
    let mut waiting = jobs.iter().copied();
    let mut running: Vec<(&Job, Child, Instant)> = Vec::new();
    let bar = bar(jobs.len());
    let say = |text: String| match &bar {
        Some(bar) => bar.println(clean::line(&text)),
        None => output::say(clean::line(&text)),
    };
    let (mut ended, all) = (0, jobs.len());
    loop {
        let stop = options.stop.load(Ordering::Relaxed);
        if stop && !outcome.stopped {
            outcome.stopped = true;
            for (_, child, _) in &running {
                interrupt(child);
            }
        }
        while running.len() < options.jobs && !stop {
            let Some(job) = waiting.next() else { break };
            running.push((job, start(folder, job, options)?, Instant::now()));
        }
        if running.is_empty() {
            break;
        }
        let mut still = Vec::new();
        for (job, mut child, since) in running {
            let status =
                child.try_wait().map_err(|e| Failure::new(format!("{}: {e}", job.label)))?;
            let Some(status) = status else {
                still.push((job, child, since));
                continue;
            };
            ended += 1;
            if let Some(bar) = &bar {
                bar.inc(1);
            }
            match folder.summary(&job.id) {
                Some(summary) if status.success() => {
                    say(format!("[{ended}/{all}] {}: {}", job.label, done(&summary)));
                }
                _ if outcome.stopped => {}
                _ => {
                    let why = why(&folder.log(&job.id));
                    say(format!("[{ended}/{all}] {}: failed: {why}", job.label));
                    outcome.failed.push((job.label.clone(), why));
                }
            }
        }
        running = still;
        if let Some(bar) = &bar {
            let labels: Vec<&str> = running.iter().map(|(job, ..)| job.label.as_str()).collect();
            bar.set_message(clean::line(&labels.join(" · ")).into_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(outcome)
}

fn bar(jobs: usize) -> Option<ProgressBar> {
    std::io::stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(jobs as u64);
        let style = "{bar:24} {pos}/{len}  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    })
}

fn start(folder: &Folder, job: &Job, options: &Options) -> Result<Child> {
    let arguments = prepare(folder, job, options.device)?;
    let path = folder.log(&job.id);
    let log = File::create_new(&path).map_err(|e| Failure::file("write", &path, e))?;
    let clone = |file: &File| file.try_clone().map_err(|e| Failure::file("write", &path, e));
    let program = std::env::current_exe().map_err(Failure::new)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::from(clone(options.lock)?))
        .stdout(Stdio::from(clone(&log)?))
        .stderr(Stdio::from(log));
    if options.jobs > 1 && std::env::var_os("RAYON_NUM_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env("RAYON_NUM_THREADS", (cores / options.jobs).max(1).to_string());
    }
    #[cfg(unix)]
    {
        // A group of its own: a Ctrl-C for the suite reaches it once, from the suite.
        use std::os::unix::process::CommandExt as _;
        command.process_group(0);
    }
    command.spawn().map_err(|e| Failure::new(format!("can't start {}: {e}", job.label)))
}

/// Asks a training to stop after saving.
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    let _ = Command::new("kill").args(["-INT", &pid]).stderr(Stdio::null()).status();
}
