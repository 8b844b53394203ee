//! A run as people read it: its settings by the names that flags have, its results with units, what it was made
//! with in a line each.

use crate::experiment::Experiment;
use crate::run::folder::{Run, State};
use crate::run::line::Recall;
use crate::run::outcome::Outcome;
use serde_json::Value;
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
    let none = Outcome::default();
    let summary = run.summary.as_ref().unwrap_or(&none);
    put("Recall", summary.recall.as_ref().and_then(percent));
    let chosen = summary.best.as_ref().and_then(|best| {
        let (recall, epoch) = (percent(&best.recall)?, best.epoch);
        Some(format!("{recall} after epoch {epoch}, chosen on the {} classes", best.on()))
    });
    let so_far = || {
        let (epoch, recall, split) = run.course.best.as_ref()?;
        Some(format!("{:.1} % after epoch {epoch}, on the {split} classes", 100.0 * recall))
    };
    put("best", chosen.or_else(so_far));
    put("last loss", summary.loss.map(crate::terminal::output::short));
    put("parameters", summary.parameters.map(|n| n.to_string()));
    put("steps", summary.steps.map(|n| n.to_string()));
    let skipped = (summary.skipped > 0).then_some(summary.skipped);
    put("losses left out", skipped.map(|n| format!("{n} times, undefined on their batch")));
    put("time", summary.seconds.map(|s| format!("{s:.1} s")));
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

/// Recall@K in %; none where there is none.
fn percent(recall: &Recall) -> Option<String> {
    let each = recall.iter().map(|(k, r)| format!("R@{k} {:.1} %", 100.0 * r));
    (!recall.is_empty()).then(|| each.collect::<Vec<_>>().join(", "))
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
    put("begun", moment(info.begun.as_deref()));
    let resumed = info.resumed.len();
    put("gone on with", if resumed > 0 { format!("{resumed} times") } else { String::new() });
    let made = &info.identity;
    let interface = made.interface.map(|number| format!(", interface {number}"));
    put("retort", made.retort.clone().unwrap_or_default() + &interface.unwrap_or_default());
    let device = &info.device;
    put("device", in_a_line([&device.name, &device.driver, &device.id].into_iter().flatten()));
    let hardware = info.hardware.facts();
    let hardware = hardware.iter().map(|(name, fact)| format!("{name} {fact}"));
    put("hardware", hardware.collect::<Vec<_>>().join(", "));
    for file in &made.plugins {
        let name = file.loss.rsplit('#').next().unwrap_or_default();
        put(&format!("loss {name}"), in_a_line([&file.origin, &file.digest]));
    }
    let source = run.config.source.as_ref().map(|path| path.display().to_string());
    let digest = made.source.as_ref().map(|file| format!(" {}", cut(&file.digest)));
    put("source", source.unwrap_or_default() + &digest.unwrap_or_default());
    lines
}

/// A moment without the letters between date and time.
pub fn moment(begun: Option<&str>) -> String {
    begun.unwrap_or("-").replace('T', " ").replace('Z', "")
}

fn in_a_line<'a>(parts: impl IntoIterator<Item = &'a String>) -> String {
    let parts = parts.into_iter().filter(|part| !part.is_empty()).map(|part| cut(part));
    parts.collect::<Vec<_>>().join(", ")
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
