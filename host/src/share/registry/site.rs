//! An index: what is said of every version in one file, `index.toml`, on a static web site or in a folder. The packs
//! lie beside it as in a folder's registry, or in a registry of the OCI that it names.

use super::entry::Entry;
use super::{Offer, Place, Registry, SIGNATURE_BYTES, sorted};
use crate::failure::{Failure, Result};
use crate::io::download::{Patience, Source};
use crate::io::http::{Client, Origin};
use crate::share::login;
use crate::share::name::Name;
use crate::share::store::Store;
use semver::Version;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use ureq::http::StatusCode;

/// What the file of an index is called.
pub const INDEX: &str = "index.toml";
/// Most bytes of it.
pub const INDEX_BYTES: u64 = 64 << 20;
/// The form of it that this program writes and reads.
pub const FORMAT: u32 = 1;

/// An index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// Its form.
    pub format: u32,
    /// The registry in which the packs lie; none where they lie beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// Every version.
    #[serde(default)]
    pub pack: Vec<Entry>,
}

impl Index {
    /// Reads one.
    pub fn read(bytes: &[u8]) -> std::result::Result<Self, String> {
        let index: Self = toml::from_slice(bytes).map_err(|e| e.message().replace('\n', " "))?;
        if index.format != FORMAT {
            return Err(format!(
                "it is an index of form {}, and this retort reads form {FORMAT}: a newer retort may read it",
                index.format
            ));
        }
        Ok(index)
    }
}

/// An index on a web site.
#[derive(Debug)]
pub struct Site {
    root: String,
    client: Client,
    index: OnceCell<Index>,
}

impl Site {
    /// The index at this address.
    pub fn at(address: &str) -> Result<Self> {
        let root = address.trim_end_matches('/');
        let root = root.strip_suffix("/index.toml").unwrap_or(root).to_owned();
        let host = Origin::of(&root)
            .ok_or_else(|| Failure::usage(format!("{address} is no address of an index")))?
            .authority();
        Ok(Site { client: login::client(&root, &host, true)?, root, index: OnceCell::new() })
    }

    fn index(&self) -> Result<&Index> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let url = format!("{}/{INDEX}", self.root);
        let bytes = self
            .get(&url, INDEX_BYTES)?
            .ok_or_else(|| Failure::new(format!("{} is no index: it has no {INDEX}", self.root)))?;
        let index = Index::read(&bytes)
            .map_err(|why| Failure::new(format!("can't understand {url}: {why}")))?;
        Ok(self.index.get_or_init(|| index))
    }

    /// What lies at an address; none if nothing does.
    fn get(&self, url: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let response = self.client.send("GET", url, &[], None).map_err(|e| e.at(url))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => {
                return Err(Failure::new(format!("can't read {url}: the server answers {status}")));
            }
        }
        let body = response.into_body().into_with_config().limit(most).read_to_vec();
        body.map(Some).map_err(|e| Failure::new(format!("can't read {url}: {e}")))
    }

    fn url(&self, entry: &Entry, end: &str) -> String {
        let Entry { name, version, .. } = entry;
        // What may stand in a version needs no escape in an address, but for +.
        let version = version.to_string().replace('+', "%2B");
        format!("{}/{}/{}/{version}{end}", self.root, name.author, name.pack)
    }

    fn elsewhere(&self) -> Result<Option<Registry>> {
        let text = self.index()?.registry.as_deref();
        let opened = text.map(Registry::of_index).transpose();
        opened.map_err(|e| Failure::new(format!("{}: {}", self.root, e.message)))
    }

    fn read_only(&self) -> Failure {
        Failure::usage(format!(
            "{} is an index, which is only read: name the registry that it is made of with --registry, then build the \
             index again",
            self.root
        ))
    }
}

impl Place for Site {
    fn shown(&self) -> String {
        self.root.clone()
    }

    fn bytes_in(&self) -> Result<Option<String>> {
        Ok(self.index()?.registry.clone())
    }

    fn packs(&self) -> Result<Vec<Name>> {
        let mut names: Vec<Name> = self.index()?.pack.iter().map(|e| e.name.clone()).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn numbers(&self, name: &Name) -> Result<Vec<Version>> {
        let of = self.index()?.pack.iter().filter(|entry| entry.name == *name);
        Ok(sorted(of.map(|entry| entry.version.clone()).collect()))
    }

    fn entry(&self, name: &Name, version: &Version) -> Result<Option<Entry>> {
        let mut all = self.index()?.pack.iter();
        Ok(all.find(|entry| (&entry.name, &entry.version) == (name, version)).cloned())
    }

    fn bytes(&self, entry: &Entry, most: u64) -> Result<Vec<u8>> {
        if let Some(registry) = self.elsewhere()? {
            return registry.0.bytes(entry, most);
        }
        let url = self.url(entry, ".wasm");
        let source = Source { url: &url, client: &self.client, otherwise: OTHERWISE };
        Store::open()?.fetch(&entry.digest, &source, None, most, Patience::default())
    }

    fn signature(&self, entry: &Entry) -> Result<Option<String>> {
        if let Some(registry) = self.elsewhere()? {
            return registry.0.signature(entry);
        }
        let url = self.url(entry, ".wasm.minisig");
        let Some(bytes) = self.get(&url, SIGNATURE_BYTES)? else { return Ok(None) };
        let text = String::from_utf8(bytes);
        text.map(Some).map_err(|_| Failure::new(format!("{url} is no signature: it isn't text")))
    }

    fn publish(&self, _: &Offer) -> Result<Entry> {
        Err(self.read_only())
    }

    fn yank(&self, _: &Entry, _: bool) -> Result<()> {
        Err(self.read_only())
    }
}

/// What else can be done where a pack can't be downloaded.
pub const OTHERWISE: &str = "--registry names another place that has it";

#[cfg(test)]
mod tests {
    use super::Index;

    #[test]
    fn an_index_of_another_form_is_refused_by_its_number() {
        assert_eq!(Index::read(b"format = 1\n").unwrap().pack.len(), 0);
        let why = Index::read(b"format = 2\n").unwrap_err();
        assert!(why.contains("form 2") && why.contains("form 1"), "{why}");
        assert!(Index::read(b"").unwrap_err().contains("format"));
    }
}
