//! What a loss computes on fixed inputs, as a small text that can be kept and compared later.
//!
//! The inputs are formulas ([`Case::example`]), so a pin needs no data beside it. Numbers are of the
//! 64-bit CPU path.

use crate::failure::{Failure, Result};
use crate::loss::case::{Case, Layout};
use crate::loss::probe::{self, probe};
use crate::plugin::registry::Found;
use burn::tensor::{Device, FloatDType};
use retort_core::{Limits, LossError};
use retort_sdk::schema::{Field, Kind};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Numbers of two pins are equal if they differ by less than this share of their line's largest.
pub const TOLERANCE: f64 = 1e-7;

include!(concat!(env!("OUT_DIR"), "/pins.rs"));

const TITLE: &str = "# retort snapshot, format 1: a loss on fixed inputs, in 64 bits";

/// The pin of a loss with its default hyperparameters, and with each of them changed in turn.
pub fn record(found: &Found, limits: &Limits) -> Result<String> {
    let mut text = format!("{TITLE}\nloss {}\n", found.definition.name);
    for field in &found.definition.hyper {
        let (kind, range) = (format!("{:?}", field.kind).to_lowercase(), field.range);
        let _ = writeln!(text, "hyper {} {kind} = {} ({range})", field.name, field.default);
    }
    let none = Map::new();
    let plain = layout(found, &none, limits)?;
    let mut cases = vec![
        named("n 12 d 6", plain, Case::of(plain, 12, 6, 42), none.clone()),
        // Two views are of the case's own.
        named(
            "n 8 d 4 views 2",
            Layout { views: 1, ..plain },
            Case::of(Layout { views: 2, ..plain }, 8, 4, 7),
            none,
        ),
    ];
    for field in &found.definition.hyper {
        let Some(value) = another(field) else { continue };
        let hyper = Map::from_iter([(field.name.clone(), value.clone())]);
        // Another value may ask for another batch.
        let layout = layout(found, &hyper, limits).unwrap_or(plain);
        let (mut name, case, hyper) = named("n 12 d 6", layout, Case::of(layout, 12, 6, 42), hyper);
        let _ = write!(name, " {} {value}", field.name);
        cases.push((name, case, hyper));
    }
    for (name, case, hyper) in cases {
        let _ = writeln!(text, "case {name}");
        one(&mut text, &case, found, &hyper, limits)?;
    }
    Ok(text)
}

/// The plainest batch that the loss takes.
fn layout(found: &Found, hyper: &Map<String, Value>, limits: &Limits) -> Result<Layout> {
    Ok(probe(found, &found.resolve(hyper)?, limits)?.layout)
}

/// A case with its name, which says what isn't plain about it.
fn named(
    name: &str,
    layout: Layout,
    case: Case,
    hyper: Map<String, Value>,
) -> (String, Case, Map<String, Value>) {
    let words = layout.words().into_iter();
    let name = std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ");
    (name, case, hyper)
}

