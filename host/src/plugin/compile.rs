//! Compiling a component, which takes a stranger's bytes through a large compiler: in a process of its
//! own, with a deadline and bounded memory, because only a process can be ended.

use super::component::engine;
use retort_core::Limits;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What the program is called with to compile its standard input.
const ARGUMENT: &str = "compile-component-of-standard-input";
/// Bytes of memory that compiling may take.
const MEMORY: u64 = 4 << 30;
/// Bytes of compiled code.
pub(super) const CODE: u64 = 1 << 30;
/// After this time the user is told what takes so long, on a terminal and elsewhere.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that compiles: `retort` itself says so when it starts; a test or another host
/// gives its path. Without one, components are compiled in this process: the deadline holds as well,
/// but what ran into it goes on in its thread to its end, and its memory isn't bounded.
pub fn use_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// Names this program, by a path that stays right when its file is replaced.
pub(crate) fn use_this_program() {
    let this = Path::new("/proc/self/exe");
    if this.exists() {
        use_program(this.to_owned());
    } else if let Ok(path) = std::env::current_exe() {
        use_program(path);
    }
}

/// Compiles standard input to standard output, if that is what this process was started for.
pub(crate) fn serve() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != ARGUMENT {
        return None;
    }
    let seconds = args.next().and_then(|s| s.to_str()?.parse().ok()).unwrap_or(1);
    bound(seconds);
    let mut component = Vec::new();
    let code = std::io::stdin()
        .read_to_end(&mut component)
        .map_err(|e| e.to_string())
        .and_then(|_| precompile(&component))
        .and_then(|code| {
            let mut out = std::io::stdout().lock();
            out.write_all(&code).and_then(|()| out.flush()).map_err(|e| e.to_string())
        });
    Some(match code {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = std::io::stderr().write_all(super::short(&why).as_bytes());
            ExitCode::FAILURE
        }
    })
}

/// Bounds this process's memory and time, so that it ends even if nobody is left to end it.
fn bound(seconds: u64) {
    #[cfg(unix)]
    {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let time = seconds.saturating_add(1).saturating_mul(cores);
        let _ = rlimit::setrlimit(rlimit::Resource::DATA, MEMORY, MEMORY);
        let _ = rlimit::setrlimit(rlimit::Resource::CPU, time, time);
        let _ = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
    }
    #[cfg(not(unix))]
    let _ = seconds;
}

fn precompile(component: &[u8]) -> Result<Vec<u8>, String> {
    engine()?.precompile_component(component).map_err(|e| format!("it isn't valid: {e:#}"))
}

/// Machine code of a component, for the process's engine; or what is wrong with it.
pub(super) fn compile(path: &Path, component: Vec<u8>, limits: &Limits) -> Result<Vec<u8>, String> {
    let deadline = Duration::try_from_secs_f64(limits.compile_seconds).unwrap_or_default();
    let started = Instant::now();
    let (mut process, code) = match PROGRAM.get() {
        Some(program) => {
            let seconds = deadline.as_secs().saturating_add(1);
            let mut child = start(program, seconds)?;
            let code = talk(&mut child, component);
            (Some(Process(child)), code)
        }
        None => (None, in_a_thread(component)),
    };
    let outcome = wait(path, &code, started, deadline);
    let ended = process.as_mut().map(|process| process.end(outcome.is_err()));
    let too_slow = || {
        format!(
            "compiling it takes more than {} seconds (limit `compile_seconds`)",
            limits.compile_seconds
        )
    };
    match (outcome, ended) {
        (Err(RecvTimeoutError::Timeout), _) => Err(too_slow()),
        (Ok(result), None) => result,
        (Ok(result), Some((Some(status), _))) if status.success() => result,
        (Ok(_), Some((Some(status), said))) if status.code() == Some(1) && !said.is_empty() => {
            Err(said)
        }
        _ => Err(format!(
            "compiling it came to a bad end: it may need more than {} GiB of memory",
            MEMORY >> 30
        )),
    }
}

/// A compiling process, which doesn't outlive its use.
struct Process(Child);

impl Process {
    /// How it ended, at once if `kill`, and what it said.
    fn end(&mut self, kill: bool) -> (Option<std::process::ExitStatus>, String) {
        if kill {
            let _ = self.0.kill();
        }
        let status = self.0.wait().ok();
        let mut said = Vec::new();
        if let Some(stderr) = self.0.stderr.take() {
            let _ = stderr.take(8192).read_to_end(&mut said);
        }
        let said = String::from_utf8_lossy(&said);
        (status, said.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, seconds: u64) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.arg(ARGUMENT).arg(seconds.to_string()).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map_err(|e| format!("can't start a process that compiles it: {e}"))
}

type Code = Result<Vec<u8>, String>;

/// Gives a process its component and takes its code, each in a thread: a pipe holds little.
fn talk(child: &mut Child, component: Vec<u8>) -> Receiver<Code> {
    let (send, receive) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends early doesn't read it all, and says why.
        std::thread::spawn(move || drop(stdin.write_all(&component)));
    }
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut code = Vec::new();
            let result = match stdout.take(CODE + 1).read_to_end(&mut code) {
                Err(e) => Err(format!("can't read its compiled code: {e}")),
                Ok(n) if n as u64 > CODE => Err(format!("its code has more than {CODE} bytes")),
                Ok(_) => Ok(code),
            };
            let _ = send.send(result);
        });
    }
    receive
}

fn in_a_thread(component: Vec<u8>) -> Receiver<Code> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let code = std::panic::catch_unwind(|| precompile(&component));
        let code = code.unwrap_or_else(|_| Err("the compiler can't cope with it".to_owned()));
        let _ = send.send(code);
    });
    receive
}

/// The code, or an error when the deadline is over; says meanwhile what is being done.
fn wait(
    path: &Path,
    code: &Receiver<Code>,
    started: Instant,
    deadline: Duration,
) -> Result<Code, RecvTimeoutError> {
    let left = |until: Duration| until.min(deadline).saturating_sub(started.elapsed());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut result = code.recv_timeout(left(PATIENCE[0]));
    if result.is_ok() || started.elapsed() >= deadline {
        return result;
    }
    let bar = crate::terminal::progress::spinner();
    bar.set_message(format!("compiling {name}"));
    if bar.is_hidden() {
        result = code.recv_timeout(left(PATIENCE[1]));
        if matches!(result, Err(RecvTimeoutError::Timeout)) && started.elapsed() < deadline {
            crate::terminal::output::say(format_args!("compiling {name} …"));
        }
    }
    if matches!(result, Err(RecvTimeoutError::Timeout)) {
        result = code.recv_timeout(left(deadline));
    }
    bar.finish_and_clear();
    result
}
