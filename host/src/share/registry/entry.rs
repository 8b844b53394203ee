//! What a registry says of a version: a small file, which a search looks at.

use crate::failure::{Failure, Result};
use crate::share::about::About;
use crate::share::name::Name;
use retort_sdk::schema::Definition;
use semver::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

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
    /// What `loss check` found of each property.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, String>,
}

impl Entry {
    /// That of a pack.
    pub fn of(about: &About, digest: String, key: Option<String>) -> Self {
        let listed = |loss: &Definition| Listed {
            name: loss.name.clone(),
            doc: loss.doc.split("\n\n").next().unwrap_or_default().replace('\n', " "),
            paper: loss.paper.clone(),
            checks: checks(&about.card[&loss.name]),
        };
        Entry {
            name: about.name.clone(),
            version: about.version.clone(),
            digest,
            interface: about.losses.interface,
            key,
            yanked: false,
            description: about.texts.get("description").cloned().unwrap_or_default(),
            losses: about.losses.losses.iter().map(listed).collect(),
        }
    }

    /// This version's own entry, where it was asked for.
    pub fn is_of(self, name: &Name, version: &Version) -> std::result::Result<Self, String> {
        if (&self.name, &self.version) == (name, version) {
            return Ok(self);
        }
        Err(format!("it says that it is {} {}", self.name, self.version))
    }

    /// What is signed beside the bytes: so that a pack can't pass for another, nor an old version for a new one.
    pub fn comment(&self) -> String {
        format!("retort pack {} {} {}", self.name, self.version, self.digest)
    }

    /// Refuses other bytes under a version that is there already.
    pub fn same_as(self, offered: &Entry) -> Result<Entry> {
        if self.digest == offered.digest {
            return Ok(self);
        }
        Err(Failure::usage(format!(
            "{} {} is published already, with other bytes ({}): a version never changes; give this one another in \
             its Cargo.toml",
            self.name, self.version, self.digest
        )))
    }

    /// Whether all of these words, in small letters, are found in its name, its description, and its losses' names,
    /// docs and papers.
    pub fn has_words(&self, words: &[String]) -> bool {
        let losses = self.losses.iter().map(|l| format!("{} {} {}\n", l.name, l.doc, l.paper));
        let all = format!("{} {} {}", self.name, self.description, losses.collect::<String>());
        let all = all.to_lowercase();
        words.iter().all(|word| all.contains(word))
    }
}

/// The verdicts of a pack's card on one loss.
fn checks(card: &Value) -> BTreeMap<String, String> {
    let all = card.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    all.iter().filter_map(|v| Some((text(&v["property"])?, text(&v["verdict"])?))).collect()
}
