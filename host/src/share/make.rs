//! A pack of a folder, a crate's or one in Python: built, checked, pinned, and described in one file.

use super::about::{About, TEXTS};
use super::name::Name;
use crate::command::check::subjects_of;
use crate::failure::{Failure, Result};
use crate::loss::check::{self, Status, Subject, Verdict};
use crate::loss::pin;
use crate::plugin::build::{self, Cargo, Options};
use crate::terminal::progress;
use retort_core::Limits;
use retort_core::fs::{atomic_write, read_regular, read_text};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most bytes of a README.
const README_BYTES: u64 = 256 << 10;

/// Builds a pack as a component, checks its losses, records their pins, and puts all of that into it. Where no
/// author is named, its manifest says who publishes it.
pub fn make(
    path: &Path,
    author: Option<&str>,
    cargo: &Cargo,
    limits: &Limits,
) -> Result<(PathBuf, About)> {
    let package = build::package(path)?;
    let name = name(&package, author)?;
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let version = text("version").parse();
    let version =
        version.map_err(|e| Failure::usage(format!("version {}: {e}", text("version"))))?;
    // The bare component is no pack yet: it stays where cargo builds.
    let options =
        Options { native: false, wasm: true, cargo: Cargo { out: None, ..cargo.clone() } };
    let built = build::build(path, &options)?;
    let Some(component) = built.wasm else {
        return Err(Failure::new("the component that was asked for wasn't built"));
    };
    let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default());
    let folder = folder.parent().unwrap_or(Path::new("."));
    let subjects = subjects_of(&component, None, &folder.join("snapshots"), limits)?;
    let bar = progress::spinner();
    let verdicts = check::check(&subjects, |subject, property| {
        bar.set_message(format!("{}: {property}", subject.found.definition.name));
    });
    bar.finish_and_clear();
    refuse(&subjects, &verdicts)?;
    let mut pins = BTreeMap::new();
    for subject in &subjects {
        let name = subject.found.definition.name.clone();
        pins.insert(name, pin::record(&subject.found, limits)?);
    }
    let bytes = read_regular(&component, limits.component_bytes);
    let bytes = bytes.map_err(|e| Failure::file("read", &component, e))?;
    let Some(pack) = subjects.first().map(|s| s.found.pack.description.clone()) else {
        return Err(Failure::new("the pack has no loss"));
    };
    let about = About {
        name,
        version,
        texts: texts(&package, folder),
        readme: readme(&package, folder)?,
        pins,
        card: card(&subjects, &verdicts),
        losses: pack,
    };
    let refused = |why: String| Failure::file("describe", &component, why);
    let packed = about.put_into(&bytes).map_err(refused)?;
    let out =
        cargo.out.clone().or_else(|| component.parent().map(Path::to_owned)).unwrap_or_default();
    std::fs::create_dir_all(&out).map_err(|e| Failure::file("make the folder", &out, e))?;
    let file = out.join(format!("{}-{}.wasm", about.name.pack, about.version));
    atomic_write(&file, &packed).map_err(Failure::new)?;
    Ok((file, about))
}

/// Who publishes it, and what it is called.
fn name(package: &Value, author: Option<&str>) -> Result<Name> {
    let of_manifest = package["metadata"]["retort"]["author"].as_str();
    let author = author.or(of_manifest).ok_or_else(|| {
        Failure::usage(
            "who publishes it? Say so in its Cargo.toml, [package.metadata.retort] author = \"ada\", or its \
             pyproject.toml, [tool.retort] author = \"ada\", or with --author",
        )
    })?;
    Name::new(author, package["name"].as_str().unwrap_or_default()).map_err(Failure::usage)
}

/// Refuses a pack with a loss that isn't as it should be.
fn refuse(subjects: &[Subject], verdicts: &[Vec<Verdict>]) -> Result<()> {
    let failing = subjects.iter().zip(verdicts).flat_map(|(subject, verdicts)| {
        let name = &subject.found.definition.name;
        let failing = verdicts.iter().filter(|verdict| verdict.status == Status::Fails);
        failing.map(move |v| format!("{name}, {}: {}", v.property, v.detail))
    });
    let failing: Vec<String> = failing.collect();
    if failing.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(
        "a pack isn't made of losses that fail a check; `retort loss check` says what to do about each:",
    );
    failure.list = failing;
    Err(failure)
}

/// What was found of each loss; nothing of it depends on the machine or the hour.
fn card(subjects: &[Subject], verdicts: &[Vec<Verdict>]) -> Value {
    let of = |verdict: &Verdict| {
        json!({"property": verdict.property.name(), "verdict": verdict.status.to_string().to_lowercase(),
            "detail": verdict.detail})
    };
    let losses = subjects.iter().zip(verdicts).map(|(subject, verdicts)| {
        (subject.found.definition.name.clone(), verdicts.iter().map(of).collect::<Value>())
    });
    Value::Object(losses.collect::<Map<String, Value>>())
}

/// The conventional texts, as the manifest has them.
fn texts(package: &Value, folder: &Path) -> BTreeMap<&'static str, String> {
    let text = |key: &str| package[key].as_str().map(str::to_owned);
    let of = |name: &str| match name {
        "authors" => {
            let all = package["authors"].as_array()?.iter().filter_map(Value::as_str);
            Some(all.collect::<Vec<_>>().join(", "))
        }
        "licenses" => text("license"),
        "source" => text("repository"),
        "revision" => revision(folder),
        name => text(name),
    };
    let found = TEXTS.iter().filter_map(|name| Some((*name, of(name)?)));
    found.filter(|(_, text)| !text.is_empty()).collect()
}

/// The commit that the folder is at, if nothing in it has changed since.
fn revision(folder: &Path) -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let clean = git(&["status", "--porcelain", "--", "."])?.is_empty();
    git(&["rev-parse", "HEAD"]).filter(|_| clean)
}

fn readme(package: &Value, folder: &Path) -> Result<String> {
    let Some(file) = package["readme"].as_str() else { return Ok(String::new()) };
    let file = folder.join(file);
    read_text(&file, README_BYTES).map_err(|e| Failure::file("read", &file, e))
}
