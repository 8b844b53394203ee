//! Every golden case of every loss: values, gradients and buffers of the authors' code; and for losses
//! that the golden data doesn't have, those of an independent computation (`snapshots/references`), which
//! also has every choice of every loss, and embeddings of 512 dimensions. On all three load paths, in f64
//! (the true test of a formula) and f32 (the advised tolerances).

use burn::tensor::{FloatDType, TensorData};
use retort_core::Limits;
use retort_host::loss::check::words;
use retort_host::plugin::registry::Registry;
use retort_sdk::schema::Field;
use retort_snapshots::{Case, cpu, golden, json, load_paths, losses, tensors, values, workspace};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

type File = BTreeMap<String, TensorData>;

/// The golden files' names, and retort's: losses, inputs, state, hyperparameters. A number in a name
/// (`t_feats.0`) is kept; a call's suffix (`_call2`) is cut off before.
const NAMES: &[(&str, &str)] = &[
    ("attention_transfer", "attention"),
    ("npair", "n_pair"),
    ("t_emb", "target"),
    ("s_emb", "source"),
    ("embeddings", "target"),
    ("t_feats", "target_features"),
    ("s_feats", "source_features"),
    ("t_feat", "target_features.0"),
    ("s_feat", "source_features.0"),
    ("index", "ids"),
    ("contrast_idx", "random.0"),
    ("proxies", "param.proxies"),
    ("classifier_weight", "param.classifier.weight"),
    ("classifier_bias", "param.classifier.bias"),
    ("embed_t_weight", "param.embed_target.weight"),
    ("embed_t_bias", "param.embed_target.bias"),
    ("embed_s_weight", "param.embed_source.weight"),
    ("embed_s_bias", "param.embed_source.bias"),
    ("memory_v1", "buffer.memory_target"),
    ("memory_v2", "buffer.memory_source"),
    ("z_v1", "buffer.z_target"),
    ("z_v2", "buffer.z_source"),
    ("mrg", "margin"),
    ("w_distance", "weight_distance"),
    ("w_angle", "weight_angle"),
    ("triplet_factor", "triplet_weight"),
    ("feat_dim", "dim"),
    ("K", "negatives"),
    ("T", "temperature"),
];

fn ours(name: &str) -> String {
    let name = name.split_once("_call").map_or(name, |(name, _)| name);
    if let Some(level) = name.strip_prefix("weights.") {
        return format!("param.transform.{level}.weight");
    }
    let (stem, level) = name.split_once('.').map_or((name, ""), |(stem, level)| (stem, level));
    let known = NAMES.iter().find(|(theirs, _)| *theirs == stem);
    let stem = known.map_or(stem, |(_, ours)| ours);
    if level.is_empty() { stem.to_owned() } else { format!("{stem}.{level}") }
}

/// How the cases of one loss ended.
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

/// The call that an input belongs to, for losses that keep a memory from call to call.
fn call_of(name: &str) -> Option<&str> {
    name.split_once("_call").map(|(_, call)| call)
}

/// The golden case as a batch of ours. `call` picks the inputs of cases with several.
fn case(loss: &str, entry: &Value, file: &File, call: &str) -> Case {
    let mut case = Case { views: 1, ..Case::default() };
    for input in entry["inputs"].as_array().unwrap() {
        let path = input["tensor"].as_str().unwrap();
        let theirs = path.rsplit('/').next().unwrap();
        if call_of(theirs).is_some_and(|of| of != call) {
            continue;
        }
        put(&mut case, &ours(theirs), file[path].clone());
    }
    for (name, value) in entry["hyperparameters"].as_object().unwrap() {
        let count = || usize::try_from(value.as_u64().unwrap()).unwrap();
        match (loss, name.as_str()) {
            (_, "nb_classes") => case.classes = count(),
            (_, "n_data") => case.samples = count(),
            (_, "views") => case.views = count(),
            (_, "levels" | "eps") => {}
            // The loss has a margin of its own for either kind of pair.
            ("contrastive", "margin") => _ = case.hyper.insert("neg_margin".into(), value.clone()),
            _ => _ = case.hyper.insert(ours(name), value.clone()),
        }
    }
    if loss == "relaxed_ms" {
        case.views = 2; // the reference's code takes any batch for two views
    }
    case
}

