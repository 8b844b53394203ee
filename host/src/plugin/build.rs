//! Builds a pack crate as a native library and as a WASM component, and a pack in Python as a component.

use super::python;
use crate::failure::{Failure, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target that components are built for.
const WASM: &str = "wasm32-unknown-unknown";

/// How native libraries end.
const NATIVE: [&str; 3] = ["so", "dylib", "dll"];

/// Which forms of a pack to build, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// A native library.
    pub native: bool,
    /// A component.
    pub wasm: bool,
    /// How cargo builds them.
    pub cargo: Cargo,
}

/// How cargo builds a pack, and where the results go.
#[derive(clap::Args, Clone, Debug)]
pub struct Cargo {
    /// Cargo's profile, for a crate.
    #[arg(long, default_value = "release")]
    pub profile: String,
    /// Where the results go [default: `retort` in cargo's target folder; `target/retort` in a pack in Python].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Install Rust's wasm target if it is missing.
    #[arg(long = "yes")]
    pub install: bool,
}

/// The plugins that were built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The native library.
    pub native: Option<PathBuf>,
    /// The component.
    pub wasm: Option<PathBuf>,
}

/// Builds the pack in a folder. One in Python has the component alone, whichever forms are wanted.
pub fn build(path: &Path, options: &Options) -> Result<Built> {
    if python::is_pack(path) {
        if !options.wasm {
            let path = path.display();
            return Err(Failure::usage(format!(
                "{path} is a pack in Python, which has one form, the component: build it without --native"
            )));
        }
        return python::build(path, options.cargo.out.as_deref());
    }
    let manifest = if path.is_dir() { path.join("Cargo.toml") } else { path.to_owned() };
    if !manifest.is_file() {
        return Err(Failure::usage(format!(
            "{} is no pack: there is no Cargo.toml. A pack is a crate whose lib.rs lists its losses \
             with retort_sdk::losses!, or a folder whose pyproject.toml lists those in Python",
            path.display()
        )));
    }
    if options.wasm {
        ensure_wasm_target(options.cargo.install)?;
    }
    let workspace = Workspace::of(&manifest)?;
    workspace.must_be_pack(path, &manifest)?;
    let out = options.cargo.out.clone().unwrap_or_else(|| workspace.target().join("retort"));
    let libraries = cargo(&workspace, &manifest, options)?;
    let find = |wanted: bool, endings: &[&str]| {
        let is =
            |path: &&PathBuf| path.extension().is_some_and(|e| endings.iter().any(|w| e == *w));
        match libraries.iter().find(is) {
            _ if !wanted => Ok(None),
            Some(path) => Ok(Some(path)),
            None => {
                let file = manifest.display();
                Err(Failure::new(format!("cargo built {file}, but named no library of it")))
            }
        }
    };
    let (module, library) = (find(options.wasm, &["wasm"])?, find(options.native, &NATIVE)?);
    std::fs::create_dir_all(&out).map_err(|e| Failure::file("make the folder", &out, e))?;
    let wasm = module.map(|module| encode(module, &out)).transpose()?;
    let native = library.map(|library| place(library, &out)).transpose()?;
    Ok(Built { native, wasm })
}

/// What cargo knows of a pack crate: its package, from `cargo metadata`; of a pack in Python the same, from its manifest.
pub fn package(path: &Path) -> Result<Value> {
    if python::is_pack(path) {
        return python::package(path);
    }
    let manifest = if path.is_dir() { path.join("Cargo.toml") } else { path.to_owned() };
    if !manifest.is_file() {
        let path = path.display();
        return Err(Failure::usage(format!("{path} is no pack: there is no Cargo.toml")));
    }
    let workspace = Workspace::of(&manifest)?;
    workspace.must_be_pack(path, &manifest)?;
    let wanted = manifest.canonicalize().unwrap_or_else(|_| manifest.clone());
    let mut packages = workspace.packages();
    let package = packages.find(|p| is_file(&p["manifest_path"], &wanted)).cloned();
    package.ok_or_else(|| Failure::new(format!("cargo knows no package of {}", manifest.display())))
}

/// Whether there is a cargo to build with.
pub fn has_cargo() -> bool {
    let mut cargo = command();
    cargo.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    cargo.status().is_ok_and(|status| status.success())
}

/// What cargo knows of a pack's workspace.
struct Workspace(Value);

impl Workspace {
    fn of(manifest: &Path) -> Result<Self> {
        let mut command = command();
        command
            .args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"])
            .arg(manifest);
        let output = output(&mut command)?;
        if !output.status.success() {
            let file = manifest.display();
            return Err(Failure::new(format!("cargo can't read {file}; its messages are above")));
        }
        let all = serde_json::from_slice(&output.stdout)
            .map_err(|e| Failure::new(format!("cargo's metadata can't be read: {e}")))?;
        Ok(Workspace(all))
    }

