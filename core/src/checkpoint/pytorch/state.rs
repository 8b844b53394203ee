//! The state dictionary in a pickle's values: tensors by the keys on the way to them.

use super::value::{Id, LONGEST_TEXT, Value, View};
use crate::tensors::header::{MOST_TENSORS, check_name};
use std::collections::{BTreeMap, HashSet};

/// How deep values may lie in each other.
const DEEPEST: usize = 1000;
/// Values that are looked at, those in several places as often.
const MOST_LOOKS: usize = 4_000_000;
/// Names that are kept of what isn't read.
const MOST_UNREAD: usize = 10_000;
/// The tables of every module of PyTorch.
const TABLES: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// What has a name.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub views: BTreeMap<String, View>,
    /// What isn't read, and what it is.
    pub unread: BTreeMap<String, String>,
}

/// Looks through all that a value holds.
pub(super) fn find(values: &[Value], root: Id) -> Result<Found, String> {
    let (path, above, found) = (String::new(), HashSet::new(), Found::default());
    let mut walk = Walk { values, path, above, looks: 0, long: None, found };
    walk.look(root)?;
    Ok(walk.found)
}

struct Walk<'a> {
    values: &'a [Value],
    /// The name so far.
    path: String,
    /// What holds the value that is looked at: one that lies in itself is left there.
    above: HashSet<Id>,
    looks: usize,
    /// Bytes of the key above that is too long for a name.
    long: Option<u64>,
    found: Found,
}

impl Walk<'_> {
    fn look(&mut self, id: Id) -> Result<(), String> {
        self.looks += 1;
        if self.looks > MOST_LOOKS {
            return Err("it holds the same values too often".to_owned());
        }
        let values = self.values;
        let value = &values[id as usize];
        if let Value::Tensor(view) = value {
            return self.keep(view);
        }
        if !matches!(value, Value::List(_) | Value::Dict(_) | Value::Object(_))
            || !self.above.insert(id)
        {
            return Ok(());
        }
        if self.above.len() > DEEPEST {
            return Err(format!("its nesting has more than {DEEPEST} levels"));
        }
        match value {
            Value::List(list) => self.list(list)?,
            Value::Dict(items) => self.dict(items)?,
            Value::Object(object) => match object.state.and_then(|state| self.module(state)) {
                Some(tables) => {
                    for table in tables {
                        self.dict(&table)?;
                    }
                }
                None if object.items.is_empty() && object.list.is_empty() => {
                    self.unread(|| values[object.class as usize].class_name());
                }
                None => {
                    self.dict(&object.items)?;
                    self.list(&object.list)?;
                }
            },
            _ => {}
        }
        self.above.remove(&id);
        Ok(())
    }

    /// A tensor whose type retort has gets its name.
    fn keep(&mut self, view: &View) -> Result<(), String> {
        if let Some(size) = self.long {
            return Err(format!(
                "the name of a tensor has more than {size} bytes, and may have {LONGEST_TEXT}"
            ));
        }
        check_name(&self.path)?;
        if self.found.views.len() >= MOST_TENSORS {
            return Err(format!("it holds more than {MOST_TENSORS} tensors"));
        }
        match &view.element.dtype {
            Ok(_) => {
                self.found.views.insert(self.path.clone(), view.clone());
                // Of a key that is there twice, Python keeps the later value.
                self.found.unread.remove(&self.path);
            }
            Err(name) => {
                self.unread(|| format!("a tensor of {name}"));
                self.found.views.remove(&self.path);
            }
        }
        Ok(())
    }

    fn unread(&mut self, what: impl Fn() -> String) {
        let named = self.long.is_none() && check_name(&self.path).is_ok();
        if self.found.unread.len() < MOST_UNREAD && named {
            self.found.unread.insert(self.path.clone(), what());
        }
    }

    fn list(&mut self, list: &[Id]) -> Result<(), String> {
        for (i, &item) in list.iter().enumerate() {
            self.under(&i.to_string(), item)?;
        }
        Ok(())
    }

    fn dict(&mut self, items: &[(Id, Id)]) -> Result<(), String> {
        for &(key, value) in items {
            match &self.values[key as usize] {
                Value::Text(text) => self.under(text, value)?,
                Value::Number(number) => self.under(&number.to_string(), value)?,
                Value::Long(size) => {
                    let above = self.long.replace(*size);
                    self.under("", value)?;
                    self.long = above;
                }
                // What has another kind of key is no part of a network.
                _ => {}
            }
        }
        Ok(())
    }

    fn under(&mut self, key: &str, value: Id) -> Result<(), String> {
        let end = self.path.len();
        if end > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let result = self.look(value);
        self.path.truncate(end);
        result
    }

    /// What a module of PyTorch that was saved whole says itself is its state dictionary: its parameters,
    /// its buffers but for those that aren't saved, and its parts.
    fn module(&mut self, state: Id) -> Option<Vec<Vec<(Id, Id)>>> {
        // What is looked through here counts, too.
        self.looks += self.items(state).map_or(0, <[_]>::len);
        let unsaved = self.entry(state, "_non_persistent_buffers_set");
        let unsaved = match unsaved.map(|id| &self.values[id as usize]) {
            Some(Value::List(names)) => &names[..],
            _ => &[],
        };
        self.looks += unsaved.len();
        let tables = TABLES.map(|name| self.entry(state, name).and_then(|table| self.items(table)));
        let [Some(parameters), Some(buffers), Some(modules)] = tables else { return None };
        let unsaved: HashSet<&str> = unsaved.iter().filter_map(|&name| self.text(name)).collect();
        let saved =
            |(key, _): &&(Id, Id)| !self.text(*key).is_some_and(|key| unsaved.contains(key));
        let buffers = buffers.iter().filter(saved).copied().collect();
        Some(vec![parameters.to_vec(), buffers, modules.to_vec()])
    }

    /// What a dictionary has under a name.
    fn entry(&self, dict: Id, name: &str) -> Option<Id> {
        let items = self.items(dict)?;
        items.iter().rev().find(|(key, _)| self.text(*key) == Some(name)).map(|(_, value)| *value)
    }

    fn items(&self, id: Id) -> Option<&[(Id, Id)]> {
        match &self.values[id as usize] {
            Value::Dict(items) => Some(items),
            Value::Object(object) => Some(&object.items),
            _ => None,
        }
    }

    fn text(&self, id: Id) -> Option<&str> {
        match &self.values[id as usize] {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}