fn put(case: &mut Case, name: &str, data: TensorData) {
    match name {
        "target" => case.target = Some(data),
        "source" => case.source = Some(data),
        "labels" => case.labels = data.iter::<i64>().collect(),
        "ids" => case.ids = data.iter::<i64>().collect(),
        _ if name.starts_with("target_features.") => case.target_features.push(data),
        _ if name.starts_with("source_features.") => case.source_features.push(data),
        _ if name.starts_with("random.") => case.draws.push(data),
        state => _ = case.state.insert(state.to_owned(), data),
    }
}

/// The largest difference and the largest expected value, rows to be left out apart.
fn compare(got: &[f64], want: &[f64], skip: &[usize], rows: usize) -> (f64, f64) {
    assert_eq!(got.len(), want.len());
    let width = want.len() / rows.max(1);
    let counted = |i: &usize| !skip.contains(&(i / width.max(1)));
    let largest = (0..want.len()).filter(counted).map(|i| want[i].abs()).fold(0.0, f64::max);
    let difference =
        (0..want.len()).filter(counted).map(|i| (got[i] - want[i]).abs()).fold(0.0, f64::max);
    (difference, largest)
}

/// How far a result may be off.
struct Allowed {
    value: (f64, f64),
    gradient: (f64, f64),
    /// Only that it is finite matters.
    finite_only: bool,
}

impl Allowed {
    const EXACT: Allowed =
        Allowed { value: (1e-9, 1e-12), gradient: (1e-8, 1e-11), finite_only: false };

    fn new(entry: &Value, expected: &Value, dtype: FloatDType) -> Self {
        let tolerance = &expected["tolerance"];
        let of = |key: &str| tolerance[key].as_f64().unwrap_or(0.0);
        let stable = [&entry["stable_form_needed"], &tolerance["stable_form_needed"]];
        let comparable = tolerance["f32_comparable"].as_bool().unwrap_or(true)
            || stable.iter().any(|s| s.as_bool() == Some(true));
        let finite_only = entry["kind"] == "ill_defined";
        match dtype {
            FloatDType::F64 => Allowed { finite_only, ..Allowed::EXACT },
            _ => Allowed {
                value: (of("loss_rtol"), of("loss_atol")),
                gradient: (of("grad_max_abs_over_max"), of("grad_atol")),
                finite_only: finite_only || !comparable,
            },
        }
    }
}

/// Compares one expectation (a case's, or one of its components') with what the loss gave.
fn check(
    entry: &Value,
    expected: &Value,
    got: &retort_snapshots::Outcome,
    file: &File,
    call: &str,
    dtype: FloatDType,
    tally: &mut Tally,
) -> Result<(), String> {
    let every = got.gradients.values().flatten().chain([&got.value]);
    if let Some(bad) = every.clone().find(|x| !x.is_finite()) {
        return Err(format!("a result is {bad}"));
    }
    let allowed = Allowed::new(entry, expected, dtype);
    if allowed.finite_only {
        return Ok(());
    }
    value(got.value, number(&expected["loss_f64"]), &allowed, tally)?;
    for wanted in expected["gradients"].as_array().unwrap() {
        let theirs = wanted["wrt"].as_str().unwrap();
        if call_of(theirs).is_some_and(|of| of != call) {
            continue;
        }
        let want: Vec<f64> = file[wanted["f64"].as_str().unwrap()].iter::<f64>().collect();
        let rows = wanted["shape"][0].as_u64().unwrap_or(1) as usize;
        let listed = entry["grad_skip_rows"][theirs].as_array().into_iter().flatten();
        let skip: Vec<usize> = listed.map(|row| row.as_u64().unwrap() as usize).collect();
        gradient(&ours(theirs), got, &want, &skip, rows, &allowed, tally)?;
    }
    Ok(())
}

fn value(got: f64, want: f64, allowed: &Allowed, tally: &mut Tally) -> Result<(), String> {
    let (relative, absolute) = allowed.value;
    let error = (got - want).abs();
    tally.worst_value = tally.worst_value.max(error / want.abs().max(1e-3));
    if error > absolute + relative * want.abs() {
        return Err(format!("value {got} instead of {want}"));
    }
    Ok(())
}