    fn path(&self, key: &str) -> PathBuf {
        PathBuf::from(self.0[key].as_str().unwrap_or_default())
    }

    fn target(&self) -> PathBuf {
        self.path("target_directory")
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        self.0["packages"].as_array().into_iter().flatten()
    }

    /// Makes sure that a manifest is of a pack; a workspace says which packs it has.
    fn must_be_pack(&self, path: &Path, manifest: &Path) -> Result<()> {
        let wanted = manifest.canonicalize().unwrap_or_else(|_| manifest.to_owned());
        let mut packages = self.packages();
        let package = packages.find(|p| is_file(&p["manifest_path"], &wanted));
        if package.is_some_and(is_pack) {
            return Ok(());
        }
        let root = self.path("workspace_root");
        let packs: Vec<String> = self
            .packages()
            .filter(|package| is_pack(package))
            .filter_map(|package| {
                let folder = Path::new(package["manifest_path"].as_str()?).parent()?;
                let folder = folder.strip_prefix(&root).unwrap_or(folder);
                Some(path.join(folder).display().to_string())
            })
            .collect();
        let is_root = wanted.parent().is_some_and(|folder| folder == root);
        Err(Failure::usage(match (package, packs.as_slice()) {
            (_, [first, ..]) if is_root => format!(
                "{} is a workspace with these packs: {}. Build one of them, as in `retort plugin build \
                 {first}`",
                path.display(),
                packs.join(", ")
            ),
            (Some(_), _) => format!(
                "{} builds no plugin: add `[lib] crate-type = [\"cdylib\"]` to it, and retort-sdk to its \
                 dependencies",
                manifest.display()
            ),
            (None, _) => format!(
                "{} is a workspace without packs. A pack is a crate with `[lib] crate-type = [\"cdylib\"]` \
                 that depends on retort-sdk",
                path.display()
            ),
        }))
    }

    /// Whether its packs ask for the SDK by version: the one that this program carries.
    fn needs_sdk(&self) -> bool {
        let mut dependencies =
            self.packages().filter_map(|p| p["dependencies"].as_array()).flatten();
        dependencies.any(|d| d["name"] == "retort-sdk" && d["path"].is_null())
    }

    /// Flags that make paths of this machine into names that are the same everywhere, so that a plugin
    /// says nothing of its builder, and one source gives the same bytes in every folder.
    fn neutral_paths(&self) -> Result<Vec<String>> {
        let home = std::env::home_dir();
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo = cargo.or_else(|| home.as_ref().map(|home| home.join(".cargo")));
        let mut names = vec![
            (self.path("workspace_root"), "/pack".to_owned()),
            (self.target(), "/target".to_owned()),
        ];
        names.extend(home.map(|home| (home, "/home".to_owned())));
        names.extend(cargo.iter().flat_map(|cargo| {
            [("registry/src", "/registry"), ("git/checkouts", "/git")]
                .map(|(folder, name)| (cargo.join(folder), name.to_owned()))
        }));
        let dependencies = self.packages().filter_map(|p| p["dependencies"].as_array()).flatten();
        names.extend(dependencies.filter_map(|dependency| {
            Some((
                dependency["path"].as_str()?.into(),
                format!("/{}", dependency["name"].as_str()?),
            ))
        }));
        if self.needs_sdk() {
            names.push((crate::share::sdk::folder()?, "/retort-sdk".to_owned()));
        }
        // A folder that is reached by a link has two names, and the compiler knows both.
        let real =
            |(folder, name): &(PathBuf, String)| Some((folder.canonicalize().ok()?, name.clone()));
        names.extend(names.iter().filter_map(real).collect::<Vec<_>>());
        // Of several that fit, rustc takes the last one: the innermost folder.
        names.sort_by_key(|(folder, _)| folder.components().count());
        names.dedup();
        let flag = |(folder, name): (PathBuf, String)| {
            format!("--remap-path-prefix={}={name}", folder.display())
        };
        Ok(names.into_iter().map(flag).collect())
    }
}

/// Whether cargo names this file, which it does as it was given: by way of a link, maybe.
fn is_file(name: &Value, file: &Path) -> bool {
    name.as_str().is_some_and(|p| Path::new(p).canonicalize().is_ok_and(|p| p == file))
}

/// Whether a package builds a library to be loaded, from losses.
fn is_pack(package: &Value) -> bool {
    let list = |value: &Value, key: &str, word: &str| {
        value[key].as_array().is_some_and(|list| list.iter().any(|one| one == word))
    };
    let mut targets = package["targets"].as_array().into_iter().flatten();
    let mut dependencies = package["dependencies"].as_array().into_iter().flatten();
    targets.any(|target| list(target, "crate_types", "cdylib"))
        && dependencies.any(|dependency| dependency["name"] == "retort-sdk")
}

