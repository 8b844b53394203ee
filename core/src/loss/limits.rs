//! What one step of one loss may use, so that a plugin can't take the machine down.

use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::Duration;
use sysinfo::System;

/// Limits of one step. They hold for every loss; those of the sandbox only for components.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Tensors that a step may make; more than 20,000 count as so many. Burn's autodiff takes time with
    /// their square to forget those that a loss made and didn't use, and a stack that grows with them.
    pub handles: usize,
    /// Bytes of one tensor.
    pub tensor_bytes: u64,
    /// Bytes of all tensors of a step together, with their gradients, what is copied on the way, and
    /// what the host keeps for the loss; 0 takes half of the machine's memory.
    pub held_bytes: u64,
    /// Seconds that the host's operations may take in one step.
    pub host_seconds: f64,
    /// Bytes of a component's own linear memory.
    pub memory_bytes: usize,
    /// Elements of a component's tables.
    pub table_elements: usize,
    /// Core instances, memories and tables that a component may have, each.
    pub instances: usize,
    /// Seconds that a component may compute in one step, without the host's own operations.
    pub seconds: f64,
    /// Bytes of a component's file.
    pub component_bytes: u64,
    /// Seconds that compiling a component may take.
    pub compile_seconds: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            handles: 5_000,
            tensor_bytes: 4 << 30,
            held_bytes: 0,
            host_seconds: 120.0,
            memory_bytes: 256 << 20,
            table_elements: 1 << 20,
            instances: 64,
            seconds: 10.0,
            component_bytes: 64 << 20,
            compile_seconds: 120.0,
        }
    }
}

impl Limits {
    /// Refuses limits that limit nothing; the message names the key.
    pub fn check(&self) -> Result<(), String> {
        const SECONDS: f64 = 1e7;
        const BYTES: u64 = 1 << 50; // no machine has them
        let seconds = [
            ("seconds", self.seconds),
            ("host_seconds", self.host_seconds),
            ("compile_seconds", self.compile_seconds),
        ];
        if let Some((key, v)) = seconds.iter().find(|(_, v)| !(*v > 0.0 && *v <= SECONDS)) {
            return Err(format!("limits.{key} = {v:?}: it must be above 0, and at most {SECONDS}"));
        }
        let counts = [
            ("handles", self.handles as u64),
            ("tensor_bytes", self.tensor_bytes),
            ("held_bytes", self.held_bytes),
            ("memory_bytes", self.memory_bytes as u64),
            ("table_elements", self.table_elements as u64),
            ("instances", self.instances as u64),
            ("component_bytes", self.component_bytes),
        ];
        match counts.iter().find(|(_, v)| *v > BYTES) {
            Some((key, v)) => Err(format!("limits.{key} = {v}: it must be at most {BYTES}")),
            None => Ok(()),
        }
    }

    /// The same with what follows the machine in numbers, and no more tensors than end well.
    pub(crate) fn resolved(&self) -> Self {
        let held_bytes = if self.held_bytes == 0 { memory() / 2 } else { self.held_bytes };
        Limits { held_bytes, handles: self.handles.min(MOST_HANDLES), ..self.clone() }
    }

    /// The deadline of a step as a duration.
    pub fn deadline(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::ZERO)
    }
}

/// With more tensors than these that a loss made and didn't use, the next backward pass takes minutes;
/// with twice as many the stack of a program's first thread ends.
const MOST_HANDLES: usize = 20_000;

/// Bytes of memory of this machine, or of the container that this process lives in.
fn memory() -> u64 {
    static MEMORY: OnceLock<u64> = OnceLock::new();
    *MEMORY.get_or_init(|| {
        let mut system = System::new();
        system.refresh_memory();
        let machine = system.total_memory();
        let container = system.cgroup_limits().map_or(0, |limits| limits.total_memory);
        let known = [machine, container].into_iter().filter(|&bytes| bytes > 0);
        known.min().unwrap_or(8 << 30) // where the system doesn't tell
    })
}
