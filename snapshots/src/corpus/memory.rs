//! How much memory this process takes.

use std::fs;

/// A moment, from which the growth of the process's memory is measured.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    then: Option<u64>,
}

impl Memory {
    /// Now; forgets the most memory that the process has had so far.
    pub fn now() -> Self {
        // Linux only; elsewhere nothing grows.
        let reset = fs::write("/proc/self/clear_refs", "5").is_ok();
        Memory { then: if reset { field("/proc/self/status", "VmRSS:") } else { None } }
    }

    /// Mebibytes that the process has had at most since then, above those it had.
    pub fn grown(self) -> u64 {
        let most = field("/proc/self/status", "VmHWM:");
        most.zip(self.then).map_or(0, |(most, then)| most.saturating_sub(then))
    }
}

/// Mebibytes that a process's status file says in this field.
pub(super) fn field(status: impl AsRef<std::path::Path>, name: &str) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? / 1024)
}
