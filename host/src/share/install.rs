//! Packs that were added: noted for the user, and locked beside an experiment, by digest.

use super::about::About;
use super::home;
use super::name::{Name, Wanted};
use super::registry::{Fetched, Registry};
use super::store::Store;
use super::{key, trust};
use crate::failure::{Failure, Result};
use crate::loss::pin;
use crate::plugin::registry::Registry as Losses;
use retort_core::Limits;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What an experiment's lock is called.
pub const LOCK: &str = "retort.lock";

/// A pack that was added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Added {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// SHA-256 of its bytes.
    pub digest: String,
    /// The plugin interface that it was built for.
    pub interface: u32,
    /// The key that signed it; none of one that was added unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    pack: Vec<Added>,
}

/// What the user has added.
fn installed() -> Result<PathBuf> {
    Ok(home::folder()?.join("packs.toml"))
}

/// All packs that were added, by name.
pub fn list() -> Result<Vec<Added>> {
    Ok(home::read::<File>(&installed()?)?.pack)
}

/// The packs that a lock names.
pub fn locked(lock: &Path) -> Result<Vec<Added>> {
    Ok(home::read::<File>(lock)?.pack)
}

fn note(file: &Path, added: &Added) -> Result<()> {
    let mut all = home::read::<File>(file)?.pack;
    all.retain(|other| other.name != added.name);
    all.push(added.clone());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    home::write(file, &File { pack: all })
}

/// How a pack is added.
#[derive(Clone, Debug, Default)]
pub struct How {
    /// Also if nobody signed it.
    pub allow_unsigned: bool,
    /// The lock to hold it to, and to write it into; none where there is no experiment.
    pub lock: Option<PathBuf>,
    /// Only what the lock says.
    pub locked: bool,
}

/// A pack that was added, and how many of its pinned numbers came out here as they were published.
#[derive(Debug)]
pub struct Report {
    /// What was added.
    pub added: Added,
    /// Its losses.
    pub losses: Vec<String>,
    /// Lines of its pins, those that agree, and the first that differ.
    pub pinned: (usize, usize, Vec<String>),
}

/// Adds a pack: chosen, fetched, its digest, signature and name verified, its pins computed on this machine; noted
/// only when all of that is as it should be.
pub fn add(wanted: &Wanted, registry: &Registry, how: &How, limits: &Limits) -> Result<Report> {
    let locked = match &how.lock {
        Some(lock) => locked(lock)?.into_iter().find(|added| added.name == wanted.name),
        None => None,
    };
    let fits = |added: &&Added| wanted.version.as_ref().is_none_or(|v| v.matches(&added.version));
    let entry = match locked.as_ref().filter(fits) {
        // A lock names bytes, whatever has become of their version since.
        Some(locked) => {
            let entry = registry.entry(&locked.name, &locked.version)?.ok_or_else(|| {
                Failure::new(format!(
                    "{} has no {} {}, which {LOCK} names",
                    registry.shown(),
                    locked.name,
                    locked.version
                ))
            })?;
            if entry.digest != locked.digest {
                return Err(moved(locked, &entry.digest));
            }
            entry
        }
        None if how.locked => {
            return Err(Failure::usage(format!(
                "{LOCK} has no such version of {}, and --locked takes no other",
                wanted.name
            )));
        }
        None => registry.choose(wanted)?,
    };
    // What was added once is known by its digest.
    if let Some(known) = list()?.iter().find(|a| a.name == entry.name && a.version == entry.version)
        && known.digest != entry.digest
    {
        return Err(moved(known, &entry.digest));
    }
    let fetched = registry.fetch(entry, limits.component_bytes)?;
    let about = about(&fetched)?;
    let signer = signer(&fetched, how)?;
    let path = Store::open()?.put(&fetched.bytes)?;
    let pinned = pinned(&about, &path, limits)?;
    if let Some(first) = pinned.2.first() {
        let (lines, agree, _) = &pinned;
        return Err(Failure::new(format!(
            "{} {} doesn't compute here what its author saw: {agree} of {lines} numbers as published; {first}. It \
             wasn't added",
            about.name, about.version
        )));
    }
    let added = Added {
        name: about.name.clone(),
        version: about.version.clone(),
        digest: fetched.entry.digest,
        interface: about.losses.interface,
        key: signer,
    };
    note(&installed()?, &added)?;
    if let Some(lock) = how.lock.as_ref().filter(|_| !how.locked) {
        note(lock, &added)?;
    }
    let losses = about.losses.losses.iter().map(|loss| loss.name.clone()).collect();
    Ok(Report { added, losses, pinned })
}

fn moved(was: &Added, is: &str) -> Failure {
    Failure::new(format!(
        "{} {} is another file than it was: {is}, not {}. A version never changes, so somebody has replaced it; it \
         wasn't added",
        was.name, was.version, was.digest
    ))
}

