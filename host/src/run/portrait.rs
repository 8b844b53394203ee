//! A run as people read it: its settings by the names that flags have, its results with units, what it was made
//! with in a line each.

use crate::experiment::Experiment;
use crate::run::folder::{Run, State};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A name and what is said under it.
pub type Line = (String, String);

/// Every setting by a name that tells it from all others: `train.lr`, and a loss's hyperparameters under the
/// loss's name, as in `rkd.weight_angle`. Nulls are left out.
pub fn settings(experiment: &Experiment) -> BTreeMap<String, String> {
    let mut tree = serde_json::to_value(experiment).unwrap_or_default();
    let losses = tree.as_object_mut().and_then(|tree| tree.remove("loss"));
    let mut out = BTreeMap::new();
    collect(&tree, "", &mut out);
    let mut names: Vec<String> = Vec::new();
    for loss in losses.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let file = loss["name"].as_str().unwrap_or_default();
        let own = file.rsplit('#').next().unwrap_or(file);
        let twins = names.iter().filter(|name| *name == own).count();
        names.push(own.to_owned());
        // As the loss's terms are called where a loss is there twice.
        let own = if twins == 0 { own.to_owned() } else { format!("{own}_{}", twins + 1) };
        for (key, value) in loss.as_object().into_iter().flatten() {
            match (key.as_str(), value) {
                ("hyper", hyper) => collect(hyper, &own, &mut out),
                ("name", _) => {}
                (_, value) => collect(value, &format!("{own}.{key}"), &mut out),
            }
        }
    }
    out
}

fn collect(tree: &Value, path: &str, out: &mut BTreeMap<String, String>) {
    match tree {
        Value::Null => {}
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                collect(value, &format!("{path}{dot}{key}"), out);
            }
        }
        value => {
            out.insert(path.to_owned(), word(value));
        }
    }
}

/// A value without brackets and quotes.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What came out.
pub fn results(run: &Run) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut put = |key: &str, text: Option<String>| {
        lines.extend(text.map(|text| (key.to_owned(), text)));
    };
    put("state", Some(state(run)));
    let none = Value::Null;
    let summary = run.summary.as_ref().unwrap_or(&none);
    put("Recall", percent(&summary["recall"]));
    let best = &summary["best"];
    let chosen = best["epoch"].as_u64().zip(percent(&best["recall"])).map(|(epoch, recall)| {
        let on = best["selected_on"].as_str().unwrap_or("test");
        format!("{recall} after epoch {epoch}, chosen on the {on} classes")
    });
    let so_far = || {
        let (epoch, recall, split) = run.course.best.as_ref()?;
        Some(format!("{:.1} % after epoch {epoch}, on the {split} classes", 100.0 * recall))
    };
    put("best", chosen.or_else(so_far));
    put("last loss", summary["loss"].as_f64().map(crate::terminal::output::short));
    put("parameters", summary["parameters"].as_u64().map(|n| n.to_string()));
    put("steps", summary["steps"].as_u64().map(|n| n.to_string()));
    let skipped = summary["skipped"].as_u64().filter(|n| *n > 0);
    put("losses left out", skipped.map(|n| format!("{n} times, undefined on their batch")));
    put("time", summary["seconds"].as_f64().map(|s| format!("{s:.1} s")));
    lines
}

/// How far a run is, and why it went no further.
pub fn state(run: &Run) -> String {
    let epochs = format!("{}/{} epochs", run.course.epochs, run.config.train.epochs);
    match run.failed() {
        Some(why) => format!("failed: {why} ({epochs})"),
        None if run.state == State::Interrupted => {
            format!("interrupted, {epochs}; `retort train resume` goes on")
        }
        None => format!("{}, {epochs}", run.state),
    }
}

/// Recall@K as a file has it, in %.
fn percent(recall: &Value) -> Option<String> {
    let recall = recall.as_object()?;
    let mut all: Vec<(u64, f64)> =
        recall.iter().filter_map(|(k, r)| Some((k.parse().ok()?, r.as_f64()?))).collect();
    all.sort_by_key(|(k, _)| *k);
    let each = all.iter().map(|(k, r)| format!("R@{k} {:.1} %", 100.0 * r));
    (!all.is_empty()).then(|| each.collect::<Vec<_>>().join(", "))
}

/// What it was made with.
pub fn made_with(run: &Run) -> Vec<Line> {
    let info = &run.info;
    let mut lines = Vec::new();
    let mut put = |key: &str, text: String| {
        if !text.is_empty() {
            lines.push((key.to_owned(), text));
        }
    };
    put("begun", moment(&info["begun"]));
    let resumed = info["resumed"].as_array().map_or(0, Vec::len);
    put("gone on with", if resumed > 0 { format!("{resumed} times") } else { String::new() });
    let interface = &info["interface"];
    let interface = if interface.is_null() {
        String::new()
    } else {
        format!(", interface {}", word(interface))
    };
    let retort = if info["retort"].is_null() { String::new() } else { word(&info["retort"]) };
    put("retort", retort + &interface);
    let device = &info["device"];
    put("device", in_a_line(device, &["name", "driver", "id"]));
    let hardware = info["hardware"].as_object();
    let hardware = hardware.into_iter().flatten().filter(|(_, value)| !value.is_null());
    let hardware: Vec<String> =
        hardware.map(|(key, value)| format!("{key} {}", cut(&word(value)))).collect();
    put("hardware", hardware.join(", "));
    for plugin in info["plugins"].as_array().into_iter().flatten() {
        let name = word(&plugin["loss"]);
        let name = name.rsplit('#').next().unwrap_or_default();
        put(&format!("loss {name}"), in_a_line(plugin, &["origin", "digest"]));
    }
    let digest = &info["source"]["digest"];
    let source = run.config.source.as_ref().map(|path| path.display().to_string());
    let digest = digest.as_str().map(|digest| format!(" {}", cut(digest))).unwrap_or_default();
    put("source", source.unwrap_or_default() + &digest);
    lines
}

/// A moment without the letters between date and time.
pub fn moment(begun: &Value) -> String {
    begun.as_str().unwrap_or("-").replace('T', " ").replace('Z', "")
}

fn in_a_line(object: &Value, keys: &[&str]) -> String {
    let empty = Map::new();
    let object = object.as_object().unwrap_or(&empty);
    let parts = keys.iter().filter_map(|key| object.get(*key)).map(|value| cut(&word(value)));
    parts.filter(|part| !part.is_empty() && part != "null").collect::<Vec<_>>().join(", ")
}

/// A digest's first digits: enough to tell two from each other.
fn cut(text: &str) -> String {
    match text.strip_prefix("sha256:") {
        Some(digits) if digits.len() > 12 && digits.is_ascii() => {
            format!("sha256:{}…", &digits[..12])
        }
        _ => text.to_owned(),
    }
}
