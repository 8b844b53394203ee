//! `key=value` on the command line.

use crate::failure::{Failure, Result};
use bytesize::ByteSize;
use retort_core::Limits;
use serde_json::{Map, Value};

/// One `key=value`; the value is JSON where it can be read so, else a word.
pub fn assignment(text: &str) -> Result<(String, Value)> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Failure::usage(format!("{text} isn't KEY=VALUE, such as sigma=0.5")));
    };
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || value.is_empty() {
        return Err(Failure::usage(format!("{text} isn't KEY=VALUE, such as sigma=0.5")));
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((key.to_owned(), value))
}

/// Several of them; a key given twice is an error.
pub fn assignments(list: &[String]) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for text in list {
        let (key, value) = assignment(text)?;
        if map.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("{key} is set twice")));
        }
    }
    Ok(map)
}

/// A message about a key that isn't known, with the nearest one that is.
pub fn suggest(message: &str) -> String {
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some(word) = words.next().filter(|_| unknown) else { return message.to_owned() };
    let known: Vec<&str> = words.collect();
    match retort_sdk::schema::nearest(word, &known) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

/// A number of bytes: `8GiB`, `500 MB`, `1e9`.
pub fn bytes(text: &str) -> std::result::Result<u64, String> {
    let number = text.trim().parse::<f64>().ok();
    let number = number.filter(|bytes| bytes.is_finite() && (0.0..u64::MAX as f64).contains(bytes));
    let bytes = match number {
        Some(bytes) => Some(bytes as u64),
        None => text.parse::<ByteSize>().ok().map(|size| size.as_u64()),
    };
    bytes.ok_or_else(|| "it should be a size such as 8GiB or 500MB".to_owned())
}

/// The default limits with these in their place.
pub fn limits(list: &[String]) -> Result<Limits> {
    let given = assignments(list)?;
    let mut all = serde_json::to_value(Limits::default()).unwrap_or_default();
    let Some(object) = all.as_object_mut() else { return Ok(Limits::default()) };
    for (key, value) in given {
        let names: Vec<&str> = object.keys().map(String::as_str).collect();
        if !object.contains_key(&key) {
            let near = retort_sdk::schema::nearest(&key, &names);
            let near = near.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            return Err(Failure::usage(format!(
                "there is no limit {key}{near} Limits are: {}",
                names.join(", ")
            )));
        }
        let number = value.is_number();
        object.insert(key.clone(), value);
        if !number {
            return Err(Failure::usage(format!("--limit {key}: {} is no number", object[&key])));
        }
    }
    let limits: Limits =
        serde_json::from_value(all).map_err(|e| Failure::usage(format!("--limit: {e}")))?;
    limits.check().map_err(Failure::usage)?;
    Ok(limits)
}
