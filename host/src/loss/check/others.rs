//! Determinism, load paths, cost, and state that appears late.

use super::{Property, Status, Subject, Tried, Verdict, cpu};
use crate::loss::case::{Case, Outcome};
use crate::plugin::registry::Found;
use burn::tensor::FloatDType;
use retort_core::LossError;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Everything that a step gave, bit for bit.
fn bits(outcome: &Outcome) -> BTreeMap<String, Vec<u64>> {
    let mut out: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    out.insert("value".to_owned(), vec![outcome.value.to_bits()]);
    for (name, value) in &outcome.terms {
        out.insert(format!("term {name}"), vec![value.to_bits()]);
    }
    for (name, gradient) in &outcome.gradients {
        let gradient = gradient.iter().map(|g| g.to_bits()).collect();
        out.insert(format!("gradient of {name}"), gradient);
    }
    for (name, data) in &outcome.state {
        out.insert(name.clone(), data.iter::<f64>().map(f64::to_bits).collect());
    }
    out
}

fn first_difference(a: &Outcome, b: &Outcome) -> Option<String> {
    let (a, b) = (bits(a), bits(b));
    let differs = |name: &&String| a.get(*name) != b.get(*name);
    a.keys().chain(b.keys()).find(differs).cloned()
}

pub fn determinism(subject: &Subject) -> Verdict {
    let mut tried = 0;
    for (n, d) in [(3, 2), (6, 4), (33, 16)] {
        let case = subject.case(n, d, 3);
        let other = subject.case(n + 1, d, 4);
        let first = match subject.run(&case, FloatDType::F32) {
            Tried::Gave(outcome) => outcome,
            Tried::Undefined(_) => continue,
            Tried::Broke(why) => return Verdict::fails(Property::Determinism, why, &case),
        };
        tried += 1;
        let again = subject.run(&case, FloatDType::F32);
        let elsewhere = std::thread::scope(|scope| {
            scope.spawn(|| subject.run(&case, FloatDType::F32)).join().ok()
        });
        for (when, outcome) in [("run twice", Some(again)), ("in another thread", elsewhere)] {
            let Some(Tried::Gave(outcome)) = outcome else {
                return Verdict::fails(Property::Determinism, format!("{when}, it failed"), &case);
            };
            if let Some(what) = first_difference(&first, &outcome) {
                return Verdict::fails(
                    Property::Determinism,
                    format!("{when}, {what} differs"),
                    &case,
                );
            }
        }
        // A loss is a function of the step: what ran in the same instance before must not show.
        let mixed = subject.session(FloatDType::F32).and_then(|mut session| {
            let _ = other.step(&mut session, &cpu(), FloatDType::F32);
            session.restart();
            case.step(&mut session, &cpu(), FloatDType::F32)
        });
        match mixed {
            Ok(outcome) => {
                if let Some(what) = first_difference(&first, &outcome) {
                    let why = format!("after another batch in the same instance, {what} differs");
                    return Verdict::fails(Property::Determinism, why, &case);
                }
            }
            Err(e) => return Verdict::fails(Property::Determinism, e.to_string(), &case),
        }
    }
    let detail = format!("{tried} shapes: again, in another thread, after another batch");
    Verdict::new(Property::Determinism, Status::Holds, detail)
}

pub fn load_path(subject: &Subject) -> Verdict {
    if subject.others.is_empty() {
        let how = "no other form of it given: `retort plugin build DIR` makes both, --with FILE names one";
        return Verdict::new(Property::LoadPath, Status::Unchecked, how);
    }
    let run = |found: &Found, case: &Case, dtype| -> Result<Outcome, LossError> {
        let mut session = subject.open(found, dtype)?;
        case.step(&mut session, &cpu(), dtype)?;
        case.step(&mut session, &cpu(), dtype)
    };
    let mut tried = 0;
    for (n, d) in [(3, 3), (6, 4), (16, 8)] {
        let case = subject.case(n, d, n as u64);
        for dtype in [FloatDType::F32, FloatDType::F64] {
            let Ok(first) = run(&subject.found, &case, dtype) else { continue };
            for other in &subject.others {
                tried += 1;
                let origin = &other.pack.origin;
                let why = match run(other, &case, dtype) {
                    Ok(second) => match first_difference(&first, &second) {
                        Some(what) => format!(
                            "{what} differs between {} and {origin}",
                            subject.found.pack.origin
                        ),
                        None => continue,
                    },
                    Err(e) => format!("{origin}: {e}"),
                };
                return Verdict::fails(Property::LoadPath, why, &case);
            }
        }
    }
    let mut forms = subject.found.pack.origin.to_string();
    for other in &subject.others {
        let _ = write!(forms, ", {}", other.pack.origin);
    }
    Verdict::new(
        Property::LoadPath,
        Status::Holds,
        format!("{forms}: {tried} comparisons, bit for bit"),
    )
}

