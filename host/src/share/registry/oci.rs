//! A registry of the OCI (its distribution specification 1.1): each pack is a repository, each version a tag. The
//! signature of a version lies under the tag `sha256-….sig` of its manifest's digest, and whether it has been taken back
//! under `yanked-VERSION`; the version's own tag is never moved.

use super::entry::Entry;
use super::layout::{self, Artifact, MANIFEST, Manifest, Part};
use super::site::OTHERWISE;
use super::{MOST, Offer, Place, SIGNATURE_BYTES, sorted, wrong_bytes};
use crate::failure::{Failure, Result};
use crate::io::download::{Patience, Source};
use crate::io::http::{Client, Origin};
use crate::plugin::digest;
use crate::share::login;
use crate::share::name::Name;
use crate::share::store::Store;
use semver::Version;
use serde_json::Value;
use std::time::SystemTime;
use ureq::Body;
use ureq::http::{Response, StatusCode};

/// Most bytes of a manifest, and of a page of a list.
const MANIFEST_BYTES: u64 = 4 << 20;
/// Most pages of a list.
const PAGES: usize = 1000;
/// Most bytes of an error.
const ERROR_BYTES: u64 = 16 << 10;

/// A registry of the OCI.
#[derive(Debug)]
pub struct Oci {
    shown: String,
    /// `https://HOST`.
    base: String,
    /// What stands before a pack's name; it ends in / if there is any.
    prefix: String,
    client: Client,
}

