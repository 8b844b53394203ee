//! The second pack, `plugins/recent`, against the numbers of its losses' authors: every case of the folder
//! `golden-next`, values and gradients in 64 bits, as a library and as a component; and, at night, `retort loss
//! check` of each loss.

use burn::tensor::{FloatDType, TensorData};
use retort_core::Limits;
use retort_host::loss::check::{Status, Subject, check, to_json};
use retort_host::loss::probe;
use retort_host::plugin::registry::{Found, Registry};
use retort_snapshots::{Case, Outcome, built, cpu, golden_next, json, tensors};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The crate, as its user names it to `retort plugin build`.
const PACK: &str = "plugins/recent";

/// The pack's losses in one of the forms that it is built in. (Two packs can't be linked into one program:
/// their entries have one name.)
fn pack(form: Option<PathBuf>) -> BTreeMap<String, Found> {
    let mut registry = Registry::new(Limits::default()).unwrap();
    let losses = registry.find_all(form.unwrap().to_str().unwrap()).unwrap();
    losses.into_iter().map(|found| (found.definition.name.clone(), found)).collect()
}

/// What a case's file has as one text, `4,8`, is a hyperparameter for each number here: a loss's
/// hyperparameters are no lists. Jasper's last width is the full one, which always counts.
fn hyper(loss: &str, theirs: &Map<String, Value>) -> Map<String, Value> {
    let mut ours = Map::new();
    for (name, value) in theirs {
        if !["dims", "widths"].contains(&name.as_str()) {
            ours.insert(name.clone(), value.clone());
            continue;
        }
        let mut widths: Vec<u64> =
            value.as_str().unwrap().split(',').map(|width| width.parse().unwrap()).collect();
        if loss == "jasper" {
            widths.pop();
        }
        for (k, width) in widths.into_iter().enumerate() {
            ours.insert(format!("width_{}", k + 1), width.into());
        }
    }
    ours
}

/// The case's batch, and what is expected: gradients and buffers after the step, by their names.
fn case(entry: &Value, stem: &str) -> (Case, BTreeMap<String, TensorData>) {
    let read = |end: &str| tensors(&golden_next(&format!("{stem}{end}.safetensors")));
    let full = entry["gradients"].as_str().is_some_and(|said| said.contains(".full."));
    let mut wanted = BTreeMap::new();
    if full {
        wanted.extend(read(".full"));
        wanted.retain(|name, _| name.starts_with("grad."));
    }
    let mut case = Case { views: 1, ..Case::default() };
    for (name, data) in read("") {
        let integers = || data.iter::<i64>().collect::<Vec<i64>>();
        match name.as_str() {
            "expected.loss" => {}
            "target" => case.target = Some(data),
            "source" => case.source = Some(data),
            "labels" => case.labels = integers(),
            "ids" => case.ids = integers(),
            _ if name.starts_with("target_features.") => case.target_features.push(data),
            _ if name.starts_with("source_features.") => case.source_features.push(data),
            _ if name.starts_with("random.") => case.draws.push(data),
            _ if name.starts_with("param.") || name.starts_with("buffer.") => {
                case.state.insert(name, data);
            }
            _ => match name.strip_prefix("expected.") {
                Some(name) => _ = wanted.insert(name.to_owned(), data),
                None => panic!("{stem}: {name} is neither an input nor expected"),
            },
        }
    }
    let count = |key: &str| [&entry["args"][key], &entry[key]].into_iter().find_map(Value::as_u64);
    let highest = |list: &[i64]| list.iter().max().map_or(0, |&most| most as u64 + 1);
    case.classes = count("classes").unwrap_or_else(|| highest(&case.labels)) as usize;
    case.samples = highest(&case.ids) as usize;
    case.views = count("views").unwrap_or(1) as usize;
    case.hyper = hyper(entry["loss"].as_str().unwrap(), entry["hyper"].as_object().unwrap());
    (case, wanted)
}

fn run(found: &Found, case: &Case) -> Result<Outcome, String> {
    let hyper = found.resolve(&case.hyper).map_err(|e| e.to_string())?;
    let limits = Limits::default();
    let session = probe::session(found, &hyper, &limits, FloatDType::F64);
    let mut session = session.map_err(|e| e.to_string())?;
    session.load_state(case.state.clone()).map_err(|e| e.to_string())?;
    case.step(&mut session, &cpu(), FloatDType::F64).map_err(|e| e.to_string())
}

/// How far a number may be off, relative to the largest of its tensor.
fn allowed(entry: &Value, stem: &str) -> f64 {
    match stem {
        // Computed with torch's cdist, which takes differences of products at this size: the distance of
        // a sample to itself is 1e-8. `stml_exact` has the same batches with exact distances, to 1e-9.
        "stml.norm.large" | "stml.raw.large" => 1e-8,
        _ => entry["tolerance"].as_f64().unwrap_or(1e-9),
    }
}

