//! Whose keys the user trusts: each by its author, in a file of the user's.

use super::home;
use super::key::fingerprint;
use super::name::is_part;
use crate::failure::{Failure, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    key: Vec<Trusted>,
}

/// A key that is trusted to be an author's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trusted {
    /// The author.
    pub author: String,
    /// The public key.
    pub key: String,
}

fn file() -> Result<std::path::PathBuf> {
    Ok(home::folder()?.join("trust.toml"))
}

/// All of them.
pub fn list() -> Result<Vec<Trusted>> {
    Ok(home::read::<File>(&file()?)?.key)
}

/// The keys of an author.
pub fn of(author: &str) -> Result<Vec<String>> {
    let all = list()?.into_iter().filter(|trusted| trusted.author == author);
    Ok(all.map(|trusted| trusted.key).collect())
}

/// Trusts a key from now on.
pub fn add(author: &str, key: &str) -> Result<()> {
    if !is_part(author) {
        return Err(Failure::usage(format!("{author:?} can't be an author's name")));
    }
    fingerprint(key).map_err(|why| Failure::usage(format!("{key}: {why}")))?;
    let trusted = Trusted { author: author.to_owned(), key: key.to_owned() };
    let mut all = list()?;
    if !all.contains(&trusted) {
        all.push(trusted);
    }
    home::write(&file()?, &File { key: all })
}

/// Trusts an author's keys no more, or one of them; how many those were.
pub fn remove(author: &str, key: Option<&str>) -> Result<usize> {
    let all = list()?;
    let is = |t: &Trusted| t.author == author && key.is_none_or(|key| t.key == key);
    let kept: Vec<Trusted> = all.iter().filter(|t| !is(t)).cloned().collect();
    let gone = all.len() - kept.len();
    home::write(&file()?, &File { key: kept })?;
    Ok(gone)
}
