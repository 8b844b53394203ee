//! What an experiment names (a sampler, an augmentation; in other crates an optimiser, a schedule, a network):
//! each is one file, which declares its own options with [`hyper!`](retort_sdk::hyper), and one line in the
//! list of its kind.

use retort_sdk::Hyper;
use retort_sdk::schema::{self, Field, nearest};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Values of a part's options, checked and complete.
pub type Values = Map<String, Value>;

/// One that can be named. `M` is how it is made of its options.
pub struct Part<M> {
    /// What users call it.
    pub name: &'static str,
    /// First line: what it is. Then where it comes from.
    pub doc: &'static str,
    /// Its options, with docs, defaults and ranges.
    pub options: fn() -> Vec<Field>,
    /// Makes it.
    pub make: M,
}

impl<M> Part<M> {
    /// A part with the options, and the doc, of a declaration.
    pub const fn of<H: Hyper>(name: &'static str, make: M) -> Self {
        Part { name, doc: H::DOC, options: H::fields, make }
    }

    /// Its doc's paragraphs, each on one line.
    pub fn paragraphs(&self) -> impl Iterator<Item = String> {
        let lines = self.doc.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        let paragraphs = lines.trim().split("\n\n").map(|part| part.replace('\n', " "));
        paragraphs.collect::<Vec<_>>().into_iter()
    }
}

/// A declaration's values of options that were [resolved](Chosen::resolve).
pub fn read<H: Hyper>(options: &Values) -> H {
    // Resolved values are in the fields' types and ranges; a default is the field's own.
    H::from_json(options)
        .or_else(|_| H::from_json(&Map::new()))
        .unwrap_or_else(|why| unreachable!("a declaration's own defaults can be read: {why}"))
}

/// A part as experiments have it: `"sgd"`, or `{ name = "sgd", momentum = 0.8 }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Chosen {
    /// Its name.
    pub name: String,
    /// Values that differ from their defaults, or all.
    pub options: Values,
}

impl Chosen {
    /// One of its options set.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.options.insert(option.to_owned(), value.into());
        self
    }

    /// The part, with all its options. `kind` is what such parts are called, for the message about one that
    /// isn't there or has other options.
    pub fn find<M: 'static>(
        &self,
        kind: &str,
        parts: &'static [&'static Part<M>],
    ) -> Result<(&'static Part<M>, Values), String> {
        let part = parts.iter().find(|part| part.name == self.name).ok_or_else(|| {
            let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
            unknown(kind, &self.name, &names)
        })?;
        let options = schema::resolve(part.name, "option", &(part.options)(), &self.options)?;
        Ok((part, options))
    }

    /// Puts in the defaults of the options that weren't said.
    pub fn resolve<M: 'static>(
        &mut self,
        kind: &str,
        parts: &'static [&'static Part<M>],
    ) -> Result<(), String> {
        self.options = self.find(kind, parts)?.1;
        Ok(())
    }
}

/// A message about a name that no part of its kind has.
pub fn unknown(kind: &str, name: &str, names: &[&str]) -> String {
    let near = nearest(&name.to_lowercase(), names);
    let near = near.map(|near| format!("did you mean {near}? There"));
    let near = near.unwrap_or_else(|| "there".to_owned());
    format!("there is no {kind} {name:?}; {near} are: {}", names.join(", "))
}

impl From<&str> for Chosen {
    fn from(name: &str) -> Self {
        Chosen { name: name.to_owned(), options: Map::new() }
    }
}

impl From<Chosen> for Value {
    fn from(chosen: Chosen) -> Self {
        if chosen.options.is_empty() {
            return chosen.name.into();
        }
        let name = ("name".to_owned(), chosen.name.into());
        Value::Object([name].into_iter().chain(chosen.options).collect())
    }
}

impl TryFrom<Value> for Chosen {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(name) => Ok(Chosen { name, options: Map::new() }),
            Value::Object(mut options) => {
                match options.remove("name") {
                    Some(Value::String(name)) => Ok(Chosen { name, options }),
                    _ => Err("a table here needs a `name`, as in { name = \"…\", option = 1 }"
                        .to_owned()),
                }
            }
            other => Err(format!("{other} is neither a name nor a table with one")),
        }
    }
}
