//! An index of a registry: each version verified on this machine before it stands there.

use super::install::{about, pinned, signed};
use super::name::Name;
use super::registry::entry::Entry;
use super::registry::folder::Folder;
use super::registry::site::{FORMAT, INDEX, INDEX_BYTES, Index};
use super::registry::{Fetched, Place as _, Registry};
use super::store::Store;
use super::trust;
use crate::command::check::subjects_of;
use crate::failure::{Failure, Result};
use crate::loss::check::{self, Status};
use crate::terminal::progress;
use retort_core::Limits;
use retort_core::fs::{atomic_write, read_regular};
use semver::Version;
use std::collections::BTreeSet;
use std::path::Path;

/// What was built.
#[derive(Debug, Default)]
pub struct Built {
    /// Versions that stand in the index.
    pub versions: usize,
    /// Those that are new there.
    pub verified: Vec<String>,
    /// Those that were left out, with the reason.
    pub refused: Vec<String>,
}

/// Makes an index of a registry in a folder, or goes on with the one that is there. Packs that are files are copied
/// beside it.
pub fn build(registry: &Registry, out: &Path, packs: &[Name], limits: &Limits) -> Result<Built> {
    std::fs::create_dir_all(out).map_err(|e| Failure::file("make the folder", out, e))?;
    let mut index = there(out)?;
    let bytes_in = registry.place().bytes_in()?;
    if !index.pack.is_empty() && index.registry != bytes_in {
        let of =
            |place: &Option<String>| place.clone().unwrap_or_else(|| "files beside it".to_owned());
        return Err(Failure::usage(format!(
            "{} is an index of {}, not of {}: an index has one registry; name another folder with --out",
            out.display(),
            of(&index.registry),
            of(&bytes_in)
        )));
    }
    index.registry = bytes_in;
    let folder = Folder::at(out.to_owned());
    let in_place = same(registry.place().root(), out);
    let mut built = Built::default();
    for name in names(registry, &folder, &index, packs)? {
        for version in registry.place().numbers(&name)? {
            let what = format!("{name} {version}");
            match one(registry, &folder, in_place, &mut index, (&name, &version), limits) {
                Ok(true) => built.verified.push(what),
                Ok(false) => {}
                Err(e) => built.refused.push(format!("{what}: {}", whole(&e))),
            }
        }
    }
    index.pack.sort_by(|a, b| (&a.name, &b.version).cmp(&(&b.name, &a.version)));
    let text = toml::to_string(&index).map_err(Failure::new)?;
    atomic_write(&out.join(INDEX), text.as_bytes()).map_err(Failure::new)?;
    built.versions = index.pack.len();
    Ok(built)
}

/// The index that is there; an empty one if there is none.
fn there(out: &Path) -> Result<Index> {
    let path = out.join(INDEX);
    match read_regular(&path, INDEX_BYTES) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Ok(Index { format: FORMAT, registry: None, pack: Vec::new() })
        }
        bytes => {
            let bytes = bytes.map_err(|e| Failure::file("read", &path, e))?;
            Index::read(&bytes).map_err(|why| Failure::file("understand", &path, why))
        }
    }
}

/// Whether a registry lies in this folder.
fn same(root: Option<&Path>, out: &Path) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    root.and_then(whole).is_some_and(|root| whole(out) == Some(root))
}

/// The packs to look at: those named; else those that the registry lists, that stand in the index, or of which
/// somebody has put a file into its folder.
fn names(
    registry: &Registry,
    folder: &Folder,
    index: &Index,
    packs: &[Name],
) -> Result<BTreeSet<Name>> {
    if !packs.is_empty() {
        return Ok(packs.iter().cloned().collect());
    }
    let mut all: BTreeSet<Name> = index.pack.iter().map(|entry| entry.name.clone()).collect();
    all.extend(folder.packs()?);
    match registry.place().packs() {
        Ok(listed) => all.extend(listed),
        // A registry that lists nothing is asked for what is known.
        Err(e) if all.is_empty() => return Err(e),
        Err(_) => {}
    }
    Ok(all)
}

