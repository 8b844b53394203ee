//! Runs attacks by the program `retort`, each in a process of its own: what it said, how it ended, how
//! long it took, and how much memory.

use super::memory::field;
use super::{Job, PACK};
use crate::{Case, load_paths};
use retort_host::loss::tensors::write;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The program that is attacked.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Where it computes, as for `--device`.
    pub device: String,
}

/// A folder of the test's own, with the batch that losses are computed on.
#[derive(Debug)]
pub struct Place(tempfile::TempDir);

/// The batch's file in it.
const BATCH: &str = "batch.safetensors";

impl Place {
    /// Makes the folder.
    pub fn new() -> std::io::Result<Self> {
        let place = Place(tempfile::tempdir()?);
        write(&place.folder().join(BATCH), &Case::example(6, 4, 3).tensors())
            .map_err(|e| std::io::Error::other(e.message))?;
        Ok(place)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}

/// How a process ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// Its exit code; none if a signal ended it, or the time given to it was over.
    pub code: Option<i32>,
    /// Its last line on standard error, without `error: `.
    pub message: String,
    /// All that it wrote on standard error.
    pub stderr: String,
    /// Seconds it took.
    pub seconds: f64,
    /// Mebibytes of memory that it had at most; 0 where the system doesn't say it.
    pub mebibytes: u64,
    /// Whether it was killed, because it took more than thrice its time and half a minute.
    pub killed: bool,
}

impl Ended {
    /// What is wrong with this end of a job, if something is. `base` is the memory of a loss that behaves.
    pub fn fault(&self, job: &Job, base: u64) -> Option<String> {
        let attack = &job.attack;
        let wrong = |what: String| Some(format!("{job}: {what}; it said: {}", cut(&self.stderr)));
        let lines = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        let control = |c: char| c.is_control() && c != '\n' || is_bidirectional(c);
        if self.killed {
            wrong(format!("it hung for {:.0} s", self.seconds))
        } else if self.code != Some(1) {
            wrong(format!("it ended with {:?} instead of an error and exit code 1", self.code))
        } else if lines != 1 || (!attack.trains && self.stderr.lines().count() != 1) {
            wrong("it isn't one sentence".to_owned())
        } else if self.message.len() > 5000 {
            wrong(format!("its message has {} bytes", self.message.len()))
        } else if let Some(bad) = self.stderr.chars().find(|&c| control(c)) {
            wrong(format!("{bad:?} reached the terminal"))
        } else if self.message.contains("a bug in retort") {
            wrong("it is called a bug in retort".to_owned())
        } else if !attack.says.iter().any(|says| self.message.contains(says)) {
            wrong(format!("it doesn't say one of {:?}", attack.says))
        } else if self.seconds > attack.seconds {
            wrong(format!("it took {:.1} s of {} s", self.seconds, attack.seconds))
        } else if self.mebibytes > base + attack.mebibytes {
            wrong(format!(
                "it took {} MiB of {base} MiB and {} MiB",
                self.mebibytes, attack.mebibytes
            ))
        } else {
            None
        }
    }
}

/// Characters that turn the order of text around.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// The beginning of a text.
fn cut(text: &str) -> String {
    text.chars().take(600).collect()
}

/// Runs jobs, two at a time; their ends are in the order of the jobs.
///
/// # Panics
/// If a process can't be started.
pub fn run(jobs: &[Job], program: &Program, place: &Place) -> Vec<Ended> {
    let next = AtomicUsize::new(0);
    let ends = Mutex::new(vec![Ended::default(); jobs.len()]);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(i) else { return };
                    let end = one(job, program, place, i);
                    ends.lock().unwrap_or_else(PoisonError::into_inner)[i] = end;
                }
            });
        }
    });
    ends.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Mebibytes that the program takes for a loss that behaves; compiles the pack on the way.
///
/// # Panics
/// If that fails.
pub fn base(program: &Program, place: &Place) -> u64 {
    let losses = load_paths(PACK, "good");
    let ends = losses.iter().map(|(path, loss)| {
        let mut end = Ended::default();
        // The second time, compiled code comes from the cache.
        for _ in 0..2 {
            let mut command = command(program, place);
            command.args(["loss", "eval", loss, "--input", BATCH, "--grad", "good"]);
            end = watched(command, 60.0);
            assert_eq!(end.code, Some(0), "{path}: {}", end.stderr);
        }
        end.mebibytes
    });
    ends.max().unwrap_or(0)
}

