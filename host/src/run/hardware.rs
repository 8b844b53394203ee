//! What this machine is, for a run's record.

use serde::{Deserialize, Serialize};

/// What a machine is. None where the system doesn't say it, or an older run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hardware {
    /// The processor's name.
    pub cpu: Option<String>,
    /// Its generation: the name alone may hide which it is ("AMD EPYC"), and with it which numbers to expect.
    #[serde(rename = "family/model/stepping")]
    pub generation: Option<String>,
    /// Threads that run at once.
    pub threads: Option<usize>,
    /// Main memory, as the system says it.
    pub memory: Option<String>,
    /// The operating system.
    pub system: Option<String>,
    /// The instruction set.
    pub architecture: Option<String>,
}

impl Hardware {
    /// This machine's.
    pub fn here() -> Self {
        // Linux only; other systems say it through their own libraries.
        let field = |file: &str, key: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find(|line| line.starts_with(key))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let generation =
            ["cpu family", "model\t", "stepping"].map(|key| field("/proc/cpuinfo", key));
        let generation: Option<Vec<String>> = generation.into_iter().collect();
        Hardware {
            cpu: field("/proc/cpuinfo", "model name"),
            generation: generation.map(|numbers| numbers.join("/")),
            threads: std::thread::available_parallelism().ok().map(usize::from),
            memory: field("/proc/meminfo", "MemTotal"),
            system: Some(std::env::consts::OS.to_owned()),
            architecture: Some(std::env::consts::ARCH.to_owned()),
        }
    }

    /// What is known, by its name in the file.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let threads = self.threads.map(|n| n.to_string());
        let all = [
            ("cpu", &self.cpu),
            ("family/model/stepping", &self.generation),
            ("threads", &threads),
            ("memory", &self.memory),
            ("system", &self.system),
            ("architecture", &self.architecture),
        ];
        all.into_iter().filter_map(|(name, fact)| Some((name, fact.clone()?))).collect()
    }
}
