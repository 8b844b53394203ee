//! `retort loss check`: properties that a correct loss has.

use crate::command::Common;
use crate::experiment::settings::{assignments, limits};
use crate::failure::{Failure, Result};
use crate::loss::check::{self, Property, Status, Subject, Verdict, card, junit};
use crate::loss::{pin, tensors};
use crate::plugin::registry::{Found, Registry, parts};
use crate::terminal::output;
use clap::Args;
use retort_core::Limits;
use retort_core::fs::{atomic_write, read_text};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Arguments of `retort loss check`.
#[derive(Debug, Args)]
pub struct Check {
    /// `NAME`, `FILE#NAME`, or `FILE` for all of its losses.
    #[arg(required_unless_present = "all", value_name = "LOSS")]
    names: Vec<String>,
    /// Check every loss that is built in.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// A hyperparameter.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The same losses in another form. Components beside the file are found without; a native library
    /// is loaded, and its code run, only if it is named.
    #[arg(long = "with", value_name = "FILE")]
    with: Vec<PathBuf>,
    /// The recorded snapshot, or the folder that holds them [default: the built-in losses' own].
    #[arg(long, value_name = "FILE|DIR")]
    snapshot: Option<PathBuf>,
    #[command(flatten)]
    wanted: Wanted,
    /// A limit of each step, such as `seconds=60`.
    #[arg(long = "limit", value_name = "KEY=VALUE")]
    limit: Vec<String>,
}

/// What is written of the verdicts beside the tables.
#[derive(Args, Debug, Default)]
pub struct Wanted {
    /// Write the loss card, a page with definition, verdicts and plots; of several losses a folder of them.
    #[arg(long, value_name = "OUT.html|DIR")]
    pub html: Option<PathBuf>,
    /// Write the batches that show a failure here, for `retort loss eval --input`.
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Write the verdicts for a forge's test report.
    #[arg(long, value_name = "OUT.xml")]
    pub junit: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Check, common: &Common) -> Result<()> {
    let limits = limits(&args.limit)?;
    let mut registry = Registry::new(limits.clone())?;
    let names = if args.all {
        registry.builtin().description.losses.iter().map(|l| l.name.clone()).collect()
    } else {
        args.names.clone()
    };
    let mut all = Vec::new();
    for name in &names {
        for found in registry.find_all(name)? {
            let others = others(&args.with, name, &found, &mut registry)?;
            all.push((name, found, others));
        }
    }
    if all.len() > 1 && !args.set.is_empty() {
        let why = "--set is for one loss, and these are several: name one, as FILE#NAME";
        return Err(Failure::usage(why));
    }
    let several = all.len() > 1;
    let set = assignments(&args.set)?;
    let mut prepared = Vec::new();
    for (name, found, others) in all {
        let pin = match (&args.snapshot, parts(name)) {
            (Some(place), _) => recorded(place, &found, several)?,
            (None, (None, _)) => pin::builtin(&found.definition.name)
                .map(|text| ("retort's own snapshot".to_owned(), text.to_owned())),
            (None, _) => None,
        };
        prepared.push((found.resolve(&set)?, found, others, pin));
    }
    let subjects: Vec<Subject> = prepared
        .into_iter()
        .map(|(hyper, found, others, pin)| {
            Subject::new(found, hyper, limits.clone()).against(others, pin)
        })
        .collect();
    try_all(&subjects, &args.wanted, common)
}

/// The losses of a file, to be checked against the same in another file and against a folder of
/// snapshots.
pub fn subjects_of(
    file: &Path,
    other: Option<&Path>,
    snapshots: &Path,
    limits: &Limits,
) -> Result<Vec<Subject>> {
    let mut registry = Registry::new(limits.clone())?;
    let name = file.display().to_string();
    let mut subjects = Vec::new();
    for found in registry.find_all(&name)? {
        let with: Vec<PathBuf> = other.into_iter().map(Path::to_owned).collect();
        let others = others(&with, &name, &found, &mut registry)?;
        let pin = recorded(snapshots, &found, true)?;
        let hyper = found.resolve(&serde_json::Map::new())?;
        subjects.push(Subject::new(found, hyper, limits.clone()).against(others, pin));
    }
    Ok(subjects)
}

