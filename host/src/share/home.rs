//! Where a user's own keys, trust and installed packs are noted, and where packs lie.

use crate::failure::{Failure, Result};
use crate::plugin::{cache_folder, variable};
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
pub(super) fn make(path: &Path) -> Result<()> {
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
