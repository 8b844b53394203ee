//! Every choice of a loss, on small embeddings and on embeddings of 512 dimensions.

use super::{Property, Status, Subject, Tried, Verdict, finite, gradient};
use crate::loss::case::{Case, Outcome};
use burn::tensor::FloatDType;
use retort_core::LossError;
use retort_sdk::schema::{Field, Kind};
use serde_json::{Map, Value};

/// Values of a hyperparameter that lead to different code: none of a number.
pub fn words(field: &Field) -> Vec<Value> {
    match field.kind {
        Kind::Choice => field.choices.iter().map(|word| Value::from(word.as_str())).collect(),
        Kind::Boolean => vec![Value::from(false), Value::from(true)],
        // Each word alone: combinations would be very many.
        Kind::Choices => {
            field.choices.iter().map(|word| Value::from(vec![word.as_str()])).collect()
        }
        _ => Vec::new(),
    }
}

/// Combinations of choices that are tried; of a loss with more, the first so many choices, each alone.
const MOST: usize = 32;

/// The hyperparameters with every combination of choices, each with its name.
fn variants(subject: &Subject) -> Vec<(String, Map<String, Value>)> {
    let fields = &subject.found.definition.hyper;
    let of = |hyper: &Map<String, Value>, field: &Field| {
        let with = |word| {
            let mut hyper = hyper.clone();
            hyper.insert(field.name.clone(), word);
            hyper
        };
        words(field).into_iter().map(with).collect::<Vec<_>>()
    };
    let chosen: Vec<&Field> = fields.iter().filter(|field| !words(field).is_empty()).collect();
    let count = chosen.iter().map(|field| words(field).len()).fold(1, usize::saturating_mul);
    let mut out = vec![subject.hyper.clone()];
    for &field in &chosen {
        if count <= MOST {
            out = out.iter().flat_map(|hyper| of(hyper, field)).collect();
        } else {
            out.extend(of(&subject.hyper, field));
        }
    }
    out.truncate(MOST);
    let name = |hyper: &Map<String, Value>| {
        let words = chosen.iter().map(|f| format!("{} = {}, ", f.name, hyper[&f.name]));
        words.collect::<String>()
    };
    out.into_iter().map(|hyper| (name(&hyper), hyper)).collect()
}

pub fn check(subject: &Subject) -> Verdict {
    let variants = variants(subject);
    let mut worst = 0f64;
    for (name, hyper) in &variants {
        let variant = Subject::new(subject.found.clone(), hyper.clone(), subject.limits.clone());
        for d in [6, 512] {
            let fails = |why: String, case: &Case| {
                Verdict::fails(Property::Choices, format!("{name}{d} dimensions: {why}"), case)
            };
            let case = variant.case(8, d, 51); // in classes of two
            let first = match variant.run(&case, FloatDType::F64) {
                Tried::Broke(why) | Tried::Undefined(why) => return fails(why, &case),
                Tried::Gave(outcome) => outcome,
            };
            match variant.run(&case, FloatDType::F32) {
                Tried::Gave(second) => match apart(&first, &second) {
                    Ok(difference) => worst = worst.max(difference),
                    Err(why) => return fails(why, &case),
                },
                Tried::Broke(why) | Tried::Undefined(why) => {
                    return fails(format!("in 32 bits only: {why}"), &case);
                }
            }
            for awkward in awkward(&case) {
                for dtype in [FloatDType::F32, FloatDType::F64] {
                    let why = match variant.run(&awkward, dtype) {
                        Tried::Gave(outcome) => finite::not_finite(&outcome),
                        Tried::Broke(why) => Some(why),
                        Tried::Undefined(_) => None,
                    };
                    if let Some(why) = why {
                        return fails(why, &awkward);
                    }
                }
            }
            let others = d == 6 && *hyper != subject.hyper; // its own are tried at more shapes
            if others && subject.exemption(Property::Gradient).is_none() {
                match gradient::at(&variant, &case, &mut gradient::Tally::default()) {
                    Ok(Some(wrong)) => return fails(wrong, &case),
                    Ok(None) | Err(LossError::Undefined { .. }) => {}
                    Err(error) => return fails(error.to_string(), &case),
                }
            }
        }
    }
    let detail = format!(
        "{} of them, 6 and 512 dimensions; 32 and 64 bits differ by {worst:.0e} at most",
        variants.len()
    );
    Verdict::new(Property::Choices, Status::Holds, detail)
}

/// The batch with coinciding samples, and with all close together.
fn awkward(case: &Case) -> [Case; 2] {
    let (mut twice, mut near) = (case.clone(), case.clone());
    twice.change_rows(|_, rows| {
        let first = rows[0].clone();
        rows[1] = first;
    });
    near.change_rows(|_, rows| {
        let first = rows[0].clone();
        for row in rows {
            row.iter_mut().zip(&first).for_each(|(x, a)| *x = a + 1e-4 * *x);
        }
    });
    [twice, near]
}

/// By how much two results differ, against their size; an error if it is more than rounding does.
fn apart(wide: &Outcome, narrow: &Outcome) -> Result<f64, String> {
    if let Some(why) = finite::not_finite(wide).or_else(|| finite::not_finite(narrow)) {
        return Err(why);
    }
    let (a, b) = (wide.value, narrow.value);
    let mut worst = (a - b).abs() / a.abs().max(b.abs()).max(1e-2);
    if worst > 1e-3 {
        return Err(format!("the value is {a:.6e} in 64 bits and {b:.6e} in 32"));
    }
    let norm = |g: &[f64]| g.iter().map(|x| x * x).sum::<f64>().sqrt();
    for (name, a) in &wide.gradients {
        let Some(b) = narrow.gradients.get(name) else { continue };
        let between: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let difference = norm(&between) / norm(a).max(norm(b)).max(1e-4);
        if difference > 1e-2 {
            return Err(format!(
                "the gradient of {name} in 32 bits is off by {difference:.1e} of its norm in 64"
            ));
        }
        worst = worst.max(difference);
    }
    Ok(worst)
}
