//! The host and the SDK as packages: each has all that it is built of.

use retort_sdk::sources::{CRATE, PYTHON};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Packages a crate, and unpacks it into a folder where nothing else of the workspace is.
fn packaged(name: &str, dir: &Path) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What it depends on is in no registry, so there is nothing to lock.
    cargo.args(["package", "--offline", "--allow-dirty", "--no-verify", "--exclude-lockfile"]);
    cargo.args(["--package", name, "--target-dir"]).arg(dir.join("target"));
    run(cargo.current_dir(workspace()));
    let folder = format!("{name}-{}", env!("CARGO_PKG_VERSION"));
    let file = dir.join("target/package").join(format!("{folder}.crate"));
    run(Command::new("tar").arg("xzf").arg(file).arg("-C").arg(dir));
    dir.join(folder)
}

#[test]
fn the_host_is_built_of_its_package_alone() {
    let dir = tempfile::tempdir().unwrap();
    let host = packaged("retort-host", dir.path());
    let (script, out) = (dir.path().join("build-script"), dir.path().join("out"));
    std::fs::create_dir(&out).unwrap();
    let mut rustc = Command::new("rustc");
    run(rustc.args(["--edition", "2024", "-o"]).arg(&script).arg(host.join("build.rs")));
    let mut build = Command::new(script);
    run(build.env("CARGO_MANIFEST_DIR", &host).env("OUT_DIR", &out).env_remove("RETORT_CLONE"));
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    // The built-in losses' pins, and the suites, are those of the workspace.
    for (list, folder) in [("pins.rs", "snapshots/snapshots"), ("suites.rs", "suites")] {
        let texts = text(list).matches("include_str!").count();
        let files = std::fs::read_dir(workspace().join(folder)).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name().to_string_lossy().into_owned();
            folder == "suites" || name.starts_with("loss_")
        });
        assert_eq!(texts, files.count(), "{list}");
    }
    assert!(text("pack.yml").contains("retort plugin test"));
    assert!(text("module.rs").contains("None"), "a package has no clone to build losses of");
    // Nothing names a file outside.
    let root = host.canonicalize().unwrap();
    for list in ["pins.rs", "suites.rs"] {
        for path in text(list).split("include_str!(\"").skip(1) {
            let path = Path::new(path.split('"').next().unwrap());
            assert!(path.starts_with(&root), "{}", path.display());
        }
    }
}

#[test]
fn the_program_carries_all_of_the_sdk() {
    let dir = tempfile::tempdir().unwrap();
    let sdk = packaged("retort-sdk", dir.path());
    for (name, text) in CRATE.iter().filter(|(name, _)| *name != "Cargo.toml") {
        assert_eq!(std::fs::read_to_string(sdk.join(name)).unwrap(), *text, "{name}");
    }
    let files = |folder: &str, of: &[(&str, &str)], prefix: &str| {
        let there: BTreeSet<String> = std::fs::read_dir(sdk.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let carried: BTreeSet<String> =
            of.iter().filter_map(|(name, _)| Some(name.strip_prefix(prefix)?.to_owned())).collect();
        assert_eq!(there, carried, "sdk/src/sources.rs lists what is in sdk/{folder}");
    };
    files("src", CRATE, "src/");
    files("wit", CRATE, "wit/");
    files("python/retort_sdk", PYTHON, "retort_sdk/");
    // It says its own version, which is the program's.
    let manifest = CRATE.iter().find(|(name, _)| *name == "Cargo.toml").unwrap().1;
    let manifest: toml::Table = toml::from_str(manifest).unwrap();
    assert_eq!(manifest["package"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
}
