//! The SDK's source, which this program carries: an author needs neither a clone nor a registry of crates that has it.

use super::home;
use crate::failure::{Failure, Result};
use crate::plugin::digest;
use retort_core::fs::atomic_write;
use retort_sdk::sources::{CRATE, PYTHON};
use std::path::{Path, PathBuf};

const MANIFEST: &str = "Cargo.toml";

/// The SDK for Python: the files of the folder `retort_sdk`.
pub fn python() -> &'static [(&'static str, &'static str)] {
    PYTHON
}

/// The WIT world of a pack.
pub fn wit() -> &'static str {
    CRATE.iter().find(|(name, _)| *name == "wit/plugin.wit").map_or("", |(_, text)| text)
}

/// A folder that has the SDK for Python as the module `retort_sdk`, for editors; `pip install FOLDER/retort_sdk` installs
/// it. What a pack is built of is the program's own.
pub fn python_folder() -> Result<PathBuf> {
    let folder = named("python", PYTHON)?;
    let manifest = folder.join("retort_sdk/pyproject.toml");
    if !manifest.is_file() {
        let last = |name: &str| name.ends_with("pyproject.toml");
        write(&folder, PYTHON.iter().filter(|(name, _)| !last(name)))?;
        write(&folder, PYTHON.iter().filter(|(name, _)| last(name)))?;
    }
    Ok(folder)
}

/// A folder in the cache, named by what belongs into it, so that another retort has another.
fn named(of: &str, files: &[(&str, &str)]) -> Result<PathBuf> {
    let all: String = files.iter().flat_map(|(name, text)| [*name, *text]).collect();
    let name = digest(all.as_bytes());
    let name = name.trim_start_matches("sha256:").get(..16).unwrap_or_default().to_owned();
    Ok(home::cache()?.join(of).join(format!("{}-{name}", env!("CARGO_PKG_VERSION"))))
}

fn write<'a>(folder: &Path, files: impl Iterator<Item = &'a (&'a str, &'a str)>) -> Result<()> {
    for (name, text) in files {
        let path = folder.join(name);
        let dir = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the folder", dir, e))?;
        atomic_write(&path, text.as_bytes()).map_err(Failure::new)?;
    }
    Ok(())
}

/// The folder of the SDK's crate, written if it isn't there.
pub fn folder() -> Result<PathBuf> {
    let folder = named("sdk", CRATE)?;
    // Its manifest comes last, and says that all of it is there.
    let manifest = folder.join(MANIFEST);
    if manifest.is_file() {
        return Ok(folder);
    }
    write(&folder, CRATE.iter().filter(|(name, _)| *name != MANIFEST))?;
    let text = standalone().map_err(|why| {
        Failure::new(format!("the SDK's manifest in this program is damaged: {why}"))
    })?;
    atomic_write(&manifest, text.as_bytes()).map_err(Failure::new)?;
    Ok(folder)
}

/// What makes cargo take it for `retort-sdk`, as a line of configuration.
pub fn patch() -> Result<String> {
    let folder = folder()?.display().to_string();
    Ok(format!("patch.crates-io.retort-sdk.path={}", serde_json::Value::from(folder)))
}

/// The SDK's manifest as that of a workspace of its own.
fn standalone() -> std::result::Result<String, String> {
    let text = CRATE.iter().find(|(name, _)| *name == MANIFEST).map(|(_, text)| *text);
    let text = text.ok_or_else(|| format!("it has no {MANIFEST}"))?;
    let mut sdk = toml::from_str::<toml::Table>(text).map_err(|e| e.to_string())?;
    sdk.remove("lints");
    sdk.insert("workspace".to_owned(), toml::Value::Table(toml::Table::new()));
    toml::to_string(&sdk).map_err(|e| e.to_string())
}
