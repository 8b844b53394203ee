//! Cases run in a process of their own, so that its death is a finding, as is a case that takes too long.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Something that takes cases by number.
pub trait Case {
    /// Runs a case; a text if something is wrong with how it ended. `show` prints the case.
    fn run(&mut self, seed: u64, number: u64, show: bool) -> Result<(), String>;

    /// What became of the cases so far.
    fn summary(&self) -> String;

    /// What the summary must hold: that the cases still get deep enough.
    fn check(&self) -> Result<(), String>;
}

const CHILD: &str = "RETORT_FUZZ_CHILD";

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not {text}")))
}

/// Seconds of computing that a case may take. Where a GPU is software, its shaders are compiled first.
fn patience() -> Duration {
    let gpu = std::env::var("RETORT_TEST_DEVICE").is_ok_and(|device| device != "cpu");
    Duration::from_secs(if gpu { 120 } else { 5 })
}

/// What waits without computing hangs, too, if it does so for this long: on a busy machine the clock says little.
const HANGS: Duration = Duration::from_mins(2);

/// Seconds that a process and its ended children have computed; by the clock where no such count is kept.
fn computed(process: u32, since: Instant) -> Duration {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
        return since.elapsed();
    };
    // After the name, which may hold anything, come state and ten numbers, then user and system time, own and children's.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    // Hundredths of a second on every Linux.
    Duration::from_millis(10 * fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
}

/// Runs a target: `count` cases, those of `RETORT_FUZZ_SECONDS`, or the one of `RETORT_FUZZ_CASE`.
pub fn fuzz<C: Case>(test: &str, count: u64, target: fn() -> C) {
    let seed = number("RETORT_FUZZ_SEED").unwrap_or(1);
    if let Some(first) = number(CHILD) {
        return work(seed, first, target());
    }
    if let Some(number) = number("RETORT_FUZZ_CASE") {
        let mut target = target();
        let ended = target.run(seed, number, true);
        println!("{}", target.summary());
        return ended.unwrap();
    }
    let seconds = number("RETORT_FUZZ_SECONDS").map(Duration::from_secs);
    let (start, mut findings, mut next) = (Instant::now(), Vec::new(), 0);
    let over = |done: u64| match seconds {
        Some(seconds) => start.elapsed() > seconds,
        None => done >= count,
    };
    let mut said = Vec::new();
    while !over(next) && findings.len() < 20 {
        let (mut child, lines) = spawn(test, next);
        let born = Instant::now();
        let (mut begun, mut before) = (born, computed(child.id(), born));
        loop {
            let line = lines.recv_timeout(patience());
            if line.is_ok() {
                (begun, before) = (Instant::now(), computed(child.id(), born));
            } else if computed(child.id(), born).saturating_sub(before) < patience()
                && line == Err(RecvTimeoutError::Timeout)
                && begun.elapsed() < HANGS.max(patience())
            {
                continue;
            }
            match line.as_deref().map(|line| line.split_once(' ').unwrap_or((line, ""))) {
                Ok(("@case", number)) => next = number.parse().unwrap(),
                Ok(("@finding", what)) => findings.push(format!("case {next}: {what}")),
                Ok(("@done", summary)) => said = vec![summary.to_owned()],
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    findings.push(format!("case {next}: it hung for {:?}", begun.elapsed()));
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = child.wait().unwrap();
                    findings.push(format!("case {next}: the process died: {status}"));
                    break;
                }
            }
            if over(next) {
                break;
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        next += 1;
    }
    let took = start.elapsed().as_secs();
    println!("{test}: {next} cases of seed {seed} in {took} s; {}", said.join("; "));
    assert!(
        findings.is_empty(),
        "{} findings of seed {seed}; RETORT_FUZZ_SEED={seed} RETORT_FUZZ_CASE=… repeats one:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

fn spawn(test: &str, first: u64) -> (Child, Receiver<String>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, first.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (send, lines) = channel();
    let pipe = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in pipe.lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    (child, lines)
}

/// The child's part: case after case until it is killed.
fn work<C: Case>(seed: u64, first: u64, mut target: C) {
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        // The parent has gone: nobody is there to tell.
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    };
    for number in first.. {
        say(format!("@case {number}"));
        if let Err(what) = target.run(seed, number, false) {
            say(format!("@finding {}", what.escape_debug()));
        }
        if number % 50 == 49 {
            say(format!("@done {}", target.summary()));
            if let Err(what) = target.check() {
                say(format!("@finding {what}"));
            }
        }
    }
}