impl Oci {
    /// The registry at `oci://HOST/PREFIX`; whether the user named it, or an index.
    pub fn at(address: &str, named_by_user: bool) -> Result<Self> {
        let wrong = |why: &str| Failure::usage(format!("{address} is no registry: {why}"));
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let scheme = if scheme == "oci+http" { "http" } else { "https" };
        let (host, prefix) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest, ""));
        let host = host.trim_end_matches('/');
        if host.contains('@') {
            return Err(wrong(
                "who you are has no place in it; `retort plugin login` asks for that",
            ));
        }
        let base = format!("{scheme}://{host}");
        let origin = Origin::of(&base).ok_or_else(|| wrong("it names no host"))?;
        let parts = prefix.split('/').filter(|_| !prefix.is_empty());
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if !parts
            .clone()
            .all(|p| p.bytes().all(fits) && p.starts_with(|c: char| c.is_alphanumeric()))
        {
            return Err(wrong(
                "its path has other characters than small letters, digits, -, _ and .",
            ));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let client = login::client(&base, &origin.authority(), named_by_user)?;
        Ok(Oci { shown: address.trim_end_matches('/').to_owned(), base, prefix, client })
    }

    /// Whether the registry takes the user for somebody.
    pub fn greet(&self) -> Result<()> {
        let url = format!("{}/v2/", self.base);
        let response = self.ask("GET", &url, &[], None)?;
        match response.status() {
            StatusCode::OK => Ok(()),
            _ => Err(self.refusal("log in to it", response)),
        }
    }

    fn ask(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Response<Body>> {
        self.client.send(method, url, headers, body).map_err(|e| e.at(&self.base))
    }

    fn url(&self, name: &Name, rest: &str) -> String {
        format!("{}/v2/{}{name}/{rest}", self.base, self.prefix)
    }

    /// What the registry says against it, in one sentence.
    fn refusal(&self, what: &str, response: Response<Body>) -> Failure {
        let status = response.status();
        let text = response.into_body().into_with_config().limit(ERROR_BYTES).read_to_string();
        let said: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        let said = said["errors"][0]["message"].as_str().map(|m| format!(" ({m})"));
        let said = said.unwrap_or_default();
        let why = match status {
            StatusCode::UNAUTHORIZED => format!(
                "it doesn't know who you are{said}: `retort plugin login {}`, or RETORT_REGISTRY_USER and \
                 RETORT_REGISTRY_PASSWORD",
                self.shown
            ),
            StatusCode::FORBIDDEN => format!("you may not{said}"),
            status => format!("it answers {status}{said}"),
        };
        Failure::new(format!("{} can't {what}: {why}", self.shown))
    }

    /// The manifest of a tag, with its own digest and size; none if there is no such tag.
    fn manifest(&self, name: &Name, tag: &str) -> Result<Option<(Manifest, Part)>> {
        let url = self.url(name, &format!("manifests/{tag}"));
        let response = self.ask("GET", &url, &[("Accept", MANIFEST)], None)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(self.refusal(&format!("show {name}:{tag}"), response)),
        }
        let body = response.into_body().into_with_config().limit(MANIFEST_BYTES).read_to_vec();
        let damaged = |why: String| Failure::new(format!("{}/{name}:{tag}: {why}", self.shown));
        let bytes = body.map_err(|e| damaged(e.to_string()))?;
        let manifest = Manifest::read(&bytes).map_err(damaged)?;
        Ok(Some((manifest, Part::of(MANIFEST, &bytes))))
    }

    /// The manifest of a version, if it has the bytes that the entry names.
    fn manifest_of(&self, entry: &Entry) -> Result<(Manifest, Part)> {
        let Entry { name, version, .. } = entry;
        let tag = layout::tag(version);
        let found = self.manifest(name, &tag)?;
        let (manifest, own) =
            found.ok_or_else(|| Failure::new(format!("{} has no {name} {version}", self.shown)))?;
        let layer = manifest.component();
        let layer =
            layer.map_err(|why| Failure::new(format!("{}/{name}:{tag}: {why}", self.shown)))?;
        if layer.digest != entry.digest {
            let what = format!("{}/{name}:{tag}, whose tag somebody has moved,", self.shown);
            return Err(wrong_bytes(&what, &layer.digest, &entry.digest));
        }
        Ok((manifest, own))
    }

    /// All pages of a list.
    fn list(&self, first: String, key: &str, what: &str) -> Result<Option<Vec<String>>> {
        let (mut all, mut next) = (Vec::new(), Some(first));
        for _ in 0..PAGES {
            let Some(url) = next else { return Ok(Some(all)) };
            let response = self.ask("GET", &url, &[], None)?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(None),
                _ => return Err(self.refusal(what, response)),
            }
            let link = response.headers().get("link").and_then(|link| link.to_str().ok());
            next = link.and_then(following).map(|link| resolve(&url, link)).transpose()?;
            let body = response.into_body().into_with_config().limit(MANIFEST_BYTES).read_to_vec();
            let damaged = |why: String| {
                Failure::new(format!(
                    "{} can't {what}: its answer makes no sense ({why})",
                    self.shown
                ))
            };
            let page = body.map_err(|e| damaged(e.to_string()))?;
            let page: Value = serde_json::from_slice(&page).map_err(|e| damaged(e.to_string()))?;
            let names = page[key].as_array().map(Vec::as_slice).unwrap_or_default();
            all.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
            if all.len() > MOST {
                break;
            }
        }
        Err(Failure::new(format!("{} can't {what}: the list has no end", self.shown)))
    }

    /// Puts a part there, unless it is there already.
    fn upload(&self, name: &Name, part: &Part, bytes: &[u8]) -> Result<()> {
        let what = format!("take {name}");
        let url = self.url(name, &format!("blobs/{}", part.digest));
        let there = self.ask("HEAD", &url, &[], None)?;
        if there.status() == StatusCode::OK {
            return Ok(());
        }
        let begun = self.ask("POST", &self.url(name, "blobs/uploads/"), &[], Some(&[]))?;
        if begun.status() != StatusCode::ACCEPTED {
            return Err(self.refusal(&what, begun));
        }
        let location = begun.headers().get("location").and_then(|l| l.to_str().ok());
        let location = location.ok_or_else(|| {
            Failure::new(format!("{} can't {what}: it doesn't say where to", self.shown))
        })?;
        let location = resolve(&url, location)?;
        let mark = if location.contains('?') { '&' } else { '?' };
        let location = format!("{location}{mark}digest={}", part.digest.replace(':', "%3A"));
        let headers = [("Content-Type", "application/octet-stream")];
        let done = self.ask("PUT", &location, &headers, Some(bytes))?;
        if done.status() == StatusCode::CREATED { Ok(()) } else { Err(self.refusal(&what, done)) }
    }

    /// Puts an artifact there: its parts first, and its manifest, which makes it visible, last.
    fn put(&self, name: &Name, tag: &str, artifact: &Artifact) -> Result<()> {
        for (part, bytes) in &artifact.parts {
            self.upload(name, part, bytes)?;
        }
        let bytes = artifact.manifest.bytes().map_err(Failure::new)?;
        let url = self.url(name, &format!("manifests/{tag}"));
        let done = self.ask("PUT", &url, &[("Content-Type", MANIFEST)], Some(&bytes))?;
        match done.status() {
            StatusCode::CREATED => Ok(()),
            _ => Err(self.refusal(&format!("take {name}:{tag}"), done)),
        }
    }

    /// A small part, read whole.
    fn small(&self, name: &Name, part: &Part) -> Result<Vec<u8>> {
        let url = self.url(name, &format!("blobs/{}", part.digest));
        let response = self.ask("GET", &url, &[], None)?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&format!("give {url}"), response));
        }
        let body = response.into_body().into_with_config().limit(SIGNATURE_BYTES).read_to_vec();
        let bytes = body.map_err(|e| Failure::new(format!("can't read {url}: {e}")))?;
        match digest(&bytes) {
            same if same == part.digest => Ok(bytes),
            other => Err(wrong_bytes(&url, &other, &part.digest)),
        }
    }
}