/// Puts a version into the index; whether it is new there.
fn one(
    registry: &Registry,
    folder: &Folder,
    in_place: bool,
    index: &mut Index,
    (name, version): (&Name, &Version),
    limits: &Limits,
) -> Result<bool> {
    let Some(entry) = registry.entry(name, version)? else { return Ok(false) };
    let at = index.pack.iter().position(|e| (&e.name, &e.version) == (name, version));
    if let Some(known) = at.map(|at| &mut index.pack[at]) {
        if known.digest != entry.digest {
            return Err(Failure::new(format!(
                "the registry has {} now, and the index has {}: a version never changes, so somebody has replaced it",
                entry.digest, known.digest
            )));
        }
        known.yanked = entry.yanked;
        if !in_place {
            folder.note(known)?;
        }
        return Ok(false);
    }
    let fetched = registry.fetch(entry, limits.component_bytes)?;
    let verified = verify(&fetched, index, limits)?;
    if !in_place {
        if index.registry.is_none() {
            folder.put(&verified, &fetched.bytes, fetched.signature.as_deref())?;
        }
        folder.note(&verified)?;
    }
    index.pack.push(verified);
    Ok(true)
}

/// What is said of a version, of its bytes alone: the registry's word counts only for whether it was taken back.
fn verify(fetched: &Fetched, index: &Index, limits: &Limits) -> Result<Entry> {
    let about = about(fetched)?;
    let key = match (&fetched.entry.key, &fetched.signature) {
        (Some(key), Some(signature)) => {
            signed(fetched, key, signature)?;
            Some(key.clone())
        }
        _ => None,
    };
    same_author(&about.name, key.as_deref(), index)?;
    let path = Store::open()?.put(&fetched.bytes)?;
    let subjects = subjects_of(&path, None, Path::new(""), limits)?;
    let bar = progress::spinner();
    let verdicts = check::check(&subjects, |subject, property| {
        bar.set_message(format!("{}: {property}", subject.found.definition.name));
    });
    bar.finish_and_clear();
    for (subject, verdicts) in subjects.iter().zip(&verdicts) {
        if let Some(fails) = verdicts.iter().find(|v| v.status == Status::Fails) {
            return Err(Failure::new(format!(
                "{} fails a check, {}: {}",
                subject.found.definition.name, fails.property, fails.detail
            )));
        }
    }
    let (lines, agree, wrong) = pinned(&about, &path, limits)?;
    if let Some(first) = wrong.first() {
        return Err(Failure::new(format!("{agree} of {lines} numbers as published; {first}")));
    }
    let entry = Entry::of(&about, fetched.entry.digest.clone(), key);
    let mut entry = Entry { yanked: fetched.entry.yanked, ..entry };
    // The checks are this machine's, not the author's.
    for (subject, verdicts) in subjects.iter().zip(&verdicts) {
        let name = &subject.found.definition.name;
        if let Some(listed) = entry.losses.iter_mut().find(|loss| loss.name == *name) {
            let of = |v: &check::Verdict| {
                (v.property.name().to_owned(), v.status.to_string().to_lowercase())
            };
            listed.checks = verdicts.iter().map(of).collect();
        }
    }
    Ok(entry)
}

/// Refuses a version by another key than the index has of its author, unless whoever builds the index trusts it.
fn same_author(name: &Name, key: Option<&str>, index: &Index) -> Result<()> {
    let of = index.pack.iter().filter(|entry| entry.name.author == name.author);
    let known: BTreeSet<&str> = of.filter_map(|entry| entry.key.as_deref()).collect();
    let trusted = trust::of(&name.author)?;
    let is_known = |key: &str| known.contains(key) || trusted.iter().any(|other| other == key);
    if known.is_empty() || key.is_some_and(is_known) {
        return Ok(());
    }
    Err(Failure::new(match key {
        Some(key) => format!(
            "THE KEY OF {} HAS CHANGED: if they say that this one is theirs, `retort trust add {} {key}`",
            name.author, name.author
        ),
        None => format!("it isn't signed, and {} signs", name.author),
    }))
}

/// A failure with its list, in one line.
fn whole(failure: &Failure) -> String {
    let list = failure.list.iter().map(|item| format!(" {item};"));
    format!("{}{}", failure.message, list.collect::<String>())
}
