//! What differs between two trees of settings.

use serde_json::Value;
use std::collections::BTreeMap;

/// A key, and its value on either side if it is there.
pub type Difference = (String, Option<String>, Option<String>);

/// Every value of a tree under its path, such as `loss.0.name`; nulls are left out.
pub fn flatten(tree: &Value) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    collect(tree, "", &mut out);
    out
}

fn collect(tree: &Value, path: &str, out: &mut BTreeMap<String, String>) {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match tree {
        Value::Null => {}
        Value::Object(map) => map.iter().for_each(|(key, x)| collect(x, &join(key), out)),
        Value::Array(list) if list.iter().any(|x| x.is_object() || x.is_array()) => {
            list.iter().enumerate().for_each(|(i, x)| collect(x, &join(&i.to_string()), out));
        }
        Value::String(text) => {
            out.insert(path.to_owned(), text.clone());
        }
        other => {
            out.insert(path.to_owned(), other.to_string());
        }
    }
}

/// Keys whose values aren't the same on both sides, sorted.
pub fn differing(a: &Value, b: &Value) -> Vec<Difference> {
    let (a, b) = (flatten(a), flatten(b));
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort();
    keys.dedup();
    let row = |key: &String| (key.clone(), a.get(key).cloned(), b.get(key).cloned());
    keys.into_iter().map(row).filter(|(_, a, b)| a != b).collect()
}