/// What attacks ended in, as a Markdown table.
pub fn table(jobs: &[Job], ends: &[Ended], base: u64) -> String {
    let mut out = format!("{base} MiB are those of a loss that behaves.\n\n");
    out += "| attack | exit | s | MiB | it said |\n|---|---|---|---|---|\n";
    for (job, end) in jobs.iter().zip(ends) {
        let code = match (end.killed, end.code) {
            (true, _) => "hung".to_owned(),
            (_, Some(code)) => code.to_string(),
            _ => "killed by a signal".to_owned(),
        };
        let said: String = end.message.escape_debug().take(160).collect();
        let fault = if end.fault(job, base).is_some() { "**" } else { "" };
        let _ = writeln!(
            out,
            "| {fault}{job}{fault} | {code} | {:.1} | {} | {} |",
            end.seconds,
            end.mebibytes,
            said.replace('|', "\\|")
        );
    }
    out
}

/// The program, with a cache of compiled components that only this test uses.
fn command(program: &Program, place: &Place) -> Command {
    let mut command = Command::new(&program.path);
    command.current_dir(place.folder()).env("RETORT_CACHE", place.folder().join("cache"));
    command.arg(format!("--device={}", program.device));
    command
}

fn one(job: &Job, program: &Program, place: &Place, number: usize) -> Ended {
    let mut command = command(program, place);
    command.args(arguments(job, place, number));
    watched(command, job.attack.seconds.mul_add(3.0, 30.0))
}

/// The command line of a job.
fn arguments(job: &Job, place: &Place, number: usize) -> Vec<String> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let out = |what: &str| place.folder().join(format!("{what}-{number}")).display().to_string();
    let (way, limits) = (words(&job.way), words(job.attack.limits));
    let mut args = Vec::new();
    if job.attack.trains {
        args.extend(words("train target --width=4 --embedding=8 --epochs=2 --batch=16"));
        args.extend(words("--set=data.classes=16 --set=data.images=8"));
        args.extend([format!("--loss={}", job.loss), format!("--out={}", out("run"))]);
        args.extend(limits.iter().map(|limit| format!("--set=limits.{limit}")));
    } else {
        args.extend(words("loss eval --samples=6"));
        args.extend([job.loss.clone(), format!("--input={BATCH}")]);
        args.extend([format!("--grad={}", out("grad")), format!("--dtype={}", job.dtype)]);
        args.extend(limits.iter().map(|limit| format!("--limit={limit}")));
    }
    args.extend(way.iter().map(|way| format!("--set={way}")));
    args
}

/// Runs a command to its end, or for so many seconds.
///
/// # Panics
/// If it can't be started.
pub fn watched(mut command: Command, seconds: f64) -> Ended {
    let start = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let stderr = child.stderr.take().map(|mut pipe| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // A message of megabytes is a fault; the pipe must be emptied all the same.
            let _ = pipe.by_ref().take(1 << 20).read_to_end(&mut bytes);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let mut end = Ended::default();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let (status, exe) = (process.join("status"), process.join("exe"));
    let own = std::fs::read_link("/proc/self/exe").ok();
    loop {
        // For a moment a new process still has this one's memory, and this one's program.
        if std::fs::read_link(&exe).is_ok_and(|exe| Some(exe) != own) {
            end.mebibytes = end.mebibytes.max(field(&status, "VmHWM:").unwrap_or(0));
        }
        end.seconds = start.elapsed().as_secs_f64();
        match child.try_wait() {
            Ok(Some(status)) => {
                end.code = status.code();
                break;
            }
            Ok(None) if end.seconds < seconds => thread::sleep(Duration::from_millis(2)),
            _ => {
                end.killed = true;
                kill(&mut child);
                break;
            }
        }
    }
    let text = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
    // The software GPU's own remarks, which the program can't keep back.
    let lines = text.lines().filter(|line| !line.contains("third_party/swiftshader"));
    end.stderr = lines.fold(String::new(), |text, line| text + line + "\n");
    let last = end.stderr.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    last.trim_start_matches("error: ").clone_into(&mut end.message);
    end
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
