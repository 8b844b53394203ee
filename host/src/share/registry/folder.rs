//! A registry in a folder: `ROOT/AUTHOR/PACK/VERSION.wasm`, its signature beside it (`.wasm.minisig`), and what a
//! search looks at (`.toml`). The folder can be any: on a shared disk, or a public repository whose door are pull
//! requests. One that is an index of another registry has no bytes: `index.toml` says where they lie.

use super::entry::Entry;
use super::site::{INDEX, INDEX_BYTES, Index};
use super::{ENTRY_BYTES, MOST, Offer, Place, Registry, SIGNATURE_BYTES, sorted, wrong_bytes};
use crate::failure::{Failure, Result};
use crate::plugin::digest;
use crate::run::lock::Lock;
use crate::share::home;
use crate::share::name::Name;
use retort_core::fs::{atomic_write, read_regular, read_text};
use semver::Version;
use std::path::{Path, PathBuf};

/// A registry in a folder.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
    /// Whether somebody named it: their own is empty before anything is published there.
    named: bool,
}

impl Folder {
    /// That folder, which needn't be there yet.
    pub fn at(root: PathBuf) -> Self {
        Folder { root, named: true }
    }

    /// The user's own.
    pub fn own() -> Result<Self> {
        Ok(Folder { root: home::folder()?.join("registry"), named: false })
    }

    fn folder(&self, name: &Name) -> PathBuf {
        self.root.join(&name.author).join(&name.pack)
    }

    /// A version's file with this end.
    pub fn file(&self, name: &Name, version: &Version, end: &str) -> PathBuf {
        self.folder(name).join(format!("{version}{end}"))
    }

    /// Writes what is said of a version.
    pub fn note(&self, entry: &Entry) -> Result<()> {
        home::write(&self.file(&entry.name, &entry.version, ".toml"), entry)
    }

    /// Writes a pack and its signature.
    pub fn put(&self, entry: &Entry, bytes: &[u8], signature: Option<&str>) -> Result<()> {
        let file = self.file(&entry.name, &entry.version, ".wasm");
        home::make(&file)?;
        atomic_write(&file, bytes).map_err(Failure::new)?;
        let Some(signature) = signature else { return Ok(()) };
        let file = self.file(&entry.name, &entry.version, ".wasm.minisig");
        atomic_write(&file, signature.as_bytes()).map_err(Failure::new)
    }

    /// Takes the right to write about a pack.
    fn lock(&self, name: &Name) -> Result<Lock> {
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::file("make the folder", &folder, e))?;
        Lock::take_for(&folder, "published to")
    }

    /// Where the bytes lie, if this is an index.
    fn elsewhere(&self) -> Result<Option<Registry>> {
        self.bytes_in()?.map(|text| Registry::of_index(&text)).transpose()
    }

    /// Refuses to write into an index: it is made of its registry.
    fn refuse_index(&self) -> Result<()> {
        match self.bytes_in()? {
            None => Ok(()),
            Some(registry) => Err(Failure::usage(format!(
                "{} is an index of {registry}: name that one with --registry, then build the index again",
                self.shown()
            ))),
        }
    }
}

impl Place for Folder {
    fn shown(&self) -> String {
        self.root.display().to_string()
    }

    fn root(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn bytes_in(&self) -> Result<Option<String>> {
        let path = self.root.join(INDEX);
        match read_regular(&path, INDEX_BYTES) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            bytes => {
                let bytes = bytes.map_err(|e| Failure::file("read", &path, e))?;
                let index =
                    Index::read(&bytes).map_err(|e| Failure::file("understand", &path, e))?;
                Ok(index.registry)
            }
        }
    }

    fn packs(&self) -> Result<Vec<Name>> {
        if self.named && !self.root.is_dir() {
            let why = "there is no such folder; `retort plugin publish` makes one, and without --registry it is your own";
            return Err(Failure::usage(format!("can't look for packs in {}: {why}", self.shown())));
        }
        let packs = names(&self.root).take(MOST).flat_map(|author| {
            names(&self.root.join(&author))
                .take(MOST)
                .filter_map(move |pack| Name::new(&author, &pack).ok())
        });
        Ok(packs.collect())
    }

    fn numbers(&self, name: &Name) -> Result<Vec<Version>> {
        let files = names(&self.folder(name));
        Ok(sorted(files.filter_map(|file| file.strip_suffix(".toml")?.parse().ok()).collect()))
    }

    fn entry(&self, name: &Name, version: &Version) -> Result<Option<Entry>> {
        let path = self.file(name, version, ".toml");
        let text = match read_text(&path, ENTRY_BYTES) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| Failure::file("read", &path, e))?,
        };
        let entry: Entry = toml::from_str(&text)
            .map_err(|e| Failure::file("understand", &path, e.message().replace('\n', " ")))?;
        entry.is_of(name, version).map(Some).map_err(|why| Failure::file("believe", &path, why))
    }

    fn bytes(&self, entry: &Entry, most: u64) -> Result<Vec<u8>> {
        let path = self.file(&entry.name, &entry.version, ".wasm");
        let bytes = match read_regular(&path, most) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => match self.elsewhere()? {
                Some(registry) => return registry.0.bytes(entry, most),
                None => Err(e),
            },
            bytes => bytes,
        };
        let bytes = bytes.map_err(|e| Failure::file("read", &path, e))?;
        match digest(&bytes) {
            same if same == entry.digest => Ok(bytes),
            other => Err(wrong_bytes(&path.display().to_string(), &other, &entry.digest)),
        }
    }

    fn signature(&self, entry: &Entry) -> Result<Option<String>> {
        let path = self.file(&entry.name, &entry.version, ".wasm.minisig");
        match read_text(&path, SIGNATURE_BYTES) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => match self.elsewhere()? {
                Some(registry) => registry.0.signature(entry),
                None => Ok(None),
            },
            text => text.map(Some).map_err(|e| Failure::file("read", &path, e)),
        }
    }

    /// The entry comes last, and makes it visible.
    fn publish(&self, offer: &Offer) -> Result<Entry> {
        self.refuse_index()?;
        let entry = offer.entry;
        let _lock = self.lock(&entry.name)?;
        if let Some(was) = self.entry(&entry.name, &entry.version)? {
            return was.same_as(entry);
        }
        self.put(entry, offer.bytes, offer.signature)?;
        self.note(entry)?;
        Ok(entry.clone())
    }

    fn yank(&self, entry: &Entry, yanked: bool) -> Result<()> {
        self.refuse_index()?;
        let _lock = self.lock(&entry.name)?;
        let now = self.entry(&entry.name, &entry.version)?;
        self.note(&Entry { yanked, ..now.unwrap_or_else(|| entry.clone()) })
    }
}

/// Names in a folder, sorted; none if there is none.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter()
}
