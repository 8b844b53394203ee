//! What the program carries, so that it needs no clone where it runs: the snapshots of the built-in
//! losses, the suites, and the losses once more as a WASM module.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target that components are built for.
const WASM: &str = "wasm32-unknown-unknown";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let host = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).canonicalize()?;

    // Links in a clone, files in a package.
    let carried = |folder: &str| host.join("carried").join(folder).canonicalize();
    let pins = files(&carried("pins")?, "loss_", ".snap")?;
    std::fs::write(out.join("pins.rs"), list("PINS", &pins)?)?;
    let suites = files(&carried("suites")?, "", ".toml")?;
    std::fs::write(out.join("suites.rs"), list("SUITES", &suites)?)?;
    for (name, file) in files(&carried("ci")?, "", ".yml")? {
        std::fs::copy(file, out.join(format!("{name}.yml")))?;
    }

    // The workspace, where this is a clone of it.
    let root = host.join("..").canonicalize().ok();
    let root = root.filter(|root| root.join("plugins/Cargo.toml").is_file());
    let built = match &root {
        Some(root) => module(root, &out)?,
        None => None,
    };
    let module = match built {
        Some(path) => format!("Some(include_bytes!({:?}))", path.display().to_string()),
        None => "None".to_owned(),
    };
    let code = format!("static MODULE: Option<&[u8]> = {module};\n");
    std::fs::write(out.join("module.rs"), code)?;

    // Where the demo finds the losses' source. A program that is given away names no folder: on another
    // machine anybody may have made it.
    println!("cargo::rerun-if-env-changed=RETORT_CLONE");
    let clone = std::env::var("RETORT_CLONE")
        .unwrap_or_else(|_| root.map(|root| root.display().to_string()).unwrap_or_default());
    println!("cargo::rustc-env=RETORT_CLONE={clone}");
    Ok(())
}

/// The files of a folder whose names begin and end so, by what is between, sorted.
fn files(dir: &Path, start: &str, end: &str) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", dir.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_prefix(start).and_then(|n| n.strip_suffix(end)) {
            println!("cargo::rerun-if-changed={}", path.display());
            found.push((stem.to_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}

/// A list of names and texts, as code.
fn list(name: &str, files: &[(String, PathBuf)]) -> Result<String, Box<dyn Error>> {
    let mut code = format!("static {name}: &[(&str, &str)] = &[\n");
    for (stem, path) in files {
        writeln!(code, "({stem:?}, include_str!({:?})),", path.display().to_string())?;
    }
    code.push_str("];\n");
    Ok(code)
}

/// Builds the losses for WASM, by a cargo of its own in a target folder of its own: this one's is locked.
/// None, with a warning, where Rust's wasm target isn't installed or the build fails, and where
/// `RETORT_EMBED=0` says so; the program then builds the pack when it needs it, from the clone. (A host that was
/// packaged alone has no clone: it has its losses linked in, and not as a component.)
fn module(root: &Path, out: &Path) -> Result<Option<PathBuf>, Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=RETORT_EMBED");
    if std::env::var("RETORT_EMBED").is_ok_and(|v| v == "0") {
        return Ok(None);
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let found =
        Command::new(rustc).args(["--print", "target-libdir", "--target", WASM]).output()?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
    if !libraries.is_dir() {
        // Installing the target puts a folder beside those of the other targets.
        if let Some(targets) = libraries.ancestors().nth(2).filter(|dir| dir.is_dir()) {
            println!("cargo::rerun-if-changed={}", targets.display());
        }
        println!(
            "cargo::warning=the losses aren't in this program as a WASM component: `rustup target add \
             {WASM}`, and build again"
        );
        return Ok(None);
    }
    let sdk = ["sdk/src", "sdk/wit", "sdk/bindings", "sdk/Cargo.toml"];
    let own = ["plugins/src", "plugins/Cargo.toml", "Cargo.toml", "Cargo.lock"];
    for part in sdk.into_iter().chain(own) {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
    }
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    // One for this profile: the build, the tests and clippy have an `OUT_DIR` each.
    let profile = out.ancestors().nth(3).filter(|dir| dir.join("build").is_dir());
    let target = profile.unwrap_or(out).join("pack");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--lib", "--target", WASM, "--target-dir"]).arg(&target);
    cargo.args(["--profile", if release { "release" } else { "dev" }]);
    cargo.arg("--manifest-path").arg(root.join("plugins/Cargo.toml"));
    // What was meant for this build isn't for that one: flags of a processor, clippy in rustc's place.
    for variable in ["RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", remap(root).join("\u{1f}"));
    let built = cargo.output()?;
    if !built.status.success() {
        println!(
            "cargo::warning=the losses aren't in this program as a WASM component; cargo says"
        );
        for line in String::from_utf8_lossy(&built.stderr).lines() {
            println!("cargo::warning={line}");
        }
        return Ok(None);
    }
    let profile = if release { "release" } else { "debug" };
    Ok(Some(target.join(WASM).join(profile).join("retort_plugins.wasm")))
}

/// Flags that keep this machine's folders out of the module.
fn remap(root: &Path) -> Vec<String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=retort", root.display())];
    flags.extend(home.map(|home| format!("--remap-path-prefix={}=cargo", home.display())));
    flags
}