impl Place for Oci {
    fn shown(&self) -> String {
        self.shown.clone()
    }

    fn bytes_in(&self) -> Result<Option<String>> {
        Ok(Some(self.shown.clone()))
    }

    fn packs(&self) -> Result<Vec<Name>> {
        let what = "list its packs";
        let all = self.list(format!("{}/v2/_catalog?n=1000", self.base), "repositories", what);
        let none = || {
            Failure::new(format!(
                "{} doesn't list its packs: search an index of it (`retort index build`), or name the pack",
                self.shown
            ))
        };
        let all = all?.ok_or_else(none)?;
        let own = all.iter().filter_map(|name| name.strip_prefix(&self.prefix)?.parse().ok());
        let mut names: Vec<Name> = own.collect();
        names.sort();
        Ok(names)
    }

    fn numbers(&self, name: &Name) -> Result<Vec<Version>> {
        let what = format!("list the versions of {name}");
        let tags = self.list(self.url(name, "tags/list?n=1000"), "tags", &what)?;
        Ok(sorted(tags.unwrap_or_default().iter().filter_map(|tag| layout::version(tag)).collect()))
    }

    fn entry(&self, name: &Name, version: &Version) -> Result<Option<Entry>> {
        let tag = layout::tag(version);
        let Some((manifest, _)) = self.manifest(name, &tag)? else { return Ok(None) };
        let entry = manifest
            .entry(name, version)
            .map_err(|why| Failure::new(format!("{}/{name}:{tag}: {why}", self.shown)))?;
        let note = self.manifest(name, &layout::yanked_tag(version))?;
        Ok(Some(Entry { yanked: note.is_some_and(|(note, _)| note.is_yanked()), ..entry }))
    }

    fn bytes(&self, entry: &Entry, most: u64) -> Result<Vec<u8>> {
        let (manifest, _) = self.manifest_of(entry)?;
        let layer = manifest.component().map_err(Failure::new)?;
        let Entry { name, version, .. } = entry;
        if layer.size > most {
            return Err(Failure::new(format!(
                "{name} {version} has {} bytes, and a pack may have {most}: it wasn't downloaded",
                layer.size
            )));
        }
        let url = self.url(name, &format!("blobs/{}", layer.digest));
        let source = Source { url: &url, client: &self.client, otherwise: OTHERWISE };
        let size = Some(layer.size);
        Store::open()?.fetch(&layer.digest, &source, size, most, Patience::default())
    }

