//! A registry in a folder: `ROOT/AUTHOR/PACK/VERSION.wasm`, its signature beside it (`.wasm.minisig`), and what a
//! search looks at (`.toml`). The folder can be any: on a shared disk, or a public repository whose door are pull
//! requests.

use super::about::About;
use super::name::{Name, Wanted};
use super::{home, key};
use crate::failure::{Failure, Result};
use crate::plugin::{digest, variable};
use crate::run::lock::Lock;
use retort_core::fs::{atomic_write, read_regular, read_text};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a registry says of a version. All of it is foreign until the pack's bytes have been looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The pack.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// SHA-256 of the file.
    pub digest: String,
    /// The plugin interface that it was built for.
    pub interface: u32,
    /// The public key that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether its author has taken it back: then only a lock installs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub yanked: bool,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// Its losses.
    #[serde(default, rename = "loss")]
    pub losses: Vec<Listed>,
}

/// A loss of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it does, in one sentence.
    pub doc: String,
    /// Its paper.
    pub paper: String,
}

/// Most bytes of an entry, and of a pack.
const ENTRY_BYTES: u64 = 1 << 20;
/// Most versions, packs and authors that a search looks at.
const MOST: usize = 100_000;

/// A registry.
#[derive(Clone, Debug)]
pub struct Registry {
    root: PathBuf,
}

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
    /// The registry in a folder: the one named, else `RETORT_REGISTRY`, else the user's own.
    pub fn open(root: Option<&Path>) -> Result<Self> {
        let set = || variable("RETORT_REGISTRY");
        let root = match root.map(Path::to_owned).or_else(set) {
            Some(root) => root,
            None => home::folder()?.join("registry"),
        };
        Ok(Registry { root })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn folder(&self, name: &Name) -> PathBuf {
        self.root.join(&name.author).join(&name.pack)
    }

    fn file(&self, name: &Name, version: &Version, end: &str) -> PathBuf {
        self.folder(name).join(format!("{version}{end}"))
    }

    /// Puts a pack there. A version is published once: the same bytes again change nothing, others are refused.
    /// The entry comes last, and makes it visible.
    pub fn publish(&self, about: &About, bytes: &[u8], signer: Option<&key::Key>) -> Result<Entry> {
        let (name, version) = (&about.name, &about.version);
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder)
            .map_err(|e| Failure::file("make the folder", &folder, e))?;
        let _lock = Lock::take_for(&folder, "published to")?;
        let entry = Entry {
            name: name.clone(),
            version: version.clone(),
            digest: digest(bytes),
            interface: about.losses.interface,
            key: signer.map(|key| key.public.clone()),
            yanked: false,
            description: about.texts.get("description").cloned().unwrap_or_default(),
            losses: about.losses.losses.iter().map(listed).collect(),
        };
        if let Some(was) = self.entry(name, version)? {
            if was.digest != entry.digest {
                return Err(Failure::usage(format!(
                    "{name} {version} is published already, with other bytes ({}): a version never changes; give \
                     this one another in its Cargo.toml",
                    was.digest
                )));
            }
            return Ok(was);
        }
        let file = self.file(name, version, ".wasm");
        atomic_write(&file, bytes).map_err(Failure::new)?;
        if let Some(signer) = signer {
            let signature = key::sign(signer, bytes, &comment(&entry))?;
            let file = self.file(name, version, ".wasm.minisig");
            atomic_write(&file, signature.as_bytes()).map_err(Failure::new)?;
        }
        self.note(&entry)?;
        Ok(entry)
    }

    fn note(&self, entry: &Entry) -> Result<()> {
        home::write(&self.file(&entry.name, &entry.version, ".toml"), entry)
    }

    /// What it says of a version.
    pub fn entry(&self, name: &Name, version: &Version) -> Result<Option<Entry>> {
        let path = self.file(name, version, ".toml");
        let text = match read_text(&path, ENTRY_BYTES) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| Failure::file("read", &path, e))?,
        };
        let entry: Entry = toml::from_str(&text)
            .map_err(|e| Failure::file("understand", &path, e.message().replace('\n', " ")))?;
        if (&entry.name, &entry.version) != (name, version) {
            return Err(Failure::file(
                "believe",
                &path,
                format!("it says that it is {} {}", entry.name, entry.version),
            ));
        }
        Ok(Some(entry))
    }

    /// All versions of a pack, the newest first.
    pub fn versions(&self, name: &Name) -> Result<Vec<Entry>> {
        let folder = self.folder(name);
        let mut versions: Vec<Version> =
            names(&folder).filter_map(|file| file.strip_suffix(".toml")?.parse().ok()).collect();
        versions.sort_by(|a, b| b.cmp(a));
        let entries = versions.iter().map(|version| self.entry(name, version));
        entries.filter_map(Result::transpose).collect()
    }

    /// The newest version that is wanted, but for those taken back.
    pub fn choose(&self, wanted: &Wanted) -> Result<Entry> {
        let name = &wanted.name;
        let versions = self.versions(name)?;
        let fits =
            |entry: &&Entry| wanted.version.as_ref().is_none_or(|v| v.matches(&entry.version));
        if let Some(entry) = versions.iter().filter(fits).find(|entry| !entry.yanked) {
            return Ok(entry.clone());
        }
        let root = self.root.display();
        if let Some(yanked) = versions.iter().find(fits) {
            return Err(Failure::new(format!(
                "{name} {} has been taken back by its author; a lock that names it still installs it",
                yanked.version
            )));
        }
        let has: Vec<String> = versions.iter().map(|entry| entry.version.to_string()).collect();
        Err(Failure::new(match has.as_slice() {
            [] => format!(
                "{root} has no pack {name}; `retort plugin search` lists what it has, and --registry names another"
            ),
            has => format!("{root} has no such version of {name}; it has: {}", has.join(", ")),
        }))
    }

    /// A version's bytes, if they are what the registry says they are.
    pub fn fetch(&self, entry: Entry, most: u64) -> Result<Fetched> {
        let path = self.file(&entry.name, &entry.version, ".wasm");
        let bytes = read_regular(&path, most).map_err(|e| Failure::file("read", &path, e))?;
        let found = digest(&bytes);
        if found != entry.digest {
            return Err(Failure::new(format!(
                "{} isn't the file that was published: its digest is {found}, not {}; nothing of it is used. Get it \
                 from another registry, and tell whoever keeps this one",
                path.display(),
                entry.digest
            )));
        }
        let path = self.file(&entry.name, &entry.version, ".wasm.minisig");
        let signature = match read_text(&path, 4096) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            text => Some(text.map_err(|e| Failure::file("read", &path, e))?),
        };
        Ok(Fetched { entry, bytes, signature })
    }

    /// Takes a version back, or gives it again.
    pub fn yank(&self, name: &Name, version: &Version, yanked: bool) -> Result<()> {
        let missing = || Failure::usage(format!("{} has no {name} {version}", self.root.display()));
        self.entry(name, version)?.ok_or_else(missing)?;
        let _lock = Lock::take_for(&self.folder(name), "published to")?;
        let entry = self.entry(name, version)?.ok_or_else(missing)?;
        self.note(&Entry { yanked, ..entry })
    }

    /// The newest version of every pack in which all of these words are found: in its name, its description, and
    /// its losses' names, docs and papers. What can't be read is said, and hides nothing else.
    pub fn search(&self, words: &[String]) -> (Vec<Entry>, Vec<String>) {
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        let authors = names(&self.root).take(MOST);
        let packs = authors.flat_map(|author| {
            names(&self.root.join(&author))
                .take(MOST)
                .filter_map(move |pack| Name::new(&author, &pack).ok())
        });
        for name in packs {
            match self.versions(&name) {
                Ok(versions) => found.extend(versions.into_iter().find(|entry| !entry.yanked)),
                Err(e) => unread.push(e.message),
            }
        }
        let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        found.retain(|entry| {
            let losses = entry.losses.iter();
            let losses = losses.map(|l| format!("{} {} {}", l.name, l.doc, l.paper));
            let all =
                format!("{} {} {}", entry.name, entry.description, losses.collect::<String>());
            let all = all.to_lowercase();
            words.iter().all(|word| all.contains(word))
        });
        found.sort_by(|a, b| a.name.cmp(&b.name));
        (found, unread)
    }
}

/// What is signed beside the bytes: so that a pack can't pass for another, nor an old version for a new one.
pub fn comment(entry: &Entry) -> String {
    format!("retort pack {} {} {}", entry.name, entry.version, entry.digest)
}

/// Names in a folder, sorted; none if there is none.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names.into_iter()
}

fn listed(loss: &retort_sdk::schema::Definition) -> Listed {
    let first = loss.doc.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    Listed { name: loss.name.clone(), doc: first, paper: loss.paper.clone() }
}
