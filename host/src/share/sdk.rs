//! The SDK's source, which this program carries: an author needs neither a clone nor a registry of crates that has it.

use super::home;
use crate::failure::{Failure, Result};
use crate::plugin::digest;
use retort_core::fs::atomic_write;
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
include!(concat!(env!("OUT_DIR"), "/python_sdk.rs"));

/// The SDK for Python: the files of the folder `retort_sdk`.
pub fn python() -> &'static [(&'static str, &'static str)] {
    PYTHON
}

/// The WIT world of a pack.
pub fn wit() -> &'static str {
    FILES.iter().find(|(name, _)| *name == "wit/plugin.wit").map_or("", |(_, text)| text)
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
    let folder = named("sdk", FILES)?;
    // Its manifest comes last, and says that all of it is there.
    let manifest = folder.join("Cargo.toml");
    if manifest.is_file() {
        return Ok(folder);
    }
    write(&folder, FILES.iter().filter(|(name, _)| !name.ends_with("Cargo.toml")))?;
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

/// The SDK's manifest without its workspace.
fn standalone() -> std::result::Result<String, String> {
    let text = |wanted: &str| FILES.iter().find(|(name, _)| *name == wanted).map(|(_, text)| *text);
    let read = |name: &str| {
        let text = text(name).ok_or_else(|| format!("it has no {name}"))?;
        toml::from_str::<toml::Table>(text).map_err(|e| e.to_string())
    };
    let (workspace, mut sdk) = (read("workspace/Cargo.toml")?, read("sdk/Cargo.toml")?);
    let of = |table: &str, key: &str| {
        let found = workspace.get("workspace").and_then(|w| w.get(table)).and_then(|t| t.get(key));
        found.cloned().ok_or_else(|| format!("the workspace has no {table}.{key}"))
    };
    let inherits =
        |value: &toml::Value| value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
    let inherited = |table: &mut toml::Table, from: &str| {
        for (key, value) in table.iter_mut().filter(|(_, value)| inherits(value)) {
            *value = of(from, key)?;
        }
        Ok::<(), String>(())
    };
    sdk.remove("lints");
    sdk.insert("workspace".to_owned(), toml::Value::Table(toml::Table::new()));
    for (key, from) in [("package", "package"), ("dependencies", "dependencies")] {
        if let Some(table) = sdk.get_mut(key).and_then(toml::Value::as_table_mut) {
            inherited(table, from)?;
        }
    }
    let targets = sdk.get_mut("target").and_then(toml::Value::as_table_mut);
    for (_, target) in targets.into_iter().flatten() {
        if let Some(table) = target.get_mut("dependencies").and_then(toml::Value::as_table_mut) {
            inherited(table, "dependencies")?;
        }
    }
    toml::to_string(&sdk).map_err(|e| e.to_string())
}
