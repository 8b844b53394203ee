//! `retort snapshot`: what a loss computes, pinned into a text file for any repository.

use crate::command::Common;
use crate::experiment::settings::limits;
use crate::failure::{Failure, Result};
use crate::loss::pin;
use crate::plugin::registry::{Found, Registry};
use crate::terminal::output;
use clap::Subcommand;
use retort_core::fs::read_text;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most bytes of a snapshot.
const TEXT: u64 = 16 << 20;

/// Actions of `retort snapshot`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write what losses compute now, one file `NAME.snapshot` each.
    #[command(
        after_help = concat!(native_code!(), "\n\nExample:\n  retort snapshot record my_pack.wasm --out snapshots\n  git add snapshots")
    )]
    Record {
        /// `NAME`, `FILE#NAME`, or `FILE` for all of its losses.
        #[arg(required = true, value_name = "PLUGIN")]
        plugins: Vec<String>,
        /// Folder of the files.
        #[arg(long, value_name = "DIR", default_value = "snapshots")]
        out: PathBuf,
        /// Replace files whose numbers differ: the definition was meant to change.
        #[arg(long)]
        force: bool,
    },
    /// Compare what losses compute now with recorded files; exits with 1 if one differs.
    #[command(after_help = concat!(native_code!(), "\n\nExample:\n  retort snapshot verify my_pack.wasm --against snapshots"))]
    Verify {
        /// `NAME`, `FILE#NAME`, or `FILE` for all of its losses.
        #[arg(required = true, value_name = "PLUGIN")]
        plugins: Vec<String>,
        /// A recorded file, or a folder of them.
        #[arg(long, value_name = "DIR|FILE", default_value = "snapshots")]
        against: PathBuf,
        /// Largest difference, relative to the largest number of its line.
        #[arg(long, default_value_t = pin::TOLERANCE)]
        tolerance: f64,
    },
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    match command {
        Command::Record { plugins, out, force } => record(plugins, out, *force, common),
        Command::Verify { plugins, against, tolerance } => {
            verify(plugins, against, *tolerance, common)
        }
    }
}

/// The losses meant, each once by name: two of one name would share a file.
fn losses(plugins: &[String]) -> Result<Vec<Found>> {
    let mut registry = Registry::new(limits(&[])?)?;
    let mut all: BTreeMap<String, (String, Found)> = BTreeMap::new();
    for plugin in plugins {
        for found in registry.find_all(plugin)? {
            let name = found.definition.name.clone();
            if let Some((before, _)) = all.insert(name.clone(), (plugin.clone(), found)) {
                return Err(Failure::usage(format!(
                    "{before} and {plugin} both have a loss {name}: snapshots are named by loss, so \
                     give one of them at a time"
                )));
            }
        }
    }
    Ok(all.into_values().map(|(_, found)| found).collect())
}

fn record(plugins: &[String], out: &Path, force: bool, common: &Common) -> Result<()> {
    let limits = limits(&[])?;
    let mut files = Vec::new();
    for found in losses(plugins)? {
        let name = &found.definition.name;
        let path = pin::file_in(out, name);
        let text = pin::record(&found, &limits)?;
        if !force && let Ok(old) = read_text(&path, TEXT) {
            let differences = pin::differences(&old, &text, pin::TOLERANCE);
            if let Some(first) = differences.first() {
                return Err(Failure::new(format!(
                    "{} differs in {} places from what {name} computes now; the first: {first}. If \
                     the definition was meant to change, record it with --force",
                    path.display(),
                    differences.len()
                )));
            }
        }
        files.push((name.clone(), path, text));
    }
    std::fs::create_dir_all(out).map_err(|e| Failure::file("make the folder", out, e))?;
    for (_, path, text) in &files {
        retort_core::fs::atomic_write(path, text.as_bytes()).map_err(Failure::new)?;
    }
    if common.json {
        let files: Vec<Value> =
            files.iter().map(|(loss, path, _)| json!({"loss": loss, "file": path})).collect();
        output::json(&json!({ "recorded": files }));
    } else {
        for (loss, path, _) in &files {
            output::line(format_args!("{loss}: recorded in {}", path.display()));
        }
    }
    Ok(())
}

fn verify(plugins: &[String], against: &Path, tolerance: f64, common: &Common) -> Result<()> {
    if !(tolerance > 0.0 && tolerance < 1.0) {
        return Err(Failure::usage(format!("--tolerance {tolerance} must lie between 0 and 1")));
    }
    let limits = limits(&[])?;
    let all = losses(plugins)?;
    if !against.is_dir() && all.len() > 1 {
        return Err(Failure::usage(format!(
            "{} is one file, but there are {} losses to compare: give their folder",
            against.display(),
            all.len()
        )));
    }
    let mut results = Vec::new();
    for found in &all {
        let name = &found.definition.name;
        let path = if against.is_dir() { pin::file_in(against, name) } else { against.to_owned() };
        let old = read_text(&path, TEXT).map_err(|e| {
            let why = format!("{e}; `retort snapshot record` makes it");
            Failure::file("read", &path, why)
        })?;
        let of = pin::loss_of(&old).map_err(|e| Failure::file("use", &path, e.message))?;
        if of != name {
            let why = format!("it is the snapshot of {of}, not of {name}");
            return Err(Failure::file("use", &path, why));
        }
        let new = pin::record(found, &limits)?;
        results.push((name.clone(), path, pin::differences(&old, &new, tolerance)));
    }
    if common.json {
        let results: Vec<Value> = results
            .iter()
            .map(|(loss, path, differences)| {
                json!({"loss": loss, "file": path, "same": differences.is_empty(), "differences": differences})
            })
            .collect();
        output::json(&json!({ "verified": results }));
    } else {
        for (loss, _, differences) in &results {
            match differences.len() {
                0 => output::line(format_args!("{loss}: the same")),
                n => output::line(format_args!("{loss}: {n} differences")),
            }
            for difference in differences {
                output::line(format_args!("  {loss}, {difference}"));
            }
        }
    }
    let changed: Vec<&str> =
        results.iter().filter(|(.., d)| !d.is_empty()).map(|(loss, ..)| loss.as_str()).collect();
    if changed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "not what was recorded in {}: {}",
        against.display(),
        changed.join(", ")
    )))
}