fn gradient(
    name: &str,
    got: &retort_snapshots::Outcome,
    want: &[f64],
    skip: &[usize],
    rows: usize,
    allowed: &Allowed,
    tally: &mut Tally,
) -> Result<(), String> {
    let zeros = vec![0.0; want.len()];
    let got = got.gradients.get(name).unwrap_or(&zeros);
    let (difference, largest) = compare(got, want, skip, rows);
    let (relative, absolute) = allowed.gradient;
    tally.worst_gradient = tally.worst_gradient.max(difference / largest.max(1e-6));
    if difference > absolute + relative * largest {
        return Err(format!("gradient of {name}: off by {difference:e}, largest {largest:e}"));
    }
    Ok(())
}

/// `a - b`, of values and gradients.
fn minus(
    a: &retort_snapshots::Outcome,
    b: &retort_snapshots::Outcome,
) -> retort_snapshots::Outcome {
    let mut out = a.clone();
    out.value -= b.value;
    for (name, gradient) in &mut out.gradients {
        gradient.iter_mut().zip(&b.gradients[name]).for_each(|(x, y)| *x -= y);
    }
    out
}

/// One of the parts that a loss is the sum of.
fn component(
    part: &str,
    case: &Case,
    name: &str,
    dtype: FloatDType,
) -> Result<retort_snapshots::Outcome, String> {
    let with = |changes: &[(&str, f64)]| {
        let mut case = case.clone();
        for &(key, value) in changes {
            case.hyper.insert(key.to_owned(), Value::from(value));
        }
        case.run(name, &cpu(), dtype)
    };
    match part {
        "distance" => with(&[("weight_distance", 1.0), ("weight_angle", 0.0)]),
        "angle" => with(&[("weight_distance", 0.0), ("weight_angle", 1.0)]),
        "rank" => with(&[("triplet_weight", 0.0)]),
        "triplet" => {
            Ok(minus(&with(&[("triplet_weight", 1.0)])?, &with(&[("triplet_weight", 0.0)])?))
        }
        _ => Err(format!("component {part} is unknown here")),
    }
}

/// The memory after a call, where the file tells it.
fn memory(
    entry: &Value,
    call: &str,
    got: &retort_snapshots::Outcome,
    file: &File,
    dtype: FloatDType,
) -> Result<(), String> {
    let extra = &entry["extra"];
    let tolerance = if dtype == FloatDType::F64 { 1e-9 } else { 1e-4 };
    let Some(rows) = extra[format!("rows_after_call{call}")].as_str() else { return Ok(()) };
    let rows: Vec<i64> = file[rows].iter::<i64>().collect();
    for theirs in ["memory_v1", "memory_v2"] {
        let key = ours(theirs);
        let kept: Vec<f64> = got.state[&key].iter::<f64>().collect();
        let width = got.state[&key].shape()[1];
        let path = extra[format!("{theirs}_rows_after_call{call}")].as_str().unwrap();
        let want: Vec<f64> = file[path].iter::<f64>().collect();
        let got: Vec<f64> =
            rows.iter().flat_map(|&row| &kept[row as usize * width..][..width]).copied().collect();
        let (difference, _) = compare(&got, &want, &[], 1);
        if difference > tolerance {
            return Err(format!("{key} after call {call}: off by {difference:e}"));
        }
    }
    for theirs in ["z_v1", "z_v2"] {
        let want = number(&extra[format!("{theirs}_after_call{call}")]);
        let got = got.state[&ours(theirs)].iter::<f64>().next().unwrap();
        if (got - want).abs() > tolerance * want.abs() {
            return Err(format!("{theirs} after call {call}: {got} instead of {want}"));
        }
    }
    Ok(())
}

/// Losses that compare positives with negatives. On a batch that lacks either, the authors' library
/// gives 0 without gradient, as if everything were learnt, and retort says that they aren't defined.
const COMPARING: [&str; 3] = ["multi_similarity", "triplet", "n_pair"];

fn lacks_pairs(labels: &[i64]) -> bool {
    let classes: BTreeSet<&i64> = labels.iter().collect();
    classes.len() == 1 || classes.len() == labels.len()
}