fn command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs cargo to its end, its messages on standard error.
fn output(command: &mut Command) -> Result<std::process::Output> {
    command.stderr(Stdio::inherit()).stdin(Stdio::null());
    command.output().map_err(|e| {
        Failure::new(format!("can't run cargo: {e}; building plugins needs Rust's cargo"))
    })
}

/// Looks for the wasm target, and installs it if that is allowed.
fn ensure_wasm_target(install: bool) -> Result<()> {
    let found = rustc(&["--print", "target-libdir", "--target", WASM])?;
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

/// Runs cargo and returns the libraries that it made of the pack.
///
/// It builds in a folder of its own: with other flags than the workspace's, nothing that is compiled
/// there could be used.
fn cargo(workspace: &Workspace, manifest: &Path, options: &Options) -> Result<Vec<PathBuf>> {
    let mut command = command();
    command.args(["build", "--lib", "--message-format=json-render-diagnostics", "--profile"]);
    command.arg(&options.cargo.profile).arg("--manifest-path").arg(manifest);
    command.arg("--target-dir").arg(workspace.target().join("retort/build"));
    // Both are named, so that macros are compiled once for both.
    if options.native {
        command.arg("--target").arg(this_machine()?);
    }
    if options.wasm {
        command.args(["--target", WASM]);
    }
    if workspace.needs_sdk() {
        command.arg("--config").arg(crate::share::sdk::patch()?);
    }
    rustflags(&mut command, &workspace.neutral_paths()?);
    // What is compiled piece by piece differs from what is compiled at once.
    command.env("CARGO_INCREMENTAL", "0");
    let output = output(&mut command)?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "cargo could not build {}; its messages are above",
            manifest.display()
        )));
    }
    let wanted = manifest.canonicalize().unwrap_or_else(|_| manifest.to_owned());
    let text = String::from_utf8_lossy(&output.stdout);
    let artifacts = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_pack = artifacts.filter(|message| {
        message["reason"] == "compiler-artifact" && is_file(&message["manifest_path"], &wanted)
    });
    let files = |message: Value| {
        let names = message["filenames"].as_array().cloned().unwrap_or_default();
        names.into_iter().filter_map(|name| Some(PathBuf::from(name.as_str()?))).collect::<Vec<_>>()
    };
    Ok(of_pack.flat_map(files).collect())
}

/// The target that rustc builds for where none is named.
fn this_machine() -> Result<String> {
    let said = rustc(&["-vV"])?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("`rustc -vV` names no host"))
}

fn rustc(args: &[&str]) -> Result<std::process::Output> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(args).output();
    output.map_err(|e| Failure::new(format!("can't run rustc: {e}; building plugins needs Rust")))
}

/// Gives rustc more flags: beside those of the environment, which count alone where there are some, or
/// beside those of cargo's configuration for targets.
fn rustflags(command: &mut Command, flags: &[String]) {
    const BETWEEN: &str = "\u{1f}";
    let encoded = std::env::var("CARGO_ENCODED_RUSTFLAGS").ok();
    let plain = std::env::var("RUSTFLAGS").ok();
    let plain = plain.map(|text| text.split_whitespace().collect::<Vec<_>>().join(BETWEEN));
    if let Some(given) = encoded.or(plain).filter(|given| !given.is_empty()) {
        let all = [&[given], flags].concat().join(BETWEEN);
        command.env("CARGO_ENCODED_RUSTFLAGS", all);
    } else {
        // A list of strings is written in TOML as in JSON.
        let list = Value::from(flags);
        command.arg("--config").arg(format!("target.'cfg(all())'.rustflags={list}"));
    }
}

/// The component of a core module.
pub(super) fn component(module: &[u8]) -> std::result::Result<Vec<u8>, String> {
    wit_component::ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|e| format!("{e:#}"))
}

fn place(library: &Path, out: &Path) -> Result<PathBuf> {
    let to = out.join(library.file_name().unwrap_or_default());
    let bytes = std::fs::read(library).map_err(|e| Failure::file("read", library, e))?;
    retort_core::fs::atomic_write(&to, &bytes).map_err(Failure::new)?;
    Ok(to)
}

/// Makes a component of a core module.
fn encode(module: &Path, out: &Path) -> Result<PathBuf> {
    let bytes = std::fs::read(module).map_err(|e| Failure::file("read", module, e))?;
    let encoded = component(&bytes).map_err(|e| {
        let why = format!("{e}; a pack lists its losses with retort_sdk::losses!");
        Failure::file("make a component of", module, why)
    })?;
    let to = out.join(module.file_name().unwrap_or_default());
    retort_core::fs::atomic_write(&to, &encoded).map_err(Failure::new)?;
    Ok(to)
}
