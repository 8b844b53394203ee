//! Where a user's own keys, trust and installed packs are noted, and where packs lie.

use crate::failure::{Failure, Result};
use crate::plugin::{cache_folder, digest, variable};
use retort_core::fs::{atomic_write, read_regular};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Folder of what is this user's: `RETORT_HOME`, or `retort` in the user's folder for settings.
pub fn folder() -> Result<PathBuf> {
    variable("RETORT_HOME")
        .or_else(|| variable("XDG_CONFIG_HOME").map(|dir| dir.join("retort")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".config/retort")))
        .or_else(|| variable("APPDATA").map(|dir| dir.join("retort")))
        .ok_or_else(|| {
            Failure::new("there is no home folder: name one for retort with RETORT_HOME")
        })
}

/// Folder of retort's caches.
pub fn cache() -> Result<PathBuf> {
    cache_folder().ok_or_else(|| {
        Failure::new("there is no folder for caches: name one for retort with RETORT_CACHE")
    })
}

/// Makes the folder of a file.
fn make(path: &Path) -> Result<()> {
    let Some(dir) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))
}

/// Bytes of a settings file that are read.
const LONGEST: u64 = 4 << 20;

/// A TOML file of the user's; the default if there is none.
pub fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<T> {
    match read_regular(path, LONGEST) {
        Ok(bytes) => toml::from_slice(&bytes)
            .map_err(|e| Failure::file("understand", path, e.message().replace('\n', " "))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(e) => Err(Failure::file("read", path, e)),
    }
}

/// Writes one, whole or not at all.
pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = toml::to_string(value)
        .map_err(|e| Failure::file("write", path, format!("it can't be TOML: {e}")))?;
    make(path)?;
    atomic_write(path, text.as_bytes()).map_err(Failure::new)
}

/// Packs by their digests.
pub struct Store(PathBuf);

impl Store {
    /// The user's: `packs` in retort's cache, `RETORT_CACHE`.
    pub fn open() -> Result<Self> {
        Ok(Store(cache()?.join("packs")))
    }

    /// Where a pack of this digest lies, if it is there.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.0.join(digest.trim_start_matches("sha256:")).with_extension("wasm")
    }

    /// Puts a pack there, whole or not at all; two at once put the same.
    pub fn put(&self, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path(&digest(bytes));
        make(&path)?;
        atomic_write(&path, bytes).map_err(Failure::new)?;
        Ok(path)
    }

    /// A pack's bytes, if they are those of the digest.
    pub fn get(&self, wanted: &str) -> Result<Vec<u8>> {
        let path = self.path(wanted);
        let bytes = read_regular(&path, u64::MAX).map_err(|e| Failure::file("read", &path, e))?;
        match digest(&bytes) {
            same if same == wanted => Ok(bytes),
            other => Err(Failure::new(format!(
                "{} has changed since it was added: its digest is {other}; delete it, and add the pack again",
                path.display()
            ))),
        }
    }
}
