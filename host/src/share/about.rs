//! What a pack says about itself, as custom sections of its component: read without running anything of it.
//!
//! The conventional ones (`version`, `description`, `authors`, `licenses`, `source`, `homepage`, `revision`: a text
//! each) are those that other tools of WebAssembly show; retort's own begin with `retort:`.

use super::name::Name;
use retort_sdk::schema;
use semver::Version;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;
use wasmparser::{Encoding, Parser, Payload};

/// What a pack says about itself. All of it is foreign text.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Its name.
    pub name: Name,
    /// Its version.
    pub version: Version,
    /// The conventional texts beside the version, by their sections' names; those that it has.
    pub texts: BTreeMap<&'static str, String>,
    /// Markdown.
    pub readme: String,
    /// What `retort snapshot record` wrote, by loss.
    pub pins: BTreeMap<String, String>,
    /// What `retort loss check` found, by loss.
    pub card: Value,
    /// Its losses, as it describes them when it runs.
    pub losses: schema::Pack,
}

/// Conventional texts.
pub const TEXTS: [&str; 6] =
    ["description", "authors", "licenses", "source", "homepage", "revision"];

const VERSION: &str = "version";
const NAME: &str = "retort:name";
const README: &str = "retort:readme";
const PINS: &str = "retort:pins";
const CARD: &str = "retort:card";
const LOSSES: &str = "retort:losses";

/// Most bytes of a conventional text, a README, and each of the others.
const TEXT_BYTES: usize = 4 << 10;
const README_BYTES: usize = 256 << 10;
const JSON_BYTES: usize = 8 << 20;

impl About {
    /// A component with this in place of what it says about itself.
    pub fn put_into(&self, component: &[u8]) -> Result<Vec<u8>, String> {
        let text = |e: serde_json::Error| e.to_string();
        let mut parts = vec![
            (VERSION, self.version.to_string()),
            (NAME, self.name.to_string()),
            (README, self.readme.clone()),
            (PINS, serde_json::to_string(&self.pins).map_err(text)?),
            (CARD, self.card.to_string()),
            (LOSSES, serde_json::to_string(&self.losses).map_err(text)?),
        ];
        parts.extend(self.texts.iter().map(|(name, text)| (*name, text.clone())));
        let mut out = without_own(component)?;
        for (name, content) in parts {
            let (_, most) =
                bound(name).ok_or_else(|| format!("{name} is no section of a pack's"))?;
            if content.len() > most {
                return Err(format!("its {name} has {} bytes, more than {most}", content.len()));
            }
            append(&mut out, name, content.as_bytes());
        }
        // Whoever wrote the component may have written lengths in another way.
        sections(&out).map_err(|e| format!("it can't be given a new description: {e}"))?;
        Ok(out)
    }

    /// What a component says about itself; none if it says nothing that retort put there.
    pub fn read(component: &[u8]) -> Result<Option<Self>, String> {
        let mut found: BTreeMap<&'static str, String> = BTreeMap::new();
        for (name, content, _) in sections(component)? {
            let Some((known, most)) = bound(name) else { continue };
            if content.len() > most {
                return Err(format!(
                    "its section {known} has {} bytes, more than {most}",
                    content.len()
                ));
            }
            let text = std::str::from_utf8(content)
                .map_err(|_| format!("its section {known} isn't UTF-8"))?;
            if found.insert(known, text.to_owned()).is_some() {
                return Err(format!("it has two sections {known}"));
            }
        }
        let Some(name) = found.remove(NAME) else { return Ok(None) };
        let mut take = |name: &str| {
            found.remove(name).ok_or_else(|| format!("it has a name, but no section {name}"))
        };
        let (version, readme) = (take(VERSION)?, take(README)?);
        let (pins, card, losses) = (take(PINS)?, take(CARD)?, take(LOSSES)?);
        let damaged = |what: &str, e: &dyn std::fmt::Display| format!("its {what}: {e}");
        let losses: schema::Pack =
            serde_json::from_str(&losses).map_err(|e| damaged(LOSSES, &e))?;
        losses.check(losses.interface).map_err(|e| damaged(LOSSES, &e))?;
        let pins: BTreeMap<String, String> =
            serde_json::from_str(&pins).map_err(|e| damaged(PINS, &e))?;
        if let Some(stranger) =
            pins.keys().find(|pin| !losses.losses.iter().any(|loss| loss.name == **pin))
        {
            return Err(format!("it has a pin of {stranger:?}, and no such loss"));
        }
        Ok(Some(About {
            name: name.parse()?,
            version: version.parse().map_err(|e| damaged(VERSION, &e))?,
            texts: TEXTS.iter().filter_map(|name| Some((*name, found.remove(name)?))).collect(),
            readme,
            pins,
            card: serde_json::from_str(&card).map_err(|e| damaged(CARD, &e))?,
            losses,
        }))
    }
}

