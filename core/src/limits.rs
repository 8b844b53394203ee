//! What one step of one loss may use, so that a plugin can't take the machine down.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits of one step. They hold for every loss; those of the sandbox only for components.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Tensors that a step may make.
    pub handles: usize,
    /// Bytes of one tensor.
    pub tensor_bytes: u64,
    /// Bytes of all tensors of a step together.
    pub held_bytes: u64,
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
            handles: 100_000,
            tensor_bytes: 4 << 30,
            held_bytes: 12 << 30,
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
    /// The deadline of a step as a duration.
    pub fn deadline(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX)
    }
}