/// The golden zero means nothing, and retort refuses the batch.
fn undefined(
    first: &Case,
    expected: &Value,
    file: &File,
    name: &str,
    dtype: FloatDType,
) -> Result<(), String> {
    let mut gradients = expected["gradients"].as_array().unwrap().iter();
    let nothing = |g: &Value| file[g["f64"].as_str().unwrap()].iter::<f64>().all(|x| x == 0.0);
    assert!(number(&expected["loss_f64"]) == 0.0 && gradients.all(nothing), "something to learn");
    match first.run(name, &cpu(), dtype) {
        Err(why) if why.contains("isn't defined on this batch") => Ok(()),
        Err(why) => Err(why),
        Ok(got) => Err(format!("it gives {}, but the batch lacks pairs", got.value)),
    }
}

fn one(
    loss: &str,
    part: Option<&str>,
    entry: &Value,
    file: &File,
    name: &str,
    dtype: FloatDType,
    tally: &mut Tally,
) -> Result<(), String> {
    let first = case(loss, entry, file, "1");
    let expected = &entry["expected"];
    let components = expected["components"].as_object().cloned().unwrap_or_default();
    if let Some(part) = part {
        // A loss of its own that is a part of another: without the other's hyperparameters.
        let case = Case { hyper: Map::new(), ..first };
        return check(
            entry,
            &components[part],
            &case.run(name, &cpu(), dtype)?,
            file,
            "1",
            dtype,
            tally,
        );
    }
    if COMPARING.contains(&loss) && lacks_pairs(&first.labels) {
        return undefined(&first, expected, file, name, dtype);
    }
    let got = first.run(name, &cpu(), dtype)?;
    check(entry, expected, &got, file, "1", dtype, tally)?;
    memory(entry, "1", &got, file, dtype)?;
    let mut state = got.state;
    for (part, expected) in &components {
        let got = match part.strip_prefix("call") {
            None => component(part, &first, name, dtype)?,
            Some(call) => {
                let next = Case { state, ..case(loss, entry, file, call) };
                let got = next.run(name, &cpu(), dtype)?;
                state = got.state.clone();
                memory(entry, call, &got, file, dtype)?;
                got
            }
        };
        let call = part.strip_prefix("call").unwrap_or("1");
        check(entry, expected, &got, file, call, dtype, tally)
            .map_err(|e| format!("{part}: {e}"))?;
    }
    Ok(())
}

/// A tensor of nested JSON lists.
fn nested(value: &Value) -> TensorData {
    fn walk(value: &Value, depth: usize, shape: &mut Vec<usize>, out: &mut Vec<f64>) {
        if let Some(list) = value.as_array() {
            if shape.len() == depth {
                shape.push(list.len());
            }
            for v in list {
                walk(v, depth + 1, shape, out);
            }
        } else {
            out.push(value.as_f64().unwrap());
        }
    }
    let (mut shape, mut out) = (Vec::new(), Vec::new());
    walk(value, 0, &mut shape, &mut out);
    TensorData::new(out, shape)
}

fn counts(list: &Value) -> Vec<usize> {
    list.as_array().into_iter().flatten().map(|x| x.as_u64().unwrap() as usize).collect()
}

/// A step's inputs, which are given, or formulas: `[salt, scale, shape…]` on top of an example.
fn inputs(step: &Value, views: usize) -> Case {
    let mut case = match counts(&step["example"])[..] {
        [n, d, salt] => Case::example(n, d, salt as u64).with_views(views),
        _ => Case { views, ..Case::default() },
    };
    let formulas = step["formulas"].as_object().into_iter().flatten();
    if formulas.clone().any(|(name, _)| name.starts_with("target_features")) {
        case.target_features.clear();
        case.source_features.clear();
    }
    for (name, formula) in formulas {
        let [salt, scale, shape @ ..] = &formula.as_array().unwrap()[..] else { panic!("{name}") };
        let shape: Vec<usize> = shape.iter().map(|d| d.as_u64().unwrap() as usize).collect();
        let scale = scale.as_f64().unwrap();
        let drawn = values(&shape, salt.as_u64().unwrap());
        let drawn: Vec<f64> = drawn.iter::<f64>().map(|x| x * scale).collect();
        put(&mut case, name, TensorData::new(drawn, shape));
    }
    for (name, value) in step["inputs"].as_object().into_iter().flatten() {
        put(&mut case, name, nested(value));
    }
    case
}