/// A section that is read, with the most bytes that it may have.
fn bound(name: &str) -> Option<(&'static str, usize)> {
    let own = [
        (VERSION, TEXT_BYTES),
        (NAME, TEXT_BYTES),
        (README, README_BYTES),
        (PINS, JSON_BYTES),
        (CARD, JSON_BYTES),
        (LOSSES, JSON_BYTES),
    ];
    let texts = TEXTS.into_iter().map(|text| (text, TEXT_BYTES));
    own.into_iter().chain(texts).find(|(known, _)| *known == name)
}

/// A custom section: its name, its content, and where the content lies.
type Section<'a> = (&'a str, &'a [u8], Range<usize>);

/// The custom sections of the outermost component.
fn sections(component: &[u8]) -> Result<Vec<Section<'_>>, String> {
    crate::plugin::component::is_webassembly(component)?;
    let mut out = Vec::new();
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|e| format!("it is damaged: {e}"))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err("it is a core module, not a component".to_owned());
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 1 => {
                out.push((section.name(), section.data(), section.range()));
            }
            _ => {}
        }
    }
    Ok(out)
}

/// A component without what it says about itself, so that packing twice gives the same.
fn without_own(component: &[u8]) -> Result<Vec<u8>, String> {
    let own = sections(component)?.into_iter().filter(|(name, ..)| bound(name).is_some());
    let mut out = Vec::with_capacity(component.len());
    let mut at = 0;
    for (.., range) in own {
        // The range is that of the content; its length and the byte that says what it is stand before it.
        let length = leb(range.len()).len();
        let begin = range.start.saturating_sub(length + 1);
        out.extend_from_slice(component.get(at..begin).ok_or("its sections overlap")?);
        at = range.end;
    }
    out.extend_from_slice(component.get(at..).ok_or("its sections overlap")?);
    Ok(out)
}

/// A custom section at the end: its number, its length, its name, its content.
pub(crate) fn append(out: &mut Vec<u8>, name: &str, content: &[u8]) {
    let name_length = leb(name.len());
    out.push(0);
    out.extend(leb(name_length.len() + name.len() + content.len()));
    out.extend(name_length);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(content);
}

/// An unsigned number as WebAssembly writes lengths (LEB128).
fn leb(mut number: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            out.push(byte);
            return out;
        }
        out.push(byte | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::{About, append, sections};
    use retort_sdk::schema;
    use std::collections::BTreeMap;

    /// The least component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn about() -> About {
        let loss = serde_json::json!({"name": "follow", "doc": "Follows.", "hyper": []});
        About {
            name: "ada/curvature".parse().unwrap(),
            version: "1.2.3".parse().unwrap(),
            texts: BTreeMap::from([("description", "Bends.".to_owned())]),
            readme: "# Curvature\n".to_owned(),
            pins: BTreeMap::from([("follow".to_owned(), "loss follow\n".to_owned())]),
            card: serde_json::json!({"follow": []}),
            losses: schema::Pack {
                interface: 1,
                sdk: "by hand".to_owned(),
                losses: vec![serde_json::from_value(loss).unwrap()],
            },
        }
    }

    #[test]
    fn what_is_put_in_comes_out_and_putting_it_in_twice_is_putting_it_in_once() {
        assert_eq!(About::read(EMPTY), Ok(None));
        let once = about().put_into(EMPTY).unwrap();
        assert_eq!(About::read(&once), Ok(Some(about())));
        assert_eq!(about().put_into(&once).unwrap(), once);
        let mut later = about();
        later.version = "2.0.0".parse().unwrap();
        let again = later.put_into(&once).unwrap();
        assert_eq!(About::read(&again).unwrap().unwrap().version.to_string(), "2.0.0");
        assert_eq!(sections(&again).unwrap().len(), sections(&once).unwrap().len());
    }

    #[test]
    fn what_is_foreign_is_bounded_and_checked() {
        let whole = about().put_into(EMPTY).unwrap();
        for (name, content, part) in [
            ("version", "1.0.0".to_owned(), "two sections version"),
            ("description", "x".repeat(5000), "description has 5000 bytes, more than 4096"),
        ] {
            let mut bytes = whole.clone();
            append(&mut bytes, name, content.as_bytes());
            let why = About::read(&bytes).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
        let mut pinned = about();
        pinned.pins.insert("../x".to_owned(), String::new());
        let bytes = pinned.put_into(EMPTY).unwrap();
        assert!(About::read(&bytes).unwrap_err().contains("a pin of \"../x\""));
        let mut bytes = EMPTY.to_vec();
        append(&mut bytes, "retort:name", b"../../x");
        assert!(About::read(&bytes).is_err());
        assert!(About::read(&whole[..whole.len() - 3]).unwrap_err().contains("damaged"));
    }
}
