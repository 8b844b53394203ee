//! How a pack lies in a registry of the OCI, as the WebAssembly community does it (CNCF TAG Runtime, "Wasm OCI
//! Artifact layout"), so that other tools can pull it: a manifest with one layer, which is the component.

use super::Offer;
use super::entry::{Entry, Listed};
use crate::plugin::digest;
use crate::share::about::About;
use crate::share::name::Name;
use crate::share::store::hexadecimal;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::SystemTime;
use wasmparser::{Encoding, Parser, Payload};

/// Media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The content of a config that says nothing.
pub const NOTHING: &[u8] = b"{}";

const SIGNATURE: &str = "application/vnd.retort.signature.v1";
const MINISIGN: &str = "application/vnd.retort.signature.v1.minisig";
const YANKED: &str = "application/vnd.retort.yanked.v1";

/// What is said of a version beside the usual annotations.
const INTERFACE: &str = "retort.interface";
const KEY: &str = "retort.key";
const LOSSES: &str = "retort.losses";
const IS_YANKED: &str = "retort.yanked";

/// A manifest: what one tag names.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Part,
    layers: Vec<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Part>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A part of one, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    media_type: String,
    /// Of its bytes.
    pub digest: String,
    /// In bytes.
    pub size: u64,
}

impl Part {
    /// That of these bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Part { media_type: media_type.to_owned(), digest: digest(bytes), size: bytes.len() as u64 }
    }
}

impl Manifest {
    fn new(config: Part, layers: Vec<Part>) -> Self {
        Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads one.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        let known = manifest.media_type.is_empty() || manifest.media_type == MANIFEST;
        if manifest.schema_version != 2 || !known {
            return Err(format!(
                "it is no manifest of one artifact, but {:?}",
                manifest.media_type
            ));
        }
        Ok(manifest)
    }

    /// Its bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|e| e.to_string())
    }

    /// The one layer of a pack.
    pub fn component(&self) -> Result<&Part, String> {
        match self.layers.as_slice() {
            [layer] if layer.media_type == LAYER && self.config.media_type == CONFIG => {
                match hexadecimal(&layer.digest) {
                    Some(_) => Ok(layer),
                    None => Err(format!(
                        "its layer has the digest {:?}, which isn't SHA-256",
                        layer.digest
                    )),
                }
            }
            layers => Err(format!(
                "it is no WebAssembly: its config is {:?}, and it has {} layers",
                self.config.media_type,
                layers.len()
            )),
        }
    }

    /// What is said of a version.
    pub fn entry(&self, name: &Name, version: &Version) -> Result<Entry, String> {
        let text = |key: &str| self.annotations.get(key).map(String::as_str);
        let number = |text: &str| text.parse::<u32>().map_err(|e| format!("its {INTERFACE}: {e}"));
        let losses = text(LOSSES).map(serde_json::from_str::<Vec<Listed>>).transpose();
        let said = |key: &str| text(&format!("org.opencontainers.image.{key}"));
        if let Some(other) = said("version").filter(|v| *v != version.to_string()) {
            return Err(format!("it says that it is version {other}"));
        }
        Ok(Entry {
            name: name.clone(),
            version: version.clone(),
            digest: self.component()?.digest.clone(),
            interface: text(INTERFACE).map_or(Ok(0), number)?,
            key: text(KEY).map(str::to_owned),
            yanked: false,
            description: said("description").unwrap_or_default().to_owned(),
            losses: losses.map_err(|e| format!("its {LOSSES}: {e}"))?.unwrap_or_default(),
        })
    }

    /// The signature's layer, of a manifest that is one.
    pub fn signature(&self) -> Option<&Part> {
        self.layers.iter().find(|layer| layer.media_type == MINISIGN)
    }

    /// Whether it says that a version has been taken back.
    pub fn is_yanked(&self) -> bool {
        self.annotations.get(IS_YANKED).is_some_and(|said| said == "true")
    }
}

/// A manifest, and the parts that lie in the registry before it.
pub struct Artifact<'a> {
    /// The manifest.
    pub manifest: Manifest,
    /// Its parts.
    pub parts: Vec<(Part, std::borrow::Cow<'a, [u8]>)>,
}

/// That of a pack.
pub fn pack<'a>(offer: &Offer<'a>, now: SystemTime) -> Result<Artifact<'a>, String> {
    let Offer { about, entry, bytes, .. } = offer;
    let created = humantime::format_rfc3339_seconds(now).to_string();
    let (imports, exports) = ends(bytes)?;
    let config = json!({
        "created": created,
        "author": about.texts.get("authors"),
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [entry.digest],
        "component": {"exports": exports, "imports": imports, "target": Value::Null},
    });
    let config = config.to_string().into_bytes();
    let (head, layer) = (Part::of(CONFIG, &config), Part::of(LAYER, bytes));
    let mut manifest = Manifest::new(head.clone(), vec![layer.clone()]);
    manifest.annotations = annotations(about, entry, &created)?;
    Ok(Artifact { manifest, parts: vec![(layer, (*bytes).into()), (head, config.into())] })
}

