//! `retort checkpoint fetch` and `retort data fetch`: published files, checked, in one folder.

use crate::command::Common;
use crate::failure::{Failure, Result};
use crate::io::download::{self, Expected, Patience};
use crate::terminal::output;
use clap::Args;
use retort_core::fs::open_regular;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Weights of networks.
    Checkpoint,
    /// Pictures.
    Data,
}

/// Flags of both commands.
#[derive(Args, Debug)]
pub struct Fetch {
    /// What to fetch; without a name, what there is.
    name: Option<String>,
    /// The folder for it [default: `checkpoints` or `data`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take the files from this folder: those that one has, or that have no direct link.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    from: Option<PathBuf>,
    /// Another address of the file; one that ends in `/` is a folder with files of the same names.
    #[arg(long)]
    url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    checkpoint: Vec<Entry>,
    data: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    doc: String,
    by_hand: String,
    then: Option<String>,
    file: Vec<Published>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    name: String,
    url: Option<String>,
    size: Option<u64>,
    sha256: Option<String>,
}

impl Published {
    fn expected(&self) -> Expected<'_> {
        Expected { size: self.size, sha256: self.sha256.as_deref(), most: None }
    }
}

/// Runs either command.
pub fn run(args: &Fetch, kind: Kind, common: &Common) -> Result<()> {
    let manifest: Manifest = toml::from_str(include_str!("../io/manifest.toml"))
        .map_err(|e| Failure::new(format!("the manifest is broken: {e}")))?;
    let (entries, command, folder) = match kind {
        Kind::Checkpoint => (manifest.checkpoint, "checkpoint", "checkpoints"),
        Kind::Data => (manifest.data, "data", "data"),
    };
    let Some(name) = &args.name else {
        list(&entries, common);
        return Ok(());
    };
    let Some(entry) = entries.iter().find(|e| e.name == *name) else {
        let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
        let near = retort_sdk::schema::nearest(name, &names);
        let near = near.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        return Err(Failure::usage(format!(
            "retort knows no {command} {name} to fetch{near} There are: {}",
            names.join(", ")
        )));
    };
    if args.url.as_ref().is_some_and(|url| !url.ends_with('/')) && entry.file.len() > 1 {
        return Err(Failure::usage(format!(
            "{name} has {} files: --url names the folder they are in, and ends in /",
            entry.file.len()
        )));
    }
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(folder));
    let mut done = Vec::new();
    for file in &entry.file {
        let target = out.join(&file.name);
        let (sha256, how) = one(args, entry, file, &target, command)?;
        let verified = if file.sha256.is_some() { "as published" } else { "not known before" };
        if !common.json {
            output::line(format_args!(
                "{}: {how}; SHA-256 {sha256} ({verified})",
                target.display()
            ));
        }
        done.push(json!({"file": target, "sha256": sha256, "how": how,
            "verified": file.sha256.is_some()}));
    }
    if common.json {
        output::json(&json!({"name": name, "files": done, "then": entry.then}));
    } else if let Some(then) = &entry.then {
        output::line(format_args!("Now {then}"));
    }
    Ok(())
}

/// Brings one file to its place; its SHA-256 and where it came from.
fn one(
    args: &Fetch,
    entry: &Entry,
    file: &Published,
    target: &Path,
    command: &str,
) -> Result<(String, &'static str)> {
    if target.is_file() {
        let found = file.expected().check(target).map_err(|why| {
            Failure::new(format!(
                "{} is there but isn't what was published: {why}. Move it away and fetch it again",
                target.display()
            ))
        })?;
        return Ok((found, "there already"));
    }
    if let Some(dir) = &args.from {
        return Ok((copy(&dir.join(&file.name), target, &file.expected(), entry)?, "copied"));
    }
    let url = match (&args.url, &file.url) {
        (Some(url), _) if url.ends_with('/') => format!("{url}{}", file.name),
        (Some(url), _) | (None, Some(url)) => url.clone(),
        (None, None) => {
            return Err(Failure::new(format!(
                "{} has no direct link: get it by hand from {}, then `retort {command} fetch {} \
                 --from DIR`",
                file.name, entry.by_hand, entry.name
            )));
        }
    };
    let bar = download::bar(&file.name, file.size);
    let result = download::download(&url, target, &file.expected(), &bar, Patience::default());
    bar.finish_and_clear();
    let found = result.map_err(|failure| {
        let message = format!("{}. By hand: {}", failure.message, entry.by_hand);
        Failure { message, ..failure }
    })?;
    Ok((found, "downloaded"))
}

/// Copies a file that is the right one, whole or not at all.
fn copy(source: &Path, target: &Path, expected: &Expected, entry: &Entry) -> Result<String> {
    let found = expected.check(source).map_err(|why| {
        Failure::new(format!(
            "can't take {}: {why}. It is published at {}",
            source.display(),
            entry.by_hand
        ))
    })?;
    let folder = target.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|e| Failure::file("make the folder", folder, e))?;
    let write = || -> std::io::Result<()> {
        let mut part = tempfile::Builder::new().prefix(".retort-").tempfile_in(folder)?;
        std::io::copy(&mut open_regular(source)?, part.as_file_mut())?;
        part.as_file().sync_all()?;
        part.persist(target).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|e| Failure::file("write", target, e))?;
    Ok(found)
}

fn list(entries: &[Entry], common: &Common) {
    let direct = |e: &Entry| e.file.iter().all(|f| f.url.is_some());
    if common.json {
        let list: Vec<Value> = entries
            .iter()
            .map(|e| {
                let files = e.file.iter().map(
                    |f| json!({"name": f.name, "url": f.url, "size": f.size, "sha256": f.sha256}),
                );
                json!({"name": e.name, "doc": e.doc, "by_hand": e.by_hand, "then": e.then,
                    "files": files.collect::<Vec<_>>()})
            })
            .collect();
        output::json(&json!({"entries": list}));
        return;
    }
    let mut table = output::table(["NAME", "LINK", "WHAT"]);
    for e in entries {
        table.add_row([e.name.as_str(), if direct(e) { "direct" } else { "by hand" }, &e.doc]);
    }
    output::line(table);
}
