//! A list of runs: which of them, in which order, and the settings in which they differ.

use crate::failure::{Failure, Result};
use crate::run::folder::Run;
use crate::run::portrait::{moment, settings};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// A run with what a list says of it.
#[derive(Debug)]
pub struct Entry {
    /// The run.
    pub run: Run,
    /// Its settings, by name.
    pub settings: BTreeMap<String, String>,
}

/// What has a column of its own, or a name that a list knows.
const FACTS: [&str; 8] = ["run", "role", "data", "loss", "recall", "state", "epochs", "begun"];

/// Settings that have a column of their own, or decide no number.
const APART: [&str; 12] = [
    "also_on",
    "data.cache",
    "data.name",
    "data.root",
    "limits.",
    "network.channels",
    "pretrained",
    "source",
    "train.checkpoint_",
    "train.keep",
    "train.log_every",
    "train.workers",
];

impl Entry {
    /// A run of the list.
    pub fn new(run: Run) -> Self {
        Entry { settings: settings(&run.config), run }
    }

    /// One of [`FACTS`].
    fn fact(&self, name: &str) -> Option<String> {
        let run = &self.run;
        Some(match name {
            "run" => run.path.display().to_string(),
            "role" => run.role().to_owned(),
            "data" => run.config.data.name.clone(),
            "loss" => run.losses(),
            "recall" => format!("{}", 100.0 * run.best()?.1),
            "state" => run.state.to_string(),
            "epochs" => run.course.epochs.to_string(),
            "begun" => moment(run.info.begun.as_deref()),
            _ => return None,
        })
    }

    fn value(&self, key: &Key) -> Option<String> {
        match key {
            Key::Fact(name) => self.fact(name),
            Key::Setting(name) => self.settings.get(name).cloned(),
        }
    }
}

/// What runs are chosen or ordered by.
enum Key {
    Fact(&'static str),
    Setting(String),
}

/// The key that a word means: a column, a setting, or the last part of one setting's name.
fn key(entries: &[Entry], flag: &str, word: &str) -> Result<Key> {
    if let Some(fact) = FACTS.iter().find(|fact| **fact == word) {
        return Ok(Key::Fact(fact));
    }
    let names: BTreeSet<&String> = entries.iter().flat_map(|entry| entry.settings.keys()).collect();
    let ends = |name: &&&String| {
        ***name == word || name.strip_suffix(word).is_some_and(|rest| rest.ends_with('.'))
    };
    let exact = names.iter().find(|name| ***name == word).copied();
    let found: Vec<&String> =
        exact.map_or_else(|| names.iter().filter(ends).copied().collect(), |n| vec![n]);
    match found.as_slice() {
        [one] => Ok(Key::Setting((*one).clone())),
        [] => {
            let all: Vec<&str> =
                FACTS.iter().copied().chain(names.iter().map(|n| n.as_str())).collect();
            let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
            let lasts: Vec<String> = all.iter().map(|name| last(name)).collect();
            let lasts: Vec<&str> =
                all.iter().copied().chain(lasts.iter().map(String::as_str)).collect();
            let near = retort_sdk::schema::nearest(word, &lasts);
            let near =
                near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean {near}?"));
            Err(Failure::usage(format!(
                "{flag} {word}: no run has such a setting{near} There are the columns {} and every setting of \
                 config.toml, such as train.lr or a loss's hyperparameter",
                FACTS.join(", ")
            )))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            Err(Failure::usage(format!("{flag} {word}: say which: {}", names.join(", "))))
        }
    }
}

/// Signs of a condition.
const SIGNS: [&str; 6] = ["<=", ">=", "!=", "=", "<", ">"];

/// Chooses the entries for which all conditions hold, such as `train.lr<0.01`, and orders them by a key. One
/// without the setting fits none but `!=`, and comes last.
pub fn choose(
    entries: Vec<Entry>,
    conditions: &[String],
    sort: Option<&str>,
) -> Result<Vec<Entry>> {
    let conditions: Vec<Condition> =
        conditions.iter().map(|text| Condition::read(&entries, text)).collect::<Result<_>>()?;
    let down = sort.is_some_and(|by| by.starts_with('-'));
    let by = sort.map(|by| key(&entries, "--sort", by.strip_prefix('-').unwrap_or(by)));
    let by = by.transpose()?;
    let mut kept: Vec<Entry> =
        entries.into_iter().filter(|entry| conditions.iter().all(|c| c.fits(entry))).collect();
    if let Some(by) = by {
        kept.sort_by(|a, b| match (a.value(&by), b.value(&by)) {
            (Some(a), Some(b)) if down => compare(&b, &a),
            (Some(a), Some(b)) => compare(&a, &b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
    }
    Ok(kept)
}

/// `KEY=VALUE`, or another sign between them.
struct Condition {
    key: Key,
    sign: &'static str,
    wanted: String,
}

impl Condition {
    fn read(entries: &[Entry], text: &str) -> Result<Self> {
        let found = SIGNS.iter().filter_map(|sign| Some((text.find(sign)?, *sign)));
        let first = found.min_by_key(|(at, sign)| (*at, std::cmp::Reverse(sign.len())));
        let Some((at, sign)) = first else {
            return Err(Failure::usage(format!(
                "--where {text}: it should be KEY=VALUE, or have one of {} in place of =",
                SIGNS.join(" ")
            )));
        };
        let key = key(entries, "--where", text[..at].trim())?;
        Ok(Condition { key, sign, wanted: text[at + sign.len()..].trim().to_owned() })
    }

    fn fits(&self, entry: &Entry) -> bool {
        let Some(value) = entry.value(&self.key) else { return self.sign == "!=" };
        let order = compare(&value, &self.wanted);
        match self.sign {
            "<=" => order.is_le(),
            ">=" => order.is_ge(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            ">" => order.is_gt(),
            _ => order.is_eq(),
        }
    }
}

/// As numbers if both are.
fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.partial_cmp(&b).unwrap_or_else(|| a.total_cmp(&b)),
        _ => a.cmp(b),
    }
}

/// The settings in which runs differ that have them, each by the shortest name that tells it from the others.
pub fn differing(entries: &[Entry]) -> Vec<(String, String)> {
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in entries.iter().flat_map(|entry| &entry.settings) {
        values.entry(name).or_default().insert(value);
    }
    let apart = |name: &str| {
        APART.iter().any(|key| {
            name == *key || (!key.ends_with(char::is_alphanumeric) && name.starts_with(key))
        })
    };
    let names: Vec<&str> = values
        .iter()
        .filter(|(name, v)| v.len() > 1 && !apart(name))
        .map(|(name, _)| *name)
        .collect();
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let short = |name: &str| {
        let own = last(name);
        let alone = names.iter().filter(|other| last(other) == own).count() == 1;
        if alone { own } else { name.to_owned() }
    };
    names.iter().map(|name| ((*name).to_owned(), short(name))).collect()
}
