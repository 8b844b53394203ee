//! Names of packs: `author/pack`, and `author/pack@1.2` for one with a version.

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A pack's name. Its parts are safe as parts of paths, keys and messages.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    /// Who publishes it.
    pub author: String,
    /// What it is called.
    pub pack: String,
}

/// A pack that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: Name,
    /// Which versions will do; none takes any.
    pub version: Option<VersionReq>,
}

/// Whether a text can be a part of a name: `[a-z0-9][a-z0-9_-]{0,38}`.
pub fn is_part(text: &str) -> bool {
    let small = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=39).contains(&text.len())
        && text.as_bytes().first().copied().is_some_and(small)
        && text.bytes().all(|b| small(b) || b == b'-' || b == b'_')
}

impl Name {
    /// A name of its parts, if they can be parts of one.
    pub fn new(author: &str, pack: &str) -> Result<Self, String> {
        for (what, part) in [("author", author), ("pack", pack)] {
            if !is_part(part) {
                return Err(format!(
                    "{part:?} can't be the name of {}: that is a small letter or digit and up to 38 more, - or _",
                    if what == "author" { "an author" } else { "a pack" }
                ));
            }
        }
        Ok(Name { author: author.to_owned(), pack: pack.to_owned() })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.author, self.pack)
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((author, pack)) => Name::new(author, pack),
            None => Err(format!("{text:?} isn't AUTHOR/PACK, such as ada/curvature")),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.to_string()
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => (name, Some(version)),
        };
        // `1.2.3` means that version; `1` and `1.2` the newest that begins so.
        let requirement = |text: &str| match text.parse::<Version>() {
            Ok(exact) => VersionReq::parse(&format!("={exact}")),
            Err(_) => VersionReq::parse(text),
        };
        let version = version.map(requirement).transpose();
        let version = version.map_err(|e| format!("{text}: no version can be so: {e}"))?;
        Ok(Wanted { name: name.parse()?, version })
    }
}

#[cfg(test)]
mod tests {
    use super::{Name, Wanted};

    #[test]
    fn names_can_be_parts_of_paths() {
        assert_eq!("ada/curvature".parse::<Name>().unwrap().to_string(), "ada/curvature");
        for bad in [
            "ada",
            "/x",
            "ada/",
            "../x",
            "ada/../x",
            "Ada/x",
            "ada/x/y",
            "a\u{1b}/x",
            "-a/x",
            "ada/.",
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_whole_version_means_itself() {
        let matches = |text: &str, version: &str| {
            let wanted: Wanted = text.parse().unwrap();
            wanted.version.unwrap().matches(&version.parse().unwrap())
        };
        assert!(matches("a/b@1", "1.4.2") && !matches("a/b@1", "2.0.0"));
        assert!(matches("a/b@1.4.2", "1.4.2") && !matches("a/b@1.4.2", "1.4.3"));
        assert!("a/b@one".parse::<Wanted>().is_err());
        assert_eq!("a/b".parse::<Wanted>().unwrap().version, None);
    }
}
