//! What this machine is, for a run's record.

use serde_json::{Value, json};

/// The processor's name and generation, its threads, memory, system and architecture; null where the system doesn't
/// say it.
pub fn describe() -> Value {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let field = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    // Linux only; other systems say it through their own libraries.
    let cpu = field("/proc/cpuinfo", "model name");
    // The name alone may hide which it is ("AMD EPYC"), and with it which numbers to expect.
    let generation = ["cpu family", "model\t", "stepping"].map(|key| field("/proc/cpuinfo", key));
    let generation: Option<Vec<String>> = generation.into_iter().collect();
    let generation = generation.map(|numbers| numbers.join("/"));
    let memory = field("/proc/meminfo", "MemTotal");
    json!({"cpu": cpu, "family/model/stepping": generation, "threads": threads, "memory": memory,
        "system": std::env::consts::OS, "architecture": std::env::consts::ARCH})
}