/// A gradient by its norm, its products with four fixed directions, and a few of its elements. What is
/// allowed counts against the norm.
fn summary(
    name: &str,
    got: &[f64],
    want: &Value,
    allowed: &Allowed,
    tally: &mut Tally,
) -> Result<(), String> {
    let norm = number(&want["norm"]);
    let dot = |salt: u64| {
        let direction = values(&[got.len()], salt);
        got.iter().zip(direction.iter::<f64>()).map(|(g, v)| g * v).sum::<f64>()
    };
    let mut numbers = vec![(got.iter().map(|g| g * g).sum::<f64>().sqrt(), norm)];
    let along = want["along"].as_array().unwrap();
    numbers.extend(along.iter().enumerate().map(|(k, w)| (dot(900 + k as u64), number(w))));
    let some = got.iter().step_by((got.len() / 5).max(1));
    numbers.extend(some.zip(want["some"].as_array().unwrap()).map(|(g, w)| (*g, number(w))));
    let off = numbers.iter().map(|(got, want)| (got - want).abs()).fold(0.0, f64::max);
    let (relative, absolute) = allowed.gradient;
    tally.worst_gradient = tally.worst_gradient.max(off / norm.max(1e-6));
    if off > absolute + relative * norm {
        return Err(format!("gradient of {name}: off by {off:e}, norm {norm:e}"));
    }
    Ok(())
}

/// A case of `snapshots/references`: names are retort's, and several steps may follow each other.
fn reference(
    entry: &Value,
    name: &str,
    dtype: FloatDType,
    tally: &mut Tally,
) -> Result<(), String> {
    let allowed = match dtype {
        FloatDType::F64 => Allowed::EXACT,
        _ => Allowed { value: (2e-5, 1e-6), gradient: (2e-4, 1e-6), finite_only: false },
    };
    let count = |key: &str| entry[key].as_u64().unwrap_or(0) as usize;
    let mut state = BTreeMap::new();
    for step in entry["steps"].as_array().unwrap() {
        let given = inputs(step, count("views").max(1));
        let mut kept = std::mem::take(&mut state);
        kept.extend(given.state.clone());
        let case = Case {
            classes: count("classes"),
            samples: count("samples"),
            hyper: entry["hyperparameters"].as_object().unwrap().clone(),
            state: kept,
            ..given
        };
        let got = case.run(name, &cpu(), dtype)?;
        value(got.value, number(&step["loss"]), &allowed, tally)?;
        let gradients = step["gradients"].as_object().unwrap();
        for (name, want) in gradients {
            if want.is_object() {
                summary(name, &got.gradients[name], want, &allowed, tally)?;
                continue;
            }
            let want: Vec<f64> = nested(want).iter::<f64>().collect();
            gradient(name, &got, &want, &[], 1, &allowed, tally)?;
        }
        let mut others = got.gradients.iter().filter(|(name, _)| !gradients.contains_key(*name));
        if let Some((name, _)) = others.find(|(_, g)| g.iter().any(|&g| g != 0.0)) {
            return Err(format!("it has a gradient of {name}, and should have none"));
        }
        for (name, want) in step["after"].as_object().into_iter().flatten() {
            let want: Vec<f64> = nested(want).iter::<f64>().collect();
            let got: Vec<f64> = got.state[name].iter::<f64>().collect();
            let (difference, largest) = compare(&got, &want, &[], 1);
            if difference > allowed.gradient.1 + allowed.gradient.0 * largest {
                return Err(format!("{name} after the step: off by {difference:e}"));
            }
        }
        state = got.state;
    }
    Ok(())
}

