//! `run.json`: with what a run was begun, and gone on with.

use crate::run::difference::Difference;
use crate::run::hardware::Hardware;
use retort_core::device::DeviceInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// With what a run was begun. What older runs don't say is none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// `source` or `target`.
    pub role: Option<String>,
    /// When, as RFC 3339 has it.
    pub begun: Option<String>,
    /// The seed of everything random.
    pub seed: Option<u64>,
    /// The device.
    pub device: DeviceFacts,
    /// The machine.
    pub hardware: Hardware,
    /// From where relative paths count.
    pub directory: Option<PathBuf>,
    /// What its numbers depend on.
    #[serde(flatten)]
    pub identity: Identity,
    /// Each time it was gone on with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumption>,
}

/// What a run's numbers depend on beside the device.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Version of the program.
    pub retort: Option<String>,
    /// Number of the plugin interface.
    pub interface: Option<u32>,
    /// Where each loss came from.
    pub plugins: Vec<LossFile>,
    /// The source's file.
    pub source: Option<SourceFile>,
    /// The experiment as it was begun: one of an older version isn't read before it is compared.
    pub config: Value,
}

/// A loss, and the file that it came from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LossFile {
    /// As the experiment names it.
    pub loss: String,
    /// `built in`, or the file.
    pub origin: String,
    /// The file's digest, with its kind before it.
    pub digest: String,
    /// The interface that it was built for.
    pub interface: Option<u32>,
    /// The version of the SDK that it was built with.
    pub sdk: Option<String>,
}

/// A source's checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceFile {
    /// Its digest, with its kind before it.
    pub digest: String,
}

/// A device as a run's record has it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceFacts {
    /// `cpu` or `gpu:N`.
    pub id: Option<String>,
    /// The part's name.
    pub name: Option<String>,
    /// What it is.
    pub kind: Option<String>,
    /// The graphics API, or `flex`.
    pub api: Option<String>,
    /// Its driver, with version.
    pub driver: Option<String>,
}

impl From<&DeviceInfo> for DeviceFacts {
    fn from(info: &DeviceInfo) -> Self {
        DeviceFacts {
            id: Some(info.id.clone()),
            name: Some(info.name.clone()),
            kind: Some(info.kind.to_string()),
            api: Some(info.api.clone()),
            driver: Some(info.driver.clone()),
        }
    }
}

/// That a run was gone on with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resumption {
    /// When, as RFC 3339 has it.
    pub at: String,
    /// After how many steps.
    pub after_step: u64,
    /// On which device.
    pub device: DeviceFacts,
    /// What wasn't as it had been, with `--allow-changed`.
    pub changed: Vec<Difference>,
}