/// What a pack says about itself, if it is the pack that it was fetched as.
pub(super) fn about(fetched: &Fetched) -> Result<About> {
    let entry = &fetched.entry;
    let refused = |why: String| Failure::new(format!("{} {}: {why}", entry.name, entry.version));
    let about = About::read(&fetched.bytes).map_err(refused)?.ok_or_else(|| {
        refused(
            "it isn't a pack: it says nothing about itself (`retort plugin pack` makes one)"
                .to_owned(),
        )
    })?;
    if (&about.name, &about.version) != (&entry.name, &entry.version) {
        return Err(refused(format!("its file says that it is {} {}", about.name, about.version)));
    }
    Ok(about)
}

/// The key that signed a pack, if it is one that the user trusts to be the author's.
fn signer(fetched: &Fetched, how: &How) -> Result<Option<String>> {
    let entry = &fetched.entry;
    let (name, author) = (&entry.name, &entry.name.author);
    let known = trust::of(author)?;
    let (Some(signature), Some(key)) = (&fetched.signature, &entry.key) else {
        if !known.is_empty() {
            return Err(Failure::new(format!(
                "{name} {} isn't signed, and you trust a key of {author}, who signs: it wasn't added",
                entry.version
            )));
        }
        if how.allow_unsigned {
            return Ok(None);
        }
        return Err(Failure::new(format!(
            "{name} {} isn't signed, so nobody can tell who made it; --allow-unsigned adds it all the same",
            entry.version
        )));
    };
    let print = key::fingerprint(key).map_err(|why| Failure::new(format!("{name}: {why}")))?;
    if !known.contains(key) {
        let line = format!("retort trust add {author} {key}");
        return Err(Failure::new(if known.is_empty() {
            format!(
                "{name} {} is signed by a key that you don't trust yet, {print}. Ask {author} whether it is theirs; \
                 then `{line}`",
                entry.version
            )
        } else {
            format!(
                "THE KEY OF {author} HAS CHANGED: {name} {} is signed by {print}, and you trust {}. Somebody may pass \
                 for {author}. If they say that they have a new key: `{line}`",
                entry.version,
                known
                    .iter()
                    .filter_map(|key| key::fingerprint(key).ok())
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }));
    }
    signed(fetched, key, signature)?;
    Ok(Some(key.clone()))
}

/// Whether a signature by this key is of these bytes, as this version of this pack.
pub(super) fn signed(fetched: &Fetched, key: &str, signature: &str) -> Result<()> {
    let Fetched { entry, bytes, .. } = fetched;
    let refused = |why: String| Failure::new(format!("{} {}: {why}", entry.name, entry.version));
    let comment = key::verify(key, bytes, signature).map_err(refused)?;
    if comment == entry.comment() {
        return Ok(());
    }
    Err(refused(format!("the signature is of something else: {comment:?}")))
}

/// Computes a pack's pins on this machine.
pub(super) fn pinned(
    about: &About,
    path: &Path,
    limits: &Limits,
) -> Result<(usize, usize, Vec<String>)> {
    let mut losses = Losses::new(limits.clone())?;
    let (mut lines, mut wrong) = (0, Vec::new());
    for (loss, text) in &about.pins {
        let found = losses.find(&format!("{}#{loss}", path.display()))?;
        let now = pin::record(&found, limits)?;
        lines += pin::numbers(text);
        let differ = pin::differences(text, &now, pin::TOLERANCE);
        wrong.extend(differ.into_iter().map(|what| format!("{loss}, {what}")));
    }
    Ok((lines, lines.saturating_sub(wrong.len()), wrong))
}

/// Whether what was added is still what it was: its bytes, and the numbers of its pins.
pub fn verify(added: &Added, limits: &Limits) -> Result<(usize, usize, Vec<String>)> {
    let store = Store::open()?;
    let bytes = store.get(&added.digest)?;
    let about = About::read(&bytes).ok().flatten();
    let about =
        about.ok_or_else(|| Failure::new(format!("{}: it isn't a pack any more", added.name)))?;
    pinned(&about, &store.path(&added.digest), limits)
}

/// Forgets a pack; whether it was there. Its bytes stay in the store, for runs and locks that name them.
pub fn remove(name: &Name) -> Result<bool> {
    let file = installed()?;
    let mut all = list()?;
    let before = all.len();
    all.retain(|added| added.name != *name);
    home::write(&file, &File { pack: all.clone() })?;
    Ok(all.len() < before)
}

/// The pack that a name means here: that of the lock in this folder, else that which the user added.
pub fn resolve(name: &Name) -> Result<(Added, PathBuf)> {
    let of_lock = locked(Path::new(LOCK))?.into_iter().find(|added| added.name == *name);
    let (added, from) = if let Some(added) = of_lock {
        (added, LOCK)
    } else {
        let found = list()?.into_iter().find(|added| added.name == *name);
        let missing = || Failure::usage(format!("{name} isn't added yet: `retort add {name}`"));
        (found.ok_or_else(missing)?, "the packs that you added")
    };
    let path = Store::open()?.path(&added.digest);
    if !path.is_file() {
        return Err(Failure::usage(format!(
            "{from} names {name} {}, whose bytes aren't here: `retort add {name}@{}`",
            added.version, added.version
        )));
    }
    Ok((added, path))
}