/// Every word of every choice, and every loss, has a reference on small embeddings and on 512 dimensions.
#[test]
fn every_choice_has_a_reference() {
    let references = json(&workspace().join("snapshots/references/choices.json"));
    let mut registry = Registry::new(Limits::default()).unwrap();
    for loss in losses() {
        let cases = references["losses"][&loss]["cases"].as_array();
        let cases = cases.unwrap_or_else(|| panic!("{loss} has no case in choices.json"));
        let wide = |case: &Value| {
            let first = &case["steps"][0];
            let formulas = first["formulas"].as_object().into_iter().flatten();
            let mut shapes = formulas.map(|(_, formula)| counts_of_shape(formula));
            first["example"][1] == 512 || shapes.any(|shape| shape.contains(&512))
        };
        let has = |field: Option<(&Field, &Value)>, is_wide: bool| {
            let with = |case: &&Value| {
                field.is_none_or(|(field, word)| {
                    case["hyperparameters"].get(&field.name).unwrap_or(&field.default) == word
                })
            };
            cases.iter().filter(with).any(|case| wide(case) == is_wide)
        };
        let definition = registry.find(&loss).unwrap().definition.clone();
        for is_wide in [false, true] {
            assert!(has(None, is_wide), "{loss}, 512 dimensions: {is_wide}");
            for field in &definition.hyper {
                for word in words(field) {
                    let name = &field.name;
                    let found = has(Some((field, &word)), is_wide);
                    assert!(found, "{loss}, {name} = {word}, 512 dimensions: {is_wide}");
                }
            }
        }
    }
}

fn counts_of_shape(formula: &Value) -> Vec<usize> {
    let numbers = formula.as_array().into_iter().flatten().skip(2);
    numbers.map(|d| d.as_u64().unwrap() as usize).collect()
}

#[test]
fn losses_agree_with_the_authors_code() {
    let index = json(&golden("losses.json"));
    let index = index["losses"].as_object().unwrap();
    let references = ["losses", "choices"]
        .map(|file| json(&workspace().join(format!("snapshots/references/{file}.json"))));
    let mut table = vec![format!(
        "{:22} {:9} {:4} {:>9} {:>12} {:>14}",
        "loss", "load path", "type", "passed", "worst value", "worst gradient"
    )];
    let (mut failures, mut cases) = (Vec::new(), 0);
    for loss in losses() {
        let whole = index.iter().find(|(theirs, _)| ours(theirs) == loss).map(|(_, e)| (None, e));
        let part = index.iter().find_map(|(theirs, entry)| {
            let part = loss.strip_prefix(&ours(theirs))?.strip_prefix('_')?;
            let has = entry["components"].as_object().is_some_and(|c| c.contains_key(part));
            has.then_some((Some(part), entry))
        });
        let golden_cases = whole.or(part);
        let file = golden_cases.map(|(_, e)| tensors(&golden(e["file"].as_str().unwrap())));
        let listed = references.iter().filter_map(|file| file["losses"][&loss]["cases"].as_array());
        let listed: Vec<&Value> = listed.flatten().collect();
        if golden_cases.is_none() && listed.is_empty() {
            failures.push(format!("{loss} has neither golden nor independent reference numbers"));
            continue;
        }
        for (path, name) in load_paths("plugins", &loss) {
            for dtype in [FloatDType::F64, FloatDType::F32] {
                let mut tally = Tally::default();
                let done =
                    |entry: &Value, result: Result<(), String>, tally: &mut Tally| match result {
                        Ok(()) => tally.passed += 1,
                        Err(why) => tally.failed.push(format!("{loss}/{}: {why}", entry["name"])),
                    };
                if let (Some((part, golden)), Some(file)) = (golden_cases, &file) {
                    for entry in golden["cases"].as_array().unwrap() {
                        let result = one(&loss, part, entry, file, &name, dtype, &mut tally);
                        done(entry, result, &mut tally);
                    }
                }
                for &entry in &listed {
                    let result = reference(entry, &name, dtype, &mut tally);
                    done(entry, result, &mut tally);
                }
                let total = tally.passed + tally.failed.len();
                table.push(format!(
                    "{loss:22} {path:9} {:4} {:>4}/{total:<4} {:>12.1e} {:>14.1e}",
                    format!("{dtype:?}").to_lowercase(),
                    tally.passed,
                    tally.worst_value,
                    tally.worst_gradient
                ));
                assert!(total > 0, "{loss} has no cases");
                cases += total;
                failures
                    .extend(tally.failed.into_iter().map(|f| format!("{path}, {dtype:?}: {f}")));
            }
        }
    }
    table.push(format!("{cases} comparisons"));
    println!("{}", table.join("\n"));
    let known = losses();
    let missing = index.keys().filter(|theirs| !known.contains(&ours(theirs)));
    failures.extend(
        missing.map(|name| format!("{name} has golden numbers, but retort has no such loss")),
    );
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