/// Gradients that cancel to nothing, such as those of a bias before distances, are rounding in both.
const NOTHING: f64 = 1e-12;

fn off(got: &[f64], want: &[f64], relative: f64) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{} numbers instead of {}", got.len(), want.len()));
    }
    let largest = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let differences = got.iter().zip(want).map(|(a, b)| (a - b).abs());
    // `max` would drop a NaN.
    let worst =
        differences.fold(0.0, |worst: f64, x| if x > worst || x.is_nan() { x } else { worst });
    if worst <= relative * largest + NOTHING {
        Ok(worst / largest.max(1e-3))
    } else {
        Err(format!("off by {worst:e}, where the largest number is {largest:e}"))
    }
}

/// The worst errors of value and gradients, relative.
fn compare(found: &Found, entry: &Value, stem: &str) -> Result<(f64, f64), String> {
    let (case, wanted) = case(entry, stem);
    let listed = [&entry["grads"], &entry["gradients"]];
    for name in listed.into_iter().filter_map(Value::as_array).flatten() {
        let name = format!("grad.{}", name.as_str().unwrap());
        assert!(wanted.contains_key(&name), "{stem}: the file lacks {name}");
    }
    assert!(wanted.contains_key("grad.target"), "{stem}: the file has no gradient of the target");
    let got = run(found, &case)?;
    let relative = allowed(entry, stem);
    let value = off(&[got.value], &[entry["value"].as_f64().unwrap()], relative);
    let mut errors = (value.map_err(|why| format!("the value {} is {why}", got.value))?, 0.0);
    for (name, data) in wanted {
        let want: Vec<f64> = data.iter::<f64>().collect();
        let ours: Vec<f64> = match name.strip_prefix("grad.") {
            Some(of) => {
                got.gradients.get(of).ok_or(format!("there is no gradient of {of}"))?.clone()
            }
            None => {
                got.state.get(&name).ok_or(format!("there is no {name}"))?.iter::<f64>().collect()
            }
        };
        let error = off(&ours, &want, relative).map_err(|why| format!("{name} is {why}"))?;
        errors.1 = f64::max(errors.1, error);
    }
    Ok(errors)
}

/// The cases of the folder: every JSON file of it.
fn stems(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let mut stems: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
    stems.sort();
    stems
}

/// Tries every case, and says the worst errors of each loss.
fn every_case(form: Option<PathBuf>) {
    let (pack, stems) = (pack(form), stems(&golden_next("")));
    assert!(stems.len() >= 120, "only {} cases", stems.len());
    let (mut worst, mut failed) = (BTreeMap::<&str, (f64, f64)>::new(), Vec::new());
    for stem in &stems {
        let entry = json(&golden_next(&format!("{stem}.json")));
        let loss = entry["loss"].as_str().unwrap();
        let Some((loss, found)) = pack.get_key_value(loss) else {
            failed.push(format!("{stem}: the pack has no {loss}"));
            continue;
        };
        match compare(found, &entry, stem) {
            Ok((value, gradient)) => {
                let most = worst.entry(loss).or_default();
                *most = (most.0.max(value), most.1.max(gradient));
            }
            Err(why) => failed.push(format!("{stem}: {why}")),
        }
    }
    for (loss, (value, gradient)) in &worst {
        println!("{loss}: value {value:.1e}, gradient {gradient:.1e}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let tried: BTreeSet<&str> = worst.into_keys().collect();
    let all: BTreeSet<&str> = pack.keys().map(String::as_str).collect();
    assert_eq!(tried, all, "losses without a case");
}

#[test]
fn every_case_has_the_numbers_of_the_authors_in_a_library() {
    every_case(built(PACK).native);
}

#[test]
fn every_case_has_the_numbers_of_the_authors_in_a_component() {
    every_case(built(PACK).wasm);
}

#[test]
#[ignore = "minutes: .ci/nightly runs it"]
fn every_loss_passes_the_check() {
    let (native, mut wasm) = (pack(built(PACK).native), pack(built(PACK).wasm));
    let subject = |(name, found): (String, Found)| {
        let hyper = found.resolve(&Map::new()).unwrap();
        let component = wasm.remove(&name).into_iter().collect();
        Subject::new(found, hyper, Limits::default()).against(component, None)
    };
    let subjects: Vec<Subject> = native.into_iter().map(subject).collect();
    let mut exempt = Vec::new();
    for (subject, verdicts) in subjects.iter().zip(check(&subjects, |_, _| ())) {
        let loss = &subject.found.definition.name;
        for verdict in &verdicts {
            assert_ne!(verdict.status, Status::Fails, "{loss}: {:#}", to_json(&verdicts));
            if verdict.status == Status::Exempt {
                exempt.push(format!("{loss} {}", verdict.property));
            }
        }
    }
    assert_eq!(exempt, ["hier order", "jasper scaling"]);
}
