//! The built-in losses once more, as the WASM component that a pack of them is: in the program itself,
//! so that trying the sandbox needs neither a clone nor Rust.

use super::build;
use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/module.rs"));

/// Writes the component into a folder. None if the program was built without: where Rust had no wasm
/// target.
pub fn component(dir: &Path) -> Result<Option<PathBuf>> {
    let Some(module) = MODULE else { return Ok(None) };
    let path = dir.join("retort_plugins.wasm");
    let component = build::component(module)
        .map_err(|why| Failure::new(format!("the component in this program is damaged: {why}")))?;
    std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))?;
    retort_core::fs::atomic_write(&path, &component).map_err(Failure::new)?;
    Ok(Some(path))
}

/// The clone that this program was built in, if it is still there.
pub fn clone() -> Option<PathBuf> {
    let dir = Path::new(env!("RETORT_CLONE")).join("plugins");
    (!env!("RETORT_CLONE").is_empty() && dir.join("Cargo.toml").is_file()).then_some(dir)
}