fn annotations(
    about: &About,
    entry: &Entry,
    created: &str,
) -> Result<BTreeMap<String, String>, String> {
    let usual = [
        ("description", "description"),
        ("authors", "authors"),
        ("licenses", "licenses"),
        ("source", "source"),
        ("homepage", "url"),
        ("revision", "revision"),
    ];
    let usual = usual.iter().filter_map(|(text, key)| Some((*key, about.texts.get(text)?.clone())));
    let own = [
        ("title", entry.name.to_string()),
        ("version", entry.version.to_string()),
        ("created", created.to_owned()),
    ];
    let mut all: BTreeMap<String, String> = usual
        .chain(own)
        .map(|(key, text)| (format!("org.opencontainers.image.{key}"), text))
        .collect();
    all.insert(INTERFACE.to_owned(), entry.interface.to_string());
    all.insert(LOSSES.to_owned(), serde_json::to_string(&entry.losses).map_err(|e| e.to_string())?);
    all.extend(entry.key.clone().map(|key| (KEY.to_owned(), key)));
    Ok(all)
}

/// That of a signature of what a manifest names.
pub fn signature<'a>(subject: &Part, text: &'a str) -> Artifact<'a> {
    let (head, layer) = (Part::of(EMPTY, NOTHING), Part::of(MINISIGN, text.as_bytes()));
    let mut manifest = Manifest::new(head.clone(), vec![layer.clone()]);
    manifest.artifact_type = Some(SIGNATURE.to_owned());
    manifest.subject = Some(subject.clone());
    Artifact { manifest, parts: vec![(layer, text.as_bytes().into()), (head, NOTHING.into())] }
}

/// That of a note that a version has been taken back, or given again.
pub fn yanked(subject: &Part, yanked: bool) -> Artifact<'static> {
    let head = Part::of(EMPTY, NOTHING);
    let mut manifest = Manifest::new(head.clone(), vec![head.clone()]);
    manifest.artifact_type = Some(YANKED.to_owned());
    manifest.subject = Some(subject.clone());
    manifest.annotations.insert(IS_YANKED.to_owned(), yanked.to_string());
    Artifact { manifest, parts: vec![(head, NOTHING.into())] }
}

/// The tag of a version. A tag can't have +.
pub fn tag(version: &Version) -> String {
    version.to_string().replace('+', "_")
}

/// The version of a tag; none of other tags.
pub fn version(tag: &str) -> Option<Version> {
    tag.replace('_', "+").parse().ok()
}

/// The tag under which the signature of what a manifest names lies.
pub fn signature_tag(manifest: &Part) -> String {
    format!("{}.sig", manifest.digest.replace(':', "-"))
}

/// The tag that says whether a version has been taken back.
pub fn yanked_tag(version: &Version) -> String {
    format!("yanked-{}", tag(version))
}

/// Whether a part of a pack's name can be one of a registry's, where - and _ stand between letters.
pub fn is_part(text: &str) -> bool {
    let mut pieces = text.split(['-', '_']).peekable();
    let joined = pieces.clone().count();
    let empty = pieces.any(str::is_empty);
    // `--` and `__` are allowed there, but nothing is lost without.
    joined > 0 && !empty
}

/// The names of what a component imports and exports, without running it.
fn ends(component: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let (mut imports, mut exports, mut depth) = (Vec::new(), Vec::new(), 0usize);
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|e| format!("it is damaged: {e}"))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err("it is a core module, not a component".to_owned());
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(all) if depth == 1 => {
                imports.extend(all.into_iter().flatten().map(|i| i.name.name.to_owned()));
            }
            Payload::ComponentExportSection(all) if depth == 1 => {
                exports.extend(all.into_iter().flatten().map(|e| e.name.name.to_owned()));
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

#[cfg(test)]
mod tests {
    use super::{Manifest, is_part, tag, version};

    #[test]
    fn versions_are_tags_and_other_tags_are_none() {
        for text in ["1.2.3", "0.1.0-rc.1", "1.0.0+build.5", "1.0.0-rc.1+x"] {
            let parsed = text.parse().unwrap();
            assert_eq!(version(&tag(&parsed)), Some(parsed));
            assert!(!tag(&text.parse().unwrap()).contains('+'));
        }
        for text in ["latest", "yanked-1.2.3", "sha256-0123.sig", "1.2", ""] {
            assert_eq!(version(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_packs_that_no_registry_takes() {
        for (text, is) in [("ada", true), ("a-b_c", true), ("ada-", false), ("a_-b", false)] {
            assert_eq!(is_part(text), is, "{text}");
        }
    }

    #[test]
    fn what_is_no_pack_is_refused() {
        let hex = "0".repeat(64);
        let with = |config: &str, layers: &str| {
            let text = format!(
                r#"{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"sha256:{hex}","size":2}},"layers":[{layers}]}}"#
            );
            Manifest::read(text.as_bytes()).unwrap().component().map(|part| part.size)
        };
        let layer = |kind: &str, digest: &str| {
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":7}}"#)
        };
        let (wasm, good) = ("application/vnd.wasm.config.v0+json", format!("sha256:{hex}"));
        let one = layer("application/wasm", &good);
        assert_eq!(with(wasm, &one), Ok(7));
        assert!(with(wasm, &format!("{one},{one}")).unwrap_err().contains("2 layers"));
        assert!(with("application/vnd.oci.image.config.v1+json", &one).is_err());
        assert!(with(wasm, &layer("application/tar", &good)).is_err());
        let escaping = layer("application/wasm", "sha256:../../x");
        assert!(with(wasm, &escaping).unwrap_err().contains("isn't SHA-256"));
        assert!(Manifest::read(br#"{"manifests":[]}"#).is_err());
    }
}
