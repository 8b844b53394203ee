//! `retort loss check`: properties that a correct loss has.

use crate::check::{self, Status, Subject, Verdict, card};
use crate::command::Common;
use crate::failure::{Failure, Result};
use crate::plugin::registry::{Found, Registry};
use crate::settings::{assignments, limits};
use crate::{output, pin, tensors};
use clap::Args;
use retort_core::fs::read_text;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Arguments of `retort loss check`.
#[derive(Debug, Args)]
pub struct Check {
    /// A name, or `FILE#NAME`.
    name: String,
    /// A hyperparameter.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The same loss in another form. Components beside the file are found without; a native library
    /// is loaded, and its code run, only if it is named.
    #[arg(long = "with", value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Its recorded snapshot, or the folder that holds it [default: the built-in losses' own].
    #[arg(long, value_name = "FILE|DIR")]
    snapshot: Option<PathBuf>,
    /// Write the loss card: definition, verdicts and plots on one page.
    #[arg(long, value_name = "OUT.html")]
    html: Option<PathBuf>,
    /// Write the batches that show a failure here, for `retort loss eval --input`.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// A limit of each step, such as `seconds=60`.
    #[arg(long = "limit", value_name = "KEY=VALUE")]
    limit: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Check, common: &Common) -> Result<()> {
    let limits = limits(&args.limit)?;
    let mut registry = Registry::new(limits.clone())?;
    let found = registry.find(&args.name)?;
    let hyper = found.resolve(&assignments(&args.set)?)?;
    let others = others(args, &found, &mut registry)?;
    let pin = recorded(args, &found)?;
    let subject = Subject { found: &found, hyper, limits, others, pin };

    let bar = crate::progress::spinner();
    let verdicts = subject.check(|property| bar.set_message(format!("{}: {property}", args.name)));
    bar.finish_and_clear();

    if let Some(path) = &args.html {
        let page = card::page(&subject, &verdicts);
        retort_core::fs::atomic_write(path, page.as_bytes()).map_err(Failure::new)?;
    }
    if let Some(folder) = &args.save {
        save(folder, &found.definition.name, &verdicts)?;
    }
    let failed: Vec<&str> =
        verdicts.iter().filter(|v| v.status == Status::Fails).map(|v| v.property).collect();
    if common.json {
        output::json(&json!({
            "loss": found.definition.name, "ok": failed.is_empty(), "hyperparameters": subject.hyper,
            "verdicts": check::to_json(&verdicts), "origin": found.pack.origin.to_string(),
            "digest": found.pack.digest,
        }));
    } else {
        let mut table = output::table(["PROPERTY", "VERDICT", "WHAT WAS FOUND"]);
        for verdict in &verdicts {
            table.add_row([
                verdict.property.to_owned(),
                verdict.status.to_string(),
                verdict.detail.clone(),
            ]);
        }
        output::line(table);
        for verdict in verdicts.iter().filter(|v| v.status == Status::Fails) {
            if let Some(input) = &verdict.input {
                let input = check::in_words(input);
                output::line(format_args!("\n{}: smallest input: {input}", verdict.property));
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{} fails: {}", found.definition.name, failed.join(", "))))
}

/// The same definition from the files asked for, and from components beside the plugin's own: those run
/// in the sandbox, while a native library that nobody named stays unloaded.
fn others(args: &Check, found: &Found, registry: &mut Registry) -> Result<Vec<Found>> {
    let name = &found.definition.name;
    let mut others = Vec::new();
    for path in &args.with {
        let pack = registry.pack(path)?;
        let Some(definition) = pack.description.losses.iter().find(|l| l.name == *name).cloned()
        else {
            return Err(Failure::usage(format!("{} has no loss {name}", path.display())));
        };
        if definition != found.definition {
            return Err(Failure::usage(format!(
                "{} has another definition of {name} than {}: its source or its hyperparameters differ",
                path.display(),
                args.name
            )));
        }
        others.push(Found { pack, definition });
    }
    let file = args.name.split('#').next().map(Path::new).filter(|path| path.is_file());
    let folder =
        file.and_then(Path::parent).map(|p| if p == Path::new("") { Path::new(".") } else { p });
    let Some(Ok(entries)) = folder.map(std::fs::read_dir) else { return Ok(others) };
    for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        let component = path.extension().is_some_and(|e| e == "wasm");
        let itself = file.is_some_and(|file| file.file_name() == path.file_name());
        if !component || itself || args.with.contains(&path) {
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

/// The recorded snapshot and its place.
fn recorded(args: &Check, found: &Found) -> Result<Option<(String, String)>> {
    let name = &found.definition.name;
    let Some(place) = &args.snapshot else {
        let own =
            pin::builtin(name).filter(|_| !args.name.contains('#') && !args.name.contains('.'));
        return Ok(own.map(|text| ("retort's own snapshot".to_owned(), text.to_owned())));
    };
    let path = if place.is_dir() { pin::file_in(place, name) } else { place.clone() };
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
        let file = format!("{name}.{}.safetensors", verdict.property.replace(' ', "_"));
        tensors::write(&folder.join(file), &input.tensors())?;
    }
    Ok(())
}