/// Checks the losses and shows what was found; an error if one fails.
pub fn try_all(subjects: &[Subject], wanted: &Wanted, common: &Common) -> Result<()> {
    let bar = crate::terminal::progress::spinner();
    let verdicts = check::check(subjects, |subject, property| {
        bar.set_message(format!("{}: {property}", subject.found.definition.name));
    });
    bar.finish_and_clear();

    if let Some(path) = &wanted.junit {
        let text = junit::xml(subjects, &verdicts);
        atomic_write(path, text.as_bytes()).map_err(Failure::new)?;
    }
    if let Some(path) = &wanted.html {
        write_cards(path, subjects, &verdicts)?;
    }
    if let Some(folder) = &wanted.save {
        for (subject, verdicts) in subjects.iter().zip(&verdicts) {
            save(folder, &subject.found.definition.name, verdicts)?;
        }
    }
    if common.json {
        let all: Vec<Value> = subjects.iter().zip(&verdicts).map(|(s, v)| to_json(s, v)).collect();
        match <[Value; 1]>::try_from(all) {
            Ok([one]) => output::json(&one),
            Err(all) => {
                let ok = all.iter().all(|one| one["ok"] == true);
                output::json(&json!({ "ok": ok, "losses": all }));
            }
        }
    } else {
        show(subjects, &verdicts);
    }
    let failed: Vec<String> = subjects
        .iter()
        .zip(&verdicts)
        .filter_map(|(subject, verdicts)| {
            let failing = failing(verdicts);
            let name = &subject.found.definition.name;
            (!failing.is_empty()).then(|| format!("{name} fails: {}", failing.join(", ")))
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(failed.join("; "))) }
}

fn failing(verdicts: &[Verdict]) -> Vec<&'static str> {
    verdicts.iter().filter(|v| v.status == Status::Fails).map(|v| v.property.name()).collect()
}

fn to_json(subject: &Subject, verdicts: &[Verdict]) -> Value {
    let (found, layout) = (&subject.found, subject.layout());
    json!({
        "loss": found.definition.name, "ok": failing(verdicts).is_empty(),
        "hyperparameters": subject.hyper, "made_smaller": subject.small(),
        "equal_widths": layout.equal_widths, "views": layout.views,
        "verdicts": check::to_json(verdicts), "origin": found.pack.origin.to_string(),
        "digest": found.pack.digest,
    })
}

/// The verdicts of one loss, or a summary of several; then what fails, and what to do about it.
fn show(subjects: &[Subject], verdicts: &[Vec<Verdict>]) {
    if let ([_], [verdicts]) = (subjects, verdicts) {
        let mut table = output::table(["PROPERTY", "VERDICT", "WHAT WAS FOUND"]);
        for verdict in verdicts {
            table.add_row([
                verdict.property.to_string(),
                verdict.status.to_string(),
                verdict.detail.clone(),
            ]);
        }
        output::verdicts(table);
    } else {
        let mut table = output::table(["LOSS", "VERDICT", "HOLD", "EXEMPT", "UNCHECKED", "FAIL"]);
        for (subject, verdicts) in subjects.iter().zip(verdicts) {
            let count = |status| verdicts.iter().filter(|v| v.status == status).count().to_string();
            let failing = failing(verdicts);
            table.add_row([
                subject.found.definition.name.clone(),
                if failing.is_empty() { Status::Holds } else { Status::Fails }.to_string(),
                count(Status::Holds),
                count(Status::Exempt),
                count(Status::Unchecked),
                failing.join(", "),
            ]);
        }
        output::verdicts(table);
    }
    let several = subjects.len() > 1;
    for (subject, verdicts) in subjects.iter().zip(verdicts) {
        let name = &subject.found.definition.name;
        for verdict in verdicts.iter().filter(|v| v.status == Status::Fails) {
            let property = verdict.property;
            let head = if several { format!("{name}, {property}") } else { property.to_string() };
            let detail = if several { format!(": {}", verdict.detail) } else { String::new() };
            output::line(format_args!("\n{head}{detail}"));
            if let Some(input) = &verdict.input {
                output::line(format_args!("  smallest input: {}", check::in_words(input)));
            }
            output::line(format_args!("  {}", verdict.remedy().unwrap_or_default()));
        }
    }
    let mut small: Vec<String> = Vec::new();
    for subject in subjects.iter().filter(|subject| !subject.small().is_empty()) {
        let values = subject.small().iter().map(|(key, value)| format!("{key} = {value}"));
        let values = values.collect::<Vec<_>>().join(", ");
        let name = &subject.found.definition.name;
        small.push(if several { format!("{name} ({values})") } else { values });
    }
    if !small.is_empty() {
        let whole =
            Property::ALL.into_iter().filter(|p| p.whole()).map(Property::name).collect::<Vec<_>>();
        output::line(format_args!(
            "\nSmaller than their defaults, which only take longer, but for {}: {}",
            whole.join(", "),
            small.join("; ")
        ));
    }
}

