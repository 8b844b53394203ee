//! Every golden case of every loss that retort has: values and gradients of the authors' code, on
//! all three load paths, in f64 (the true test of a formula) and f32 (the advised tolerances).

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

use burn::tensor::{FloatDType, TensorData};
use retort_snapshots::{Case, cpu, golden, json, load_paths, losses, tensors};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The golden files' names of inputs and hyperparameters, and retort's.
const NAMES: &[(&str, &str)] = &[
    ("t_emb", "target"),
    ("s_emb", "source"),
    ("embeddings", "target"),
    ("proxies", "param.proxies"),
    ("mrg", "margin"),
    ("w_distance", "weight_distance"),
    ("w_angle", "weight_angle"),
];

fn ours(name: &str) -> &str {
    NAMES.iter().find(|(theirs, _)| *theirs == name).map_or(name, |(_, ours)| ours)
}

/// How one comparison ended.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    worst_value: f64,
    worst_gradient: f64,
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("nan") => f64::NAN,
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        _ => value.as_f64().unwrap(),
    }
}

/// The golden case as a batch of ours.
fn case(entry: &Value, file: &BTreeMap<String, TensorData>) -> Case {
    let mut case = Case { views: 1, ..Case::default() };
    for input in entry["inputs"].as_array().unwrap() {
        let path = input["tensor"].as_str().unwrap();
        let (name, data) = (ours(path.rsplit('/').next().unwrap()), &file[path]);
        match name {
            "target" => case.target = Some(data.clone()),
            "source" => case.source = Some(data.clone()),
            "labels" => case.labels = data.iter::<i64>().collect(),
            state => {
                case.state.insert(state.to_owned(), data.clone());
            }
        }
    }
    for (name, value) in entry["hyperparameters"].as_object().unwrap() {
        match name.as_str() {
            "nb_classes" => case.classes = usize::try_from(value.as_u64().unwrap()).unwrap(),
            _ => {
                case.hyper.insert(ours(name).to_owned(), value.clone());
            }
        }
    }
    case
}

/// The largest difference over the largest expected value, rows to be left out apart.
fn compare(got: &[f64], want: &[f64], skip: &[usize], rows: usize) -> (f64, f64) {
    let width = want.len() / rows.max(1);
    let counted = |i: &usize| !skip.contains(&(i / width.max(1)));
    let largest = (0..want.len()).filter(counted).map(|i| want[i].abs()).fold(0.0, f64::max);
    let difference =
        (0..want.len()).filter(counted).map(|i| (got[i] - want[i]).abs()).fold(0.0, f64::max);
    (difference, largest)
}

/// Compares one expectation (a case's, or one of its components') with what the loss gave.
fn check(
    expected: &Value,
    skip_rows: &Value,
    got: &retort_snapshots::Result,
    file: &BTreeMap<String, TensorData>,
    exact: bool,
    ill_defined: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    let every = got.gradients.values().flatten().chain([&got.value]);
    if let Some(bad) = every.clone().find(|x| !x.is_finite()) {
        return Err(format!("a result is {bad}"));
    }
    if ill_defined {
        return Ok(());
    }
    let tolerance = &expected["tolerance"];
    let of = |key: &str| tolerance[key].as_f64().unwrap_or(0.0);
    let want = number(&expected["loss_f64"]);
    let (rtol, atol) = if exact { (1e-9, 1e-12) } else { (of("loss_rtol"), of("loss_atol")) };
    let error = (got.value - want).abs();
    tally.worst_value = tally.worst_value.max(error / want.abs().max(1e-3));
    if error > atol + rtol * want.abs() {
        return Err(format!("value {} instead of {want}", got.value));
    }
    for gradient in expected["gradients"].as_array().unwrap() {
        let theirs = gradient["wrt"].as_str().unwrap();
        let want: Vec<f64> = file[gradient["f64"].as_str().unwrap()].iter::<f64>().collect();
        let zeros = vec![0.0; want.len()];
        let got = got.gradients.get(ours(theirs)).unwrap_or(&zeros);
        let rows = gradient["shape"][0].as_u64().unwrap_or(1);
        let listed = skip_rows[theirs].as_array().into_iter().flatten();
        let skip: Vec<usize> = listed.map(|row| row.as_u64().unwrap() as usize).collect();
        let (difference, largest) = compare(got, &want, &skip, rows as usize);
        let (relative, atol) =
            if exact { (1e-8, 1e-11) } else { (of("grad_max_abs_over_max"), of("grad_atol")) };
        tally.worst_gradient = tally.worst_gradient.max(difference / largest.max(1e-6));
        if difference > atol + relative * largest {
            return Err(format!(
                "gradient of {theirs}: off by {difference:e}, largest {largest:e}"
            ));
        }
    }
    Ok(())
}

