//! Jobs on a cluster: one Slurm job array for what can run at the same time.

use super::plan::{Folder, Job};
use super::work::{Ended, done, prepare, why};
use crate::failure::{Failure, Result};
use crate::io::regular;
use crate::terminal::clean;
use crate::terminal::output::say;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How jobs are submitted.
#[derive(Debug)]
pub struct Options<'a> {
    /// How many at a time.
    pub jobs: usize,
    /// The value of `--device`.
    pub device: &'a str,
    /// More arguments of `sbatch`.
    pub sbatch: &'a [String],
    /// Set when the user asks to stop waiting.
    pub stop: &'static AtomicBool,
}

/// Most tasks of an array: Slurm's default `MaxArraySize` is 1001.
const MOST: usize = 1000;

/// What was submitted, in `slurm.json` of the suite's folder, so that a suite that was interrupted
/// finds its arrays again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Submitted {
    arrays: Vec<String>,
}

/// Submits the jobs that aren't done, and waits for them.
pub fn run(jobs: &[&Job], folder: &Folder, options: &Options) -> Result<Ended> {
    if jobs.is_empty() {
        return Ok(Ended::default());
    }
    let mut arrays = Vec::new();
    for (number, part) in jobs.chunks(MOST).enumerate() {
        arrays.push(submit(part, number, folder, options)?);
        let submitted = Submitted { arrays: arrays.clone() };
        let text = serde_json::to_string(&submitted).map_err(Failure::new)?;
        folder.write("slurm.json", &text)?;
    }
    let tasks = jobs.len();
    say(format_args!("Slurm has {tasks} trainings as job {}", arrays.join(", ")));
    let mut outcome = wait(&arrays, jobs, folder, options.stop)?;
    if !outcome.stopped {
        for job in jobs.iter().filter(|job| folder.summary(&job.id).is_none()) {
            let log = folder.log(&job.id);
            let why = if log.is_file() {
                why(&log)
            } else {
                format!("it left no log; ask `sacct -j {}`", arrays.join(","))
            };
            outcome.failed.push((job.label.clone(), why));
        }
    }
    Ok(outcome)
}

/// Waits for arrays that an earlier call submitted, if there are any in the queue.
pub fn attach(folder: &Folder, stop: &'static AtomicBool) -> Result<Ended> {
    let path = folder.0.join("slurm.json");
    let Ok(text) = regular::read(&path, regular::SMALL) else { return Ok(Ended::default()) };
    let submitted: Submitted =
        serde_json::from_str(&text).map_err(|e| Failure::file("use", &path, e))?;
    let mut waiting = Vec::new();
    for array in submitted.arrays.into_iter().filter(|array| is_number(array)) {
        if queued(&array)? {
            waiting.push(array);
        }
    }
    if waiting.is_empty() {
        return Ok(Ended::default());
    }
    say(format_args!("Slurm still works on job {}", waiting.join(", ")));
    wait(&waiting, &[], folder, stop)
}

/// Text for the shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

fn submit(jobs: &[&Job], number: usize, folder: &Folder, options: &Options) -> Result<String> {
    let program = std::env::current_exe().map_err(Failure::new)?;
    let mut script = format!(
        "#!/bin/sh\n#SBATCH --job-name=retort\n#SBATCH --array=0-{}%{}\n#SBATCH --output=/dev/null\n\
         # Written by `retort compare --on slurm`: one training a task.\ncase \"$SLURM_ARRAY_TASK_ID\" in\n",
        jobs.len() - 1,
        options.jobs
    );
    for (task, job) in jobs.iter().enumerate() {
        let arguments = prepare(folder, job, options.device)?;
        let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
        let log = quote(&folder.log(&job.id).display().to_string());
        let program = quote(&program.display().to_string());
        let _ = writeln!(script, "{task}) exec {program} {} >{log} 2>&1 ;;", words.join(" "));
    }
    script.push_str("esac\n");
    let name = format!("slurm-{number}.sh");
    folder.write(&name, &script)?;
    let mut command = Command::new("sbatch");
    command.arg("--parsable").args(options.sbatch).arg(folder.0.join(&name));
    let output = output(command, "sbatch")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("sbatch refused the job array: {}", said.trim())));
    }
    // `--parsable` prints the number, and after a semicolon the cluster's name.
    let said = String::from_utf8_lossy(&output.stdout);
    let id = said.trim().split(';').next().unwrap_or_default().to_owned();
    if !is_number(&id) {
        return Err(Failure::new(format!(
            "sbatch printed {:?}, which is no job number",
            said.trim()
        )));
    }
    Ok(id)
}

fn is_number(array: &str) -> bool {
    !array.is_empty() && array.chars().all(|c| c.is_ascii_digit())
}

fn output(mut command: Command, name: &str) -> Result<Output> {
    command.output().map_err(|e| {
        Failure::new(format!(
            "can't run {name}: {e}. `--on slurm` needs Slurm's commands on this machine's PATH"
        ))
    })
}

/// Whether a job is still in the queue.
fn queued(array: &str) -> Result<bool> {
    let mut failures = 0;
    loop {
        let mut command = Command::new("squeue");
        command.args(["--noheader", "--jobs", array, "--format=%T"]);
        let output = output(command, "squeue")?;
        if output.status.success() {
            return Ok(!output.stdout.trim_ascii().is_empty());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("Invalid job id") {
            return Ok(false);
        }
        // A controller that restarts is no end of the job.
        failures += 1;
        if failures == 20 {
            return Err(Failure::new(format!("squeue doesn't answer: {}", said.trim())));
        }
        std::thread::sleep(Duration::from_secs(3));
    }
}

fn wait(
    arrays: &[String],
    jobs: &[&Job],
    folder: &Folder,
    stop: &'static AtomicBool,
) -> Result<Ended> {
    let mut told = BTreeSet::new();
    let mut tell = || {
        for job in jobs {
            if let Some(summary) = folder.summary(&job.id).filter(|_| told.insert(job.id.clone())) {
                let (n, label) = (told.len(), clean::line(&job.label));
                say(format_args!("[{n}/{}] {label}: {}", jobs.len(), done(&summary)));
            }
        }
    };
    for array in arrays {
        while queued(array)? {
            tell();
            for _ in 0..20 {
                if stop.load(Ordering::Relaxed) {
                    return Ok(Ended { stopped: true, ..Ended::default() });
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    tell();
    Ok(Ended::default())
}