pub fn scaling(subject: &Subject) -> Verdict {
    let sizes = [16usize, 32, 64, 128];
    let mut costs = Vec::new();
    for n in sizes {
        let case = subject.case(n, 32, 9);
        let cost = subject.session(FloatDType::F32).and_then(|mut session| {
            case.step(&mut session, &cpu(), FloatDType::F32)?;
            session.step(&case.inputs(&cpu(), FloatDType::F32))?;
            Ok(session.cost())
        });
        match cost {
            Ok(cost) => costs.push(cost),
            Err(e) => return Verdict::fails(Property::Scaling, format!("n = {n}: {e}"), &case),
        }
    }
    let (small, large) = (costs[2], costs[3]);
    let power = |a: f64, b: f64| (b / a.max(1e-12)).log2();
    let memory = power(small.1 as f64, large.1 as f64);
    let detail = format!(
        "{} operations and {:.1} MiB of tensors at n = 128; memory grows as n^{memory:.1}",
        large.0,
        large.1 as f64 / f64::from(1 << 20),
    );
    let case = subject.case(sizes[0], 32, 9);
    if costs[0].0 * 2 < large.0 {
        let why = format!(
            "it calls {} operations for 16 samples and {} for 128: a loop over samples can be one \
             operation on all of them",
            costs[0].0, large.0
        );
        return Verdict::fails(Property::Scaling, why, &case);
    }
    if memory > 3.2 {
        return Verdict::fails(Property::Scaling, detail, &case);
    }
    Verdict::new(Property::Scaling, Status::Holds, detail)
}

/// One session over batches of many kinds: what the first step didn't make must not appear later.
pub fn parameters(subject: &Subject) -> Verdict {
    let one_class = |mut case: Case| {
        case.labels.fill(0);
        case
    };
    let samples = 12;
    let sized = |n: usize, salt: u64| {
        let all = subject.case(samples, 4, 1);
        let (sample_labels, classes) = (all.sample_labels, all.classes);
        Case { classes, samples, sample_labels, ..subject.case(n, 4, salt) }
    };
    let batches = [
        ("a first batch", sized(8, 1), 0, 0.0),
        ("a larger batch", sized(12, 2), 0, 0.1),
        ("a smaller one", sized(2, 3), 1, 0.2),
        ("one class", one_class(sized(6, 4)), 2, 0.5),
        ("two views", sized(8, 5).with_views(2), 50, 0.9),
        ("the last epoch", sized(8, 6), 99, 1.0),
    ];
    let mut session = match subject.session(FloatDType::F32) {
        Ok(session) => session,
        Err(e) => return Verdict::new(Property::Parameters, Status::Fails, e.to_string()),
    };
    let mut first: Option<Vec<String>> = None;
    for (what, case, epoch, progress) in batches {
        let mut inputs = case.inputs(&cpu(), FloatDType::F32);
        (inputs.epoch, inputs.progress) = (epoch, progress);
        match session.step(&inputs) {
            Ok(_) => session.commit(),
            Err(LossError::Undefined { .. }) => session.discard(),
            Err(e) => return Verdict::fails(Property::Parameters, format!("{what}: {e}"), &case),
        }
        let names = session.parameter_names().to_vec();
        let had = first.get_or_insert_with(|| names.clone());
        if *had != names {
            let why = format!("{what}: the parameters were {had:?}, now they are {names:?}");
            return Verdict::fails(Property::Parameters, why, &case);
        }
    }
    let names = first.unwrap_or_default();
    let detail = if names.is_empty() { "it has none".to_owned() } else { names.join(", ") };
    Verdict::new(Property::Parameters, Status::Holds, detail)
}