fn write_cards(path: &Path, subjects: &[Subject], verdicts: &[Vec<Verdict>]) -> Result<()> {
    let write = |path: &Path, subject: &Subject, verdicts: &[Verdict]| {
        let page = card::page(subject, verdicts);
        atomic_write(path, page.as_bytes()).map_err(Failure::new)
    };
    if let ([subject], [verdicts]) = (subjects, verdicts) {
        return write(path, subject, verdicts);
    }
    std::fs::create_dir_all(path).map_err(|e| Failure::file("make the folder", path, e))?;
    for (subject, verdicts) in subjects.iter().zip(verdicts) {
        let file = path.join(format!("{}.html", subject.found.definition.name));
        write(&file, subject, verdicts)?;
    }
    Ok(())
}

/// The same definition from the files asked for, and from components beside the plugin's own: those run
/// in the sandbox, while a native library that nobody named stays unloaded.
fn others(
    with: &[PathBuf],
    name: &str,
    found: &Found,
    registry: &mut Registry,
) -> Result<Vec<Found>> {
    let loss = &found.definition.name;
    let mut others = Vec::new();
    for path in with {
        let pack = registry.pack(path)?;
        let Some(definition) = pack.description.losses.iter().find(|l| l.name == *loss).cloned()
        else {
            return Err(Failure::usage(format!("{} has no loss {loss}", path.display())));
        };
        if definition != found.definition {
            return Err(Failure::usage(format!(
                "{} has another definition of {loss} than {name}: its source or its hyperparameters \
                 differ",
                path.display(),
            )));
        }
        others.push(Found { pack, definition });
    }
    let file = parts(name).0.filter(|path| path.is_file());
    let folder =
        file.and_then(Path::parent).map(|p| if p == Path::new("") { Path::new(".") } else { p });
    let Some(Ok(entries)) = folder.map(std::fs::read_dir) else { return Ok(others) };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let component = path.extension().is_some_and(|e| e == "wasm");
        let itself = file.is_some_and(|file| file.file_name() == path.file_name());
        if !component || itself || with.contains(&path) {
            continue;
        }
        // A file beside it that can't be read is somebody else's.
        let Ok(pack) = registry.pack(&path) else { continue };
        if let Some(definition) = pack.description.losses.iter().find(|l| **l == found.definition) {
            others.push(Found { definition: definition.clone(), pack: pack.clone() });
        }
    }
    Ok(others)
}

/// A loss's recorded snapshot and its place: a file, or one of a folder, which may lack it where it is
/// for several losses.
fn recorded(place: &Path, found: &Found, several: bool) -> Result<Option<(String, String)>> {
    let name = &found.definition.name;
    if several && place.is_file() {
        return Err(Failure::usage(format!(
            "{} is one file, but there are several losses: give the folder of their snapshots",
            place.display()
        )));
    }
    let path = if place.is_dir() { pin::file_in(place, name) } else { place.to_owned() };
    if several && !path.is_file() {
        return Ok(None);
    }
    let text = read_text(&path, 64 << 20).map_err(|e| Failure::file("read", &path, e))?;
    let of = pin::loss_of(&text).map_err(|e| Failure::file("use", &path, e.message))?;
    if of != name {
        let why = format!("it is the snapshot of {of}, not of {name}");
        return Err(Failure::file("use", &path, why));
    }
    Ok(Some((path.display().to_string(), text)))
}

fn save(folder: &Path, name: &str, verdicts: &[Verdict]) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Failure::file("make the folder", folder, e))?;
    for verdict in verdicts {
        let Some(input) = &verdict.input else { continue };
        let file = format!("{name}.{}.safetensors", verdict.property.name().replace(' ', "_"));
        tensors::write(&folder.join(file), &input.tensors())?;
    }
    Ok(())
}