/// A case with only one of the loss's parts, for those that are sums.
fn component(case: &Case, part: &str) -> Option<Case> {
    let other = match part {
        "distance" => "weight_angle",
        "angle" => "weight_distance",
        _ => return None,
    };
    let mut case = case.clone();
    case.hyper.insert(other.to_owned(), Value::from(0.0));
    case.hyper.insert(format!("weight_{part}"), Value::from(1.0));
    Some(case)
}

#[test]
fn losses_agree_with_the_authors_code() {
    let index = json(&golden("losses.json"));
    let index = index["losses"].as_object().unwrap();
    let mut table = vec![format!(
        "{:20} {:9} {:4} {:>9} {:>12} {:>14}",
        "loss", "load path", "type", "passed", "worst value", "worst gradient"
    )];
    let mut failures = Vec::new();
    for loss in losses() {
        let Some(entry) = index.get(&loss) else {
            failures.push(format!("{loss} has no golden numbers"));
            continue;
        };
        let file = tensors(&golden(entry["file"].as_str().unwrap()));
        for (path, name) in load_paths("plugins", &loss) {
            for dtype in [FloatDType::F64, FloatDType::F32] {
                let mut tally = Tally::default();
                for entry in entry["cases"].as_array().unwrap() {
                    if let Err(why) = one(entry, &file, &name, dtype, &mut tally) {
                        tally.failed.push(format!("{loss}/{}: {why}", entry["name"]));
                    } else {
                        tally.passed += 1;
                    }
                }
                table.push(format!(
                    "{loss:20} {path:9} {:4} {:>4}/{:<4} {:>12.1e} {:>14.1e}",
                    format!("{dtype:?}").to_lowercase(),
                    tally.passed,
                    tally.passed + tally.failed.len(),
                    tally.worst_value,
                    tally.worst_gradient
                ));
                let failed = tally.failed.into_iter();
                failures.extend(failed.map(|f| format!("{path}, {dtype:?}: {f}")));
            }
        }
    }
    let known = losses();
    let rest = index.keys().filter(|name| !known.contains(name));
    table.extend(rest.map(|name| format!("{name:20} not yet")));
    println!("{}", table.join("\n"));
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn one(
    entry: &Value,
    file: &BTreeMap<String, TensorData>,
    name: &str,
    dtype: FloatDType,
    tally: &mut Tally,
) -> Result<(), String> {
    let exact = dtype == FloatDType::F64;
    let case = case(entry, file);
    let expected = &entry["expected"];
    let comparable = expected["tolerance"]["f32_comparable"].as_bool().unwrap_or(true)
        || entry["stable_form_needed"].as_bool().unwrap_or(false)
        || expected["tolerance"]["stable_form_needed"].as_bool().unwrap_or(false);
    let ill_defined = entry["kind"] == "ill_defined" || (!exact && !comparable);
    let got = case.run(name, &cpu(), dtype)?;
    let skip_rows = &entry["grad_skip_rows"];
    check(expected, skip_rows, &got, file, exact, ill_defined, tally)?;
    for (part, expected) in expected["components"].as_object().unwrap_or(&Map::new()) {
        let case = component(&case, part).ok_or(format!("component {part} is unknown here"))?;
        let got = case.run(name, &cpu(), dtype)?;
        check(expected, skip_rows, &got, file, exact, ill_defined, tally)
            .map_err(|e| format!("{part}: {e}"))?;
    }
    Ok(())
}
