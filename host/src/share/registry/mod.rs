//! Where packs are published: a folder, a registry of the OCI, or an index of either on a web site.

pub mod entry;
pub mod folder;
mod layout;
pub mod oci;
pub mod site;

use super::about::About;
use super::key;
use super::name::{Name, Wanted};
use crate::failure::{Failure, Result};
use crate::plugin::{digest, variable};
use entry::Entry;
use semver::Version;
use std::fmt::Debug;
use std::path::Path;

/// Most bytes of what is said of a version.
const ENTRY_BYTES: u64 = 1 << 20;
/// Most bytes of a signature.
const SIGNATURE_BYTES: u64 = 4096;
/// Most versions, packs and authors that are looked at.
const MOST: usize = 100_000;

/// A place where packs lie.
pub trait Place: Debug {
    /// Where it is, for people.
    fn shown(&self) -> String;
    /// Its folder, if it is one.
    fn root(&self) -> Option<&Path> {
        None
    }
    /// The registry of the OCI in which its packs' bytes lie; none where they are files of its own.
    fn bytes_in(&self) -> Result<Option<String>> {
        Ok(None)
    }
    /// The names of its packs.
    fn packs(&self) -> Result<Vec<Name>>;
    /// The numbers of a pack's versions, the newest first.
    fn numbers(&self, name: &Name) -> Result<Vec<Version>>;
    /// What it says of a version; none if it has no such one.
    fn entry(&self, name: &Name, version: &Version) -> Result<Option<Entry>>;
    /// A version's bytes, if they are what the entry says they are.
    fn bytes(&self, entry: &Entry, most: u64) -> Result<Vec<u8>>;
    /// A version's signature.
    fn signature(&self, entry: &Entry) -> Result<Option<String>>;
    /// Puts a pack there. A version is published once: the same bytes again change nothing, others are refused.
    fn publish(&self, offer: &Offer) -> Result<Entry>;
    /// Takes a version back, or gives it again.
    fn yank(&self, entry: &Entry, yanked: bool) -> Result<()>;
}

/// A pack that is published.
#[derive(Debug)]
pub struct Offer<'a> {
    /// What it says about itself.
    pub about: &'a About,
    /// What the registry will say of it.
    pub entry: &'a Entry,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// minisign's signature.
    pub signature: Option<&'a str>,
}

/// A registry.
#[derive(Debug)]
pub struct Registry(Box<dyn Place>);

/// A pack as it comes from a registry.
#[derive(Debug)]
pub struct Fetched {
    /// What the registry says.
    pub entry: Entry,
    /// The bytes, which have the entry's digest.
    pub bytes: Vec<u8>,
    /// minisign's signature.
    pub signature: Option<String>,
}

impl Registry {
    /// The registry that is named, else `RETORT_REGISTRY`, else a folder of the user's own.
    pub fn open(named: Option<&Path>) -> Result<Self> {
        let set = || variable("RETORT_REGISTRY");
        let Some(root) = named.map(Path::to_owned).or_else(set) else {
            return Ok(Registry(Box::new(folder::Folder::own()?)));
        };
        let text = root.to_str().unwrap_or_default();
        match text.split_once("://") {
            None => Ok(Registry(Box::new(folder::Folder::at(root)))),
            Some(("oci" | "oci+http", _)) => Ok(Registry(Box::new(oci::Oci::at(text, true)?))),
            Some(("https" | "http", _)) => Ok(Registry(Box::new(site::Site::at(text)?))),
            Some((scheme, _)) => Err(Failure::usage(format!(
                "{scheme}:// is no registry: a folder, oci://HOST/PATH, or the https:// address of an index"
            ))),
        }
    }

    /// That in which the packs of an index lie. An index is foreign: it names no folders, and the logins that stand
    /// in the environment aren't for whomever it names.
    pub(super) fn of_index(text: &str) -> Result<Self> {
        if text.starts_with("oci://") || text.starts_with("oci+http://") {
            return Ok(Registry(Box::new(oci::Oci::at(text, false)?)));
        }
        Err(Failure::new(format!("its packs lie in {text:?}, which is no oci:// registry")))
    }

