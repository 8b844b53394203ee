//! Packs of losses: linked in, native libraries, WASM components. All end as [`Pack`].

pub mod build;
mod cache;
pub mod compile;
pub mod component;
pub mod embedded;
pub mod native;
mod python;
pub mod registry;

pub use cache::{folder as cache_folder, variable};

use retort_core::{Limits, LossCode};
use retort_sdk::{abi, schema};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use std::sync::Arc;

/// Interface numbers that this host can run, oldest and newest.
pub const INTERFACES: std::ops::RangeInclusive<u32> = 1..=abi::INTERFACE;

/// Why a pack or a loss can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The file can't be read.
    #[error("can't read the plugin {path}: {source}; give the path of a .wasm or a .so file",
        path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file isn't a plugin.
    #[error("{path} isn't a retort plugin: {why}", path = path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// What was found instead, and what to do.
        why: String,
    },
    /// The plugin's interface is too old or too new.
    #[error("{path} was built for plugin interface {found}, but this retort ({version}) runs interface {known}: {advice}",
        path = path.display(), version = env!("CARGO_PKG_VERSION"), known = in_words())]
    Interface {
        /// The file.
        path: PathBuf,
        /// The number it carries.
        found: u32,
        /// What to do.
        advice: String,
    },
    /// The plugin's own code failed outside a step.
    #[error("{path} failed: {why}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What it said, or how it ended.
        why: String,
    },
    /// The loss, or its hyperparameters, are unknown.
    #[error("{0}")]
    Loss(String),
}

/// The interfaces that this host runs, for messages.
fn in_words() -> String {
    match (*INTERFACES.start(), *INTERFACES.end()) {
        (a, b) if a == b => a.to_string(),
        (a, b) => format!("{a} to {b}"),
    }
}

/// Refuses a pack whose interface this host doesn't run, before anything of it does.
fn check_interface(path: &std::path::Path, found: u32) -> Result<(), PluginError> {
    if INTERFACES.contains(&found) {
        return Ok(());
    }
    let advice = if found > *INTERFACES.end() {
        "update retort, or build the plugin with an older retort-sdk".to_owned()
    } else {
        format!("build the plugin again with retort-sdk {}", env!("CARGO_PKG_VERSION"))
    };
    Err(PluginError::Interface { path: path.to_owned(), found, advice })
}

/// Where a pack comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Linked into this program.
    BuiltIn,
    /// A native library.
    Native(PathBuf),
    /// A WASM component.
    Component(PathBuf),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::BuiltIn => f.write_str("built in"),
            Origin::Native(_) => f.write_str("native"),
            Origin::Component(_) => f.write_str("wasm"),
        }
    }
}

/// Code that can make losses.
pub trait PackCode: Send + Sync {
    /// A loss whose hyperparameters are resolved: a JSON object with one value a field.
    fn create(
        &self,
        name: &str,
        hyper: &str,
        limits: &Limits,
    ) -> Result<Box<dyn LossCode>, PluginError>;
}

/// A loaded pack.
#[derive(Clone)]
pub struct Pack {
    /// Where it comes from.
    pub origin: Origin,
    /// SHA-256 of the file; of the losses' definitions for the pack that is linked in.
    pub digest: String,
    /// What it says about itself.
    pub description: schema::Pack,
    code: Arc<dyn PackCode>,
}

impl std::fmt::Debug for Pack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pack").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Pack {
    /// A pack, once all that it says about itself is checked. `interface` is the number that its file
    /// carries.
    fn new(
        origin: Origin,
        digest: String,
        interface: u32,
        description: &str,
        code: Arc<dyn PackCode>,
    ) -> Result<Self, PluginError> {
        let path = match &origin {
            Origin::BuiltIn => PathBuf::from("the pack linked in"),
            Origin::Native(path) | Origin::Component(path) => path.clone(),
        };
        let description = parse(description, interface)
            .map_err(|why| PluginError::NotAPlugin { path, why: short(&why) })?;
        Ok(Pack { origin, digest, description, code })
    }
}

/// A description that holds what the interface asks for, and no more than it allows.
fn parse(description: &str, interface: u32) -> Result<schema::Pack, String> {
    let (bytes, most) = (description.len(), schema::DESCRIPTION_BYTES);
    if bytes > most {
        return Err(format!("its description has {bytes} bytes, more than {most}"));
    }
    let pack: schema::Pack = serde_json::from_str(description)
        .map_err(|e| format!("its description isn't what the interface asks for: {e}"))?;
    pack.check(interface)?;
    Ok(pack)
}

/// What a plugin said, as far as a message can hold it.
fn short(text: &str) -> String {
    const MOST: usize = 4096;
    match text.floor_char_boundary(MOST) {
        end if end == text.len() => text.to_owned(),
        end => format!("{}…", &text[..end]),
    }
}

/// All of a plugin's file: a regular one, of at most `most` bytes, which is how `limit` is set.
fn read_file(path: &std::path::Path, most: u64, limit: &str) -> Result<Vec<u8>, PluginError> {
    retort_core::fs::read_regular(path, most).map_err(|source| match source.kind() {
        std::io::ErrorKind::FileTooLarge => {
            PluginError::NotAPlugin { path: path.to_owned(), why: format!("{source}{limit}") }
        }
        _ => PluginError::Read { path: path.to_owned(), source },
    })
}

/// `sha256:` and the hexadecimal digest of bytes.
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
