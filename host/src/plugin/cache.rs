//! Compiled components on disk, so that the second load of a component takes milliseconds.

use sha2::{Digest as _, Sha256};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use wasmtime::{Engine, component::Component};

/// Folder of retort's caches: `RETORT_CACHE`, or `retort` in the user's cache folder.
pub fn folder() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("RETORT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("retort")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/retort")))
        .or_else(|| set("LOCALAPPDATA").map(|dir| dir.join("retort")))
}

/// The file for a component's content, this interface, and this engine with its settings.
pub fn entry(folder: &Path, engine: &Engine, digest: &str, interface: u32) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let content = digest.trim_start_matches("sha256:");
    let name = format!("{content}-{interface}-{:016x}.cwasm", hasher.finish());
    folder.join("components").join(name)
}

/// The component compiled before, if it is there and whole.
///
/// The file starts with the SHA-256 of the rest: one that was cut short is compiled anew. Its
/// machine code is trusted as far as the user's own folder is.
#[expect(unsafe_code, reason = "machine code that this program wrote")]
pub fn load(engine: &Engine, path: &Path) -> Option<Component> {
    let bytes = std::fs::read(path).ok()?;
    let (hash, code) = bytes.split_at_checked(32)?;
    if Sha256::digest(code).as_slice() != hash {
        return None;
    }
    // SAFETY: the bytes are what `store` wrote: their hash fits.
    unsafe { Component::deserialize(engine, code) }.ok()
}

/// Keeps a compiled component. A cache that can't be written costs time, not the run.
pub fn store(path: &Path, component: &Component) {
    let Ok(code) = component.serialize() else { return };
    let Some(dir) = path.parent() else { return };
    if create_private(dir).is_ok() {
        let mut bytes = Sha256::digest(&code).to_vec();
        bytes.extend_from_slice(&code);
        let _ = retort_core::fs::atomic_write(path, &bytes);
    }
}

/// A folder that only its owner may write to.
fn create_private(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}