    /// Where it is.
    pub fn shown(&self) -> String {
        self.0.shown()
    }

    /// The place itself.
    pub fn place(&self) -> &dyn Place {
        self.0.as_ref()
    }

    /// Publishes a pack.
    pub fn publish(&self, about: &About, bytes: &[u8], signer: Option<&key::Key>) -> Result<Entry> {
        let entry = Entry::of(about, digest(bytes), signer.map(|key| key.public.clone()));
        if let Some(was) = self.entry(&about.name, &about.version)? {
            return was.same_as(&entry);
        }
        let signature = signer.map(|key| key::sign(key, bytes, &entry.comment())).transpose()?;
        let signature = signature.as_deref();
        self.0.publish(&Offer { about, entry: &entry, bytes, signature })
    }

    /// What it says of a version.
    pub fn entry(&self, name: &Name, version: &Version) -> Result<Option<Entry>> {
        self.0.entry(name, version)
    }

    /// All versions of a pack, the newest first.
    pub fn versions(&self, name: &Name) -> Result<Vec<Entry>> {
        let numbers = self.0.numbers(name)?;
        let entries = numbers.iter().map(|version| self.0.entry(name, version));
        entries.filter_map(Result::transpose).collect()
    }

    /// The newest version that is wanted, but for those taken back.
    pub fn choose(&self, wanted: &Wanted) -> Result<Entry> {
        let name = &wanted.name;
        let numbers = self.0.numbers(name)?;
        let fits = |v: &&Version| wanted.version.as_ref().is_none_or(|wanted| wanted.matches(v));
        let mut yanked = None;
        for version in numbers.iter().filter(fits) {
            match self.0.entry(name, version)? {
                Some(entry) if !entry.yanked => return Ok(entry),
                Some(entry) => yanked = yanked.or(Some(entry.version)),
                None => {}
            }
        }
        if let Some(version) = yanked {
            return Err(Failure::new(format!(
                "{name} {version} has been taken back by its author; a lock that names it still installs it"
            )));
        }
        let place = self.shown();
        let has: Vec<String> = numbers.iter().map(Version::to_string).collect();
        Err(Failure::new(match has.as_slice() {
            [] => format!(
                "{place} has no pack {name}; `retort plugin search` lists what it has, and --registry names another"
            ),
            has => format!("{place} has no such version of {name}; it has: {}", has.join(", ")),
        }))
    }

    /// A version's bytes and signature.
    pub fn fetch(&self, entry: Entry, most: u64) -> Result<Fetched> {
        let bytes = self.0.bytes(&entry, most)?;
        let signature = self.0.signature(&entry)?;
        Ok(Fetched { entry, bytes, signature })
    }

    /// Takes a version back, or gives it again.
    pub fn yank(&self, name: &Name, version: &Version, yanked: bool) -> Result<()> {
        let entry = self
            .entry(name, version)?
            .ok_or_else(|| Failure::usage(format!("{} has no {name} {version}", self.shown())))?;
        self.0.yank(&entry, yanked)
    }

    /// The newest version of every pack in which all of these words are found. What can't be read is said, and hides
    /// nothing else.
    pub fn search(&self, words: &[String]) -> Result<(Vec<Entry>, Vec<String>)> {
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        for name in self.0.packs()? {
            let wanted = self.0.numbers(&name).and_then(|numbers| {
                for version in numbers {
                    match self.0.entry(&name, &version)? {
                        Some(entry) if !entry.yanked => return Ok(Some(entry)),
                        _ => {}
                    }
                }
                Ok(None)
            });
            match wanted {
                Ok(entry) => found.extend(entry),
                Err(e) => unread.push(e.message),
            }
        }
        let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        found.retain(|entry| entry.has_words(&words));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((found, unread))
    }
}

/// The newest first.
fn sorted(mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|a, b| b.cmp(a));
    versions.dedup();
    versions
}

/// A pack whose bytes aren't those that were published.
fn wrong_bytes(what: &str, found: &str, wanted: &str) -> Failure {
    Failure::new(format!(
        "{what} isn't the file that was published: its digest is {found}, not {wanted}; nothing of it is used. Get it \
         from another registry, and tell whoever keeps this one"
    ))
}
