//! Batches on which losses of other libraries give NaN, infinity, or a zero that means nothing.

use super::{Property, Status, Subject, Tried, Verdict};
use crate::loss::case::{Case, Outcome};
use burn::tensor::FloatDType;

type Rows<'a> = &'a mut [Vec<f64>];

/// The batches of a property, smallest first, each with what is special about it.
fn batches(subject: &Subject, property: Property) -> Vec<(String, Case)> {
    let mut out = Vec::new();
    let sizes: &[(usize, usize)] = match property {
        Property::SmallBatch => &[(1, 2), (2, 2), (2, 8)],
        _ => &[(2, 2), (3, 2), (4, 3), (8, 8)],
    };
    for &(n, d) in sizes {
        let mut push = |what: &str, change: &dyn Fn(&str, Rows)| {
            let mut case = subject.case(n, d, 21 + n as u64);
            case.change_rows(change);
            out.push((format!("{what}, n = {n}"), case));
        };
        let source = |name: &str| name.starts_with("source");
        match property {
            Property::Duplicates => {
                push("two equal targets", &|name, rows| {
                    if !source(name) {
                        copy_first(rows);
                    }
                });
                push("two equal sources", &|name, rows| {
                    if source(name) {
                        copy_first(rows);
                    }
                });
                push("two equal samples", &|_, rows| copy_first(rows));
                push("all targets equal", &|name, rows| {
                    if !source(name) {
                        let first = rows[0].clone();
                        rows.fill(first);
                    }
                });
                push("all samples equal", &|_, rows| {
                    let first = rows[0].clone();
                    rows.fill(first);
                });
            }
            Property::ZeroRows => {
                push("one target zero", &|name, rows| {
                    if !source(name) {
                        rows[0].fill(0.0);
                    }
                });
                push("one sample zero", &|_, rows| rows[0].fill(0.0));
                push("all targets zero", &|name, rows| {
                    if !source(name) {
                        zero(rows);
                    }
                });
                push("all zero", &|_, rows| zero(rows));
            }
            // Far apart, so that positives pull; close together, so that negatives push: then a zero
            // can't be the right answer.
            Property::OneClass => push("one class", &|_, rows| scale(rows, 4.0)),
            Property::AllDistinct => push("every sample its own class", &|_, rows| {
                let first = rows[0].clone();
                for row in rows {
                    row.iter_mut().zip(&first).for_each(|(x, a)| *x = a + 0.01 * *x);
                }
            }),
            Property::SmallBatch => push("random", &|_, _| {}),
            Property::HugeNorms => push("norms times 1e4", &|_, rows| scale(rows, 1e4)),
            Property::TinyNorms => push("norms times 1e-6", &|_, rows| scale(rows, 1e-6)),
            Property::Outlier => {
                push("one sample times 1e4", &|_, rows| scale(&mut rows[..1], 1e4));
            }
            _ => push("magnitudes of 16-bit floats", &|_, rows| {
                // From the least subnormal to the largest number, 2^-24 to 2^16.
                for (i, x) in rows.iter_mut().flatten().enumerate() {
                    let exponent = f64::from((i * 7 % 41) as u32) - 24.0;
                    *x = (x.signum() * exponent.exp2()).clamp(-65504.0, 65504.0);
                }
            }),
        }
    }
    for (_, case) in &mut out {
        match property {
            // The training set has more classes, and as many samples of them.
            Property::OneClass => {
                let n = case.labels.len();
                case.labels.fill(0);
                case.sample_labels = (0..2 * n as i64).map(|i| i / n as i64).collect();
                (case.classes, case.samples) = (2, 2 * n);
            }
            Property::AllDistinct => {
                case.labels.clone_from(&case.ids); // views of a sample share its class
                case.classes = case.labels.len();
                case.sample_labels.clone_from(&case.labels);
            }
            _ => {}
        }
    }
    out
}

fn copy_first(rows: Rows) {
    let first = rows[0].clone();
    rows[1] = first;
}

fn zero(rows: Rows) {
    for row in rows {
        row.fill(0.0);
    }
}

fn scale(rows: Rows, by: f64) {
    rows.iter_mut().flatten().for_each(|x| *x *= by);
}

pub fn check(subject: &Subject, property: Property) -> Verdict {
    let (mut tried, mut undefined) = (0, None);
    let mut largest = 0f64;
    let mut zeros: Vec<Case> = Vec::new();
    for (what, case) in batches(subject, property) {
        for (dtype, bits) in [(FloatDType::F32, 32), (FloatDType::F64, 64)] {
            let problem = match subject.run(&case, dtype) {
                Tried::Undefined(why) => {
                    undefined = Some(why);
                    continue;
                }
                Tried::Broke(why) => Some(why),
                Tried::Gave(outcome) => {
                    let all = outcome.gradients.values().flatten();
                    largest = all.fold(largest, |m, g| m.max(g.abs()));
                    let flat = outcome.gradients.values().flatten().all(|&g| g == 0.0);
                    if outcome.value == 0.0 && flat {
                        zeros.push(case.clone());
                    }
                    not_finite(&outcome)
                }
            };
            tried += 1;
            if let Some(problem) = problem {
                let detail = format!("{what}, {bits} bits: {problem}");
                return Verdict::fails(property, detail, &case);
            }
        }
    }
    if zeros.len() == tried
        && let (Some(smallest), Some(why)) = (zeros.first(), silent(subject, property))
    {
        return Verdict::fails(property, why, smallest);
    }
    let detail = match (tried, undefined) {
        (0, Some(why)) => format!("it says that it isn't defined: {why}"),
        (_, Some(why)) => format!("{tried} batches; on others it isn't defined: {why}"),
        (_, None) => format!("{tried} batches, largest gradient {largest:.0e}"),
    };
    Verdict::new(property, Status::Holds, detail)
}

pub fn not_finite(outcome: &Outcome) -> Option<String> {
    if !outcome.value.is_finite() {
        return Some(format!("the value is {}", outcome.value));
    }
    let mut gradients = outcome.gradients.iter();
    gradients.find_map(|(name, gradient)| {
        let bad = gradient.iter().find(|g| !g.is_finite())?;
        Some(format!("the gradient of {name} holds {bad}"))
    })
}

/// What is wrong with values and gradients of zero: the batches lack what the loss needs, and it
/// doesn't say so. A loss that doesn't read the labels can't lack anything.
fn silent(subject: &Subject, property: Property) -> Option<String> {
    let lacks = match property {
        Property::OneClass => "negative",
        Property::AllDistinct => "positive",
        _ => return None,
    };
    subject.uses("labels").then(|| {
        format!(
            "value and gradient are always zero, as if everything were learnt, but there are no \
             {lacks} pairs: say that it isn't defined (`step.need_{lacks}_pairs()`)"
        )
    })
}