/// Two steps of one case, so that buffers show too.
fn one(
    text: &mut String,
    case: &Case,
    found: &Found,
    hyper: &Map<String, Value>,
    limits: &Limits,
) -> Result<()> {
    let device = Device::flex().autodiff();
    let mut session = probe::session(found, &found.resolve(hyper)?, limits, FloatDType::F64)?;
    for step in 1..=2 {
        let result = match case.step(&mut session, &device, FloatDType::F64) {
            Ok(result) => result,
            Err(LossError::Undefined { why, .. }) => {
                let _ = writeln!(text, "  undefined {why}");
                return Ok(());
            }
            // Another value of a hyperparameter may ask for other inputs.
            Err(_) if !hyper.is_empty() => {
                let _ = writeln!(text, "  refused");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let _ = writeln!(text, "  value.{step} {:.12e}", result.value);
        if step == 2 {
            continue;
        }
        for (name, value) in &result.terms {
            let _ = writeln!(text, "  term.{name} {value:.12e}");
        }
        for (name, gradient) in &result.gradients {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            if norm == 0.0 {
                continue;
            }
            let some = gradient.iter().step_by((gradient.len() / 5).max(1)).take(5);
            let some: Vec<String> = some.map(|g| format!("{g:.12e}")).collect();
            let _ = writeln!(text, "  gradient.{name} norm {norm:.12e} some {}", some.join(" "));
        }
        for (name, data) in &result.state {
            let norm = data.iter::<f64>().map(|x| x * x).sum::<f64>().sqrt();
            let _ = writeln!(text, "  {name} {:?} norm {norm:.12e}", data.shape().to_vec());
        }
    }
    Ok(())
}

/// A value that isn't the default, and allowed.
fn another(field: &Field) -> Option<Value> {
    match field.kind {
        Kind::Text | Kind::Unknown => None,
        // A shorter list.
        Kind::Floats | Kind::Integers | Kind::Choices => {
            let list = field.default.as_array()?;
            match list.split_last() {
                Some((_, rest)) if !rest.is_empty() => Some(json!(rest)),
                _ => None,
            }
        }
        Kind::Boolean => Some(json!(!field.default.as_bool()?)),
        Kind::Choice => {
            let other = field.choices.iter().find(|c| field.default != json!(c))?;
            Some(json!(other))
        }
        Kind::Integer => {
            let default = field.default.as_u64()?;
            let near = [default + 1, default.saturating_sub(1)];
            near.into_iter().find(|&x| field.range.contains(x as f64)).map(|x| json!(x))
        }
        Kind::Float => {
            let default = field.default.as_f64()?;
            let near =
                if default == 0.0 { [0.25, -0.25] } else { [default * 1.25, default * 0.75] };
            near.into_iter().find(|&x| field.range.contains(x)).map(|x| json!(x))
        }
    }
}

/// The lines of a pin by what they are about, in order; comments and insta's header left out.
fn lines(text: &str) -> Vec<(String, Vec<&str>)> {
    let mut body = text;
    if let Some(rest) = text.strip_prefix("---\n")
        && let Some((_, after)) = rest.split_once("\n---\n")
    {
        body = after;
    }
    let mut case = String::new();
    let mut out = Vec::new();
    for line in body.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let words: Vec<&str> = words.collect();
        if line.starts_with(' ') {
            out.push((format!("{case}, {key}"), words));
        } else if key == "hyper" {
            let name = words.first().copied().unwrap_or_default();
            out.push((format!("hyperparameter {name}"), words));
        } else {
            case = format!("{key} {}", words.join(" "));
            out.push((case.clone(), Vec::new()));
        }
    }
    out
}

/// How many lines of a pin hold numbers of a step.
pub fn numbers(text: &str) -> usize {
    lines(text)
        .iter()
        .filter(|(_, words)| words.iter().any(|word| word.parse::<f64>().is_ok()))
        .count()
}

/// What differs between two pins of a loss, a line each: where, the old value, the new one.
pub fn differences(old: &str, new: &str, tolerance: f64) -> Vec<String> {
    let (old, new) = (lines(old), lines(new));
    let by_key: BTreeMap<&str, &Vec<&str>> = new.iter().map(|(k, w)| (k.as_str(), w)).collect();
    let known: BTreeSet<&str> = old.iter().map(|(k, _)| k.as_str()).collect();
    let mut out = Vec::new();
    for (key, was) in &old {
        match by_key.get(key.as_str()) {
            None => out.push(format!("{key}: was there, is gone")),
            Some(is) => out.extend(difference(was, is, tolerance).map(|d| format!("{key}: {d}"))),
        }
    }
    let added = new.iter().filter(|(key, _)| !known.contains(key.as_str()));
    out.extend(added.map(|(key, is)| format!("{key}: is new: {}", is.join(" "))));
    out
}

fn difference(was: &[&str], is: &[&str], tolerance: f64) -> Option<String> {
    let numbers = |words: &[&str]| words.iter().map(|w| w.parse::<f64>().ok()).collect::<Vec<_>>();
    let (a, b) = (numbers(was), numbers(is));
    let largest = a.iter().chain(&b).flatten().fold(0f64, |m, x| m.max(x.abs()));
    let same = |i: usize| match (a[i], b[i]) {
        _ if was[i] == is[i] => true,
        (Some(x), Some(y)) => (x - y).abs() <= tolerance * largest,
        _ => false,
    };
    if was.len() != is.len() {
        return Some(format!("was {}, is {}", was.join(" "), is.join(" ")));
    }
    let first = (0..was.len()).find(|&i| !same(i))?;
    Some(match (a[first], b[first]) {
        (Some(x), Some(y)) => {
            let change = (y - x) / x.abs().max(f64::MIN_POSITIVE);
            let what = if first > 0 && a[first - 1].is_none() { was[first - 1] } else { "" };
            let what = if what.is_empty() { String::new() } else { format!("{what} ") };
            format!("{what}was {}, is {} (relative change {change:+.1e})", was[first], is[first])
        }
        _ => format!("was {}, is {}", was.join(" "), is.join(" ")),
    })
}

/// The pin of a built-in loss that came with this program.
pub fn builtin(loss: &str) -> Option<&'static str> {
    PINS.iter().find(|(name, _)| *name == loss).map(|(_, text)| *text)
}

/// Where a folder keeps the pin of a loss: `NAME.snapshot`, or insta's `loss_NAME.snap`.
pub fn file_in(folder: &Path, loss: &str) -> PathBuf {
    let insta = folder.join(format!("loss_{loss}.snap"));
    if insta.is_file() { insta } else { folder.join(format!("{loss}.snapshot")) }
}

/// The loss that a pin is of.
pub fn loss_of(text: &str) -> Result<&str> {
    let line = text.lines().find_map(|l| l.strip_prefix("loss "));
    match line {
        Some(name) if text.contains(TITLE) => Ok(name.trim()),
        _ => Err(Failure::new(format!(
            "it isn't a snapshot of a loss: those hold the line \"{TITLE}\"; make one with \
             `retort snapshot record`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn a_difference_names_case_old_and_new_value() {
        let old = "loss a\ncase n 2\n  value.1 1.0e0\n  gradient.target norm 2.0 some 0.5 1e-12\n";
        let new = old.replace("1.0e0", "1.5e0");
        let found = differences(old, &new, 1e-7);
        assert_eq!(found, ["case n 2, value.1: was 1.0e0, is 1.5e0 (relative change +5.0e-1)"]);
        let near = old.replace("1e-12", "2e-12");
        assert!(differences(old, &near, 1e-7).is_empty(), "against the line's largest number");
        let found = differences(old, &old.replace("0.5", "0.6"), 1e-7);
        assert_eq!(found.len(), 1);
        let found = differences(old, "loss a\ncase n 2\n  value.1 1.0e0\n", 1e-7);
        assert_eq!(found, ["case n 2, gradient.target: was there, is gone"]);
        let header = format!("---\nsource: x\n---\n{old}");
        assert!(differences(&header, old, 1e-7).is_empty(), "insta's header doesn't count");
    }
}