    fn signature(&self, entry: &Entry) -> Result<Option<String>> {
        let (_, own) = self.manifest_of(entry)?;
        let name = &entry.name;
        let Some((manifest, _)) = self.manifest(name, &layout::signature_tag(&own))? else {
            return Ok(None);
        };
        let Some(layer) = manifest.signature() else { return Ok(None) };
        let text = String::from_utf8(self.small(name, layer)?);
        text.map(Some)
            .map_err(|_| Failure::new(format!("{}/{name}: its signature isn't text", self.shown)))
    }

    fn publish(&self, offer: &Offer) -> Result<Entry> {
        let Entry { name, version, .. } = offer.entry;
        for part in [&name.author, &name.pack] {
            if !layout::is_part(part) {
                return Err(Failure::usage(format!(
                    "{part:?} can't be a name in a registry of the OCI: there, - and _ stand alone between letters and \
                     digits"
                )));
            }
        }
        let tag = layout::tag(version);
        if tag.len() > 128 {
            return Err(Failure::usage(format!(
                "version {version} is longer than a tag may be, 128 characters"
            )));
        }
        let described = |why: String| Failure::new(format!("{name} {version}: {why}"));
        let artifact = layout::pack(offer, SystemTime::now()).map_err(described)?;
        let own = Part::of(MANIFEST, &artifact.manifest.bytes().map_err(described)?);
        if let Some(text) = offer.signature {
            self.put(name, &layout::signature_tag(&own), &layout::signature(&own, text))?;
        }
        self.put(name, &tag, &artifact)?;
        // Two may have published at once: what counts is what lies there now.
        match self.entry(name, version)? {
            Some(entry) => entry.same_as(offer.entry),
            None => Err(Failure::new(format!(
                "{} took {name} {version}, but doesn't show it",
                self.shown
            ))),
        }
    }

    fn yank(&self, entry: &Entry, yanked: bool) -> Result<()> {
        let (_, own) = self.manifest_of(entry)?;
        self.put(&entry.name, &layout::yanked_tag(&entry.version), &layout::yanked(&own, yanked))
    }
}

/// The address of the next page, of a header `Link`.
fn following(link: &str) -> Option<&str> {
    let (address, relation) = link.strip_prefix('<')?.split_once('>')?;
    relation.contains("next").then_some(address)
}

/// An address as it is meant at another: whole, or a path of the same host.
fn resolve(at: &str, address: &str) -> Result<String> {
    if address.contains("://") {
        return Ok(address.to_owned());
    }
    let (scheme, rest) = at.split_once("://").unwrap_or(("https", at));
    let host = rest.split('/').next().unwrap_or_default();
    match address.strip_prefix('/') {
        Some(path) => Ok(format!("{scheme}://{host}/{path}")),
        None => {
            Err(Failure::new(format!("{scheme}://{host} names {address:?}, which is no address")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{following, resolve};

    #[test]
    fn the_next_page_is_where_the_registry_says() {
        let link = "</v2/a/b/tags/list?last=1.0.0&n=2>; rel=\"next\"";
        let next = following(link).unwrap();
        let whole = resolve("https://host:5000/v2/a/b/tags/list?n=2", next).unwrap();
        assert_eq!(whole, "https://host:5000/v2/a/b/tags/list?last=1.0.0&n=2");
        assert_eq!(following("</x>; rel=\"prev\""), None);
        assert_eq!(following("nonsense"), None);
        let other = resolve("https://host/x", "https://uploads.example/1?s=2").unwrap();
        assert_eq!(other, "https://uploads.example/1?s=2");
        assert!(resolve("https://host/x", "elsewhere").is_err());
    }
}
