//! Builds a pack crate as a native library and as a WASM component.

use crate::failure::{Failure, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target that components are built for.
const WASM: &str = "wasm32-unknown-unknown";

/// Which forms of a pack to build, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// A native library.
    pub native: bool,
    /// A component.
    pub wasm: bool,
    /// Cargo's profile.
    pub profile: String,
    /// Whether the wasm target may be installed.
    pub install: bool,
    /// Where the plugins go; `retort` in cargo's target folder if none.
    pub out: Option<PathBuf>,
}

/// The plugins that were built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The native library.
    pub native: Option<PathBuf>,
    /// The component.
    pub wasm: Option<PathBuf>,
}

/// Builds the pack crate in a folder.
pub fn build(path: &Path, options: &Options) -> Result<Built> {
    let manifest = if path.is_dir() { path.join("Cargo.toml") } else { path.to_owned() };
    if !manifest.is_file() {
        return Err(Failure::usage(format!(
            "{} is no pack: there is no Cargo.toml. A pack is a crate whose lib.rs lists its losses \
             with retort_sdk::losses!",
            path.display()
        )));
    }
    if options.wasm {
        ensure_wasm_target(options.install)?;
    }
    let native = options.native.then(|| cargo(&manifest, options, false)).transpose()?;
    let wasm = options.wasm.then(|| cargo(&manifest, options, true)).transpose()?;
    let wasm = wasm.map(|module| encode(&module, options)).transpose()?;
    let native = native.map(|library| place(&library, options)).transpose()?;
    Ok(Built { native, wasm })
}

/// Whether there is a cargo to build with.
pub fn has_cargo() -> bool {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    cargo.status().is_ok_and(|status| status.success())
}

/// Looks for the wasm target, and installs it if that is allowed.
fn ensure_wasm_target(install: bool) -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found =
        Command::new(rustc).args(["--print", "target-libdir", "--target", WASM]).output().map_err(
            |e| Failure::new(format!("can't run rustc: {e}; building plugins needs Rust")),
        )?;
    let folder = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    if found.status.success() && Path::new(&folder).is_dir() {
        return Ok(());
    }
    let command = format!("rustup target add {WASM}");
    if !install {
        return Err(Failure::new(format!(
            "Rust can't build components here yet; install its target with `{command}`, or run this \
             command again with --yes"
        )));
    }
    let status = Command::new("rustup")
        .args(["target", "add", WASM])
        .stdout(Stdio::null())
        .status()
        .map_err(|e| Failure::new(format!("can't run `{command}`: {e}")))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("`{command}` failed"))) }
}

/// Runs cargo and returns the library that it made.
fn cargo(manifest: &Path, options: &Options, wasm: bool) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--lib", "--message-format=json-render-diagnostics", "--profile"]);
    command.arg(&options.profile).arg("--manifest-path").arg(manifest);
    if wasm {
        command.args(["--target", WASM]);
    }
    command.stderr(Stdio::inherit()).stdin(Stdio::null());
    let output = command.output().map_err(|e| {
        Failure::new(format!("can't run cargo: {e}; building plugins needs Rust's cargo"))
    })?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "cargo could not build {}; its messages are above",
            manifest.display()
        )));
    }
    let wanted = manifest.canonicalize().unwrap_or_else(|_| manifest.to_owned());
    let text = String::from_utf8_lossy(&output.stdout);
    let artifacts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut of_pack = artifacts.filter(|message| {
        message["reason"] == "compiler-artifact"
            // Cargo names it as it was given, which may be by way of a link.
            && message["manifest_path"]
                .as_str()
                .is_some_and(|p| Path::new(p).canonicalize().is_ok_and(|p| p == wanted))
    });
    let endings: &[&str] = if wasm { &["wasm"] } else { &["so", "dylib", "dll"] };
    let library = of_pack.find_map(|message| {
        let names = message["filenames"].as_array()?.iter().filter_map(Value::as_str);
        let mut paths = names.map(PathBuf::from);
        paths.find(|p| p.extension().is_some_and(|e| endings.iter().any(|w| e == *w)))
    });
    library.ok_or_else(|| {
        Failure::new(format!(
            "{} builds no plugin: add `[lib] crate-type = [\"cdylib\"]` to it",
            manifest.display()
        ))
    })
}

/// Where a plugin made from this artefact goes.
fn destination(artefact: &Path, options: &Options) -> Result<PathBuf> {
    let name = artefact.file_name().unwrap_or_default();
    // …/target/[wasm32-unknown-unknown/]profile/libpack.so
    let up = if artefact.extension().is_some_and(|e| e == "wasm") { 3 } else { 2 };
    let beside = || artefact.ancestors().nth(up).unwrap_or(artefact).join("retort");
    let dir = options.out.clone().unwrap_or_else(beside);
    std::fs::create_dir_all(&dir).map_err(|e| Failure::file("make the folder", &dir, e))?;
    Ok(dir.join(name))
}

/// The component of a core module.
pub(super) fn component(module: &[u8]) -> std::result::Result<Vec<u8>, String> {
    wit_component::ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("{e:#}"))
}

fn place(library: &Path, options: &Options) -> Result<PathBuf> {
    let to = destination(library, options)?;
    let bytes = std::fs::read(library).map_err(|e| Failure::file("read", library, e))?;
    retort_core::fs::atomic_write(&to, &bytes).map_err(Failure::new)?;
    Ok(to)
}

/// Makes a component of a core module.
fn encode(module: &Path, options: &Options) -> Result<PathBuf> {
    let bytes = std::fs::read(module).map_err(|e| Failure::file("read", module, e))?;
    let encoded = component(&bytes).map_err(|e| {
        let why = format!("{e}; a pack lists its losses with retort_sdk::losses!");
        Failure::file("make a component of", module, why)
    })?;
    let to = destination(module, options)?;
    retort_core::fs::atomic_write(&to, &encoded).map_err(Failure::new)?;
    Ok(to)
}
