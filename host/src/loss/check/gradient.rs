//! Gradients against finite differences.

use super::{Property, Status, Subject, Verdict, cpu};
use crate::loss::case::{Case, Layout};
use crate::loss::evaluation::Evaluation;
use burn::tensor::{FloatDType, TensorData};
use retort_core::metric::{central, richardson};
use retort_core::{LossError, Session};

/// Step of the coarser of two difference quotients; the finer one tells whether they can be trusted.
const STEPS: [f64; 2] = [2e-5, 5e-6];

/// What was compared, and how it went.
#[derive(Default)]
pub struct Tally {
    compared: usize,
    kinks: usize,
    /// Largest difference, as a share of the gradient's norm.
    worst: f64,
    any: bool,
    /// Directions in which the value itself has another slope, because of what the loss detaches.
    held: usize,
}

pub fn check(subject: &Subject) -> Verdict {
    let mut tally = Tally::default();
    let mut shapes = 0;
    for (n, d, views) in [(2, 2, 1), (4, 2, 1), (5, 3, 1), (6, 4, 1), (8, 3, 2), (12, 8, 1)] {
        let views = subject.layout().views.max(views);
        let layout = Layout { views, ..subject.layout() };
        let case = Case::of(layout, n, d, 11 + n as u64);
        match at(subject, &case, &mut tally) {
            Ok(None) => shapes += 1,
            Ok(Some(wrong)) => return Verdict::fails(Property::Gradient, wrong, &case),
            Err(LossError::Undefined { .. }) => {}
            Err(error) => return Verdict::fails(Property::Gradient, error.to_string(), &case),
        }
    }
    let Tally { compared, kinks, worst, any, held } = tally;
    if !any {
        let why = "every gradient is zero: nothing would be trained";
        return Verdict::fails(Property::Gradient, why, &subject.case(4, 2, 15));
    }
    if kinks > compared {
        let why = format!("{kinks} of {} directions have no derivative", kinks + compared);
        return Verdict::fails(Property::Gradient, why, &subject.case(4, 2, 15));
    }
    let left = if kinks > 0 { format!("; {kinks} at kinks left out") } else { String::new() };
    let held = match held {
        0 => String::new(),
        n => format!(
            "; what it detaches counts as constant, without which the value has another slope in {n} of them"
        ),
    };
    let detail = format!(
        "{compared} directions at {shapes} shapes, off by {worst:.0e} of the gradient's norm at \
         most{left}{held}"
    );
    Verdict::new(Property::Gradient, Status::Holds, detail)
}

/// The loss at a point whose leaf `name` is `data`.
fn value(
    session: &mut Session,
    case: &Case,
    name: &str,
    data: TensorData,
) -> Result<f64, LossError> {
    let mut moved = case.clone();
    match name.split_once('.') {
        None => moved.target = Some(data),
        Some(("param", _)) => session.load_state([(name.to_owned(), data)].into())?,
        Some((_, level)) => {
            let level: usize = level.parse().unwrap_or(0);
            moved.target_features[level] = data;
        }
    }
    let inputs = moved.inputs(&cpu(), FloatDType::F64);
    let value = Evaluation::run(session, &inputs)?.value;
    session.discard();
    Ok(value)
}

/// What is wrong with the gradients on a batch, if something is.
///
/// What the loss detaches or reads is held while its inputs move, as its gradient sees it.
pub fn at(subject: &Subject, case: &Case, tally: &mut Tally) -> Result<Option<String>, LossError> {
    let mut session = subject.session(FloatDType::F64)?;
    // The second step: what the first one sets once (memories, normalisers) is a constant by then.
    case.step(&mut session, &cpu(), FloatDType::F64)?;
    let inputs = case.inputs(&cpu(), FloatDType::F64);
    session.keep_constants();
    let evaluation = Evaluation::run(&mut session, &inputs)?;
    let gradients = evaluation.gradients(&session, &inputs)?;
    let used = session.inputs_used();
    session.discard();
    session.hold_constants(true);
    let state = session.state();
    let point = case.tensors();
    for (name, gradient) in &gradients {
        // One that it doesn't ask for can't matter.
        let input = name.split('.').next().unwrap_or(name);
        if input != "param" && !used.contains(input) {
            continue;
        }
        let gradient: Vec<f64> = gradient.iter::<f64>().collect();
        let Some(data) = state.get(name).or_else(|| point.get(name)) else { continue };
        let (shape, x) = (data.shape().to_vec(), data.iter::<f64>().collect::<Vec<f64>>());
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        tally.any |= norm > 0.0;
        // What has no gradient at all is tried as a whole: the loss hardly depends on it.
        let all = directions(x.len()).into_iter().filter(|(what, _)| norm > 0.0 || what.is_none());
        for (what, direction) in all {
            let slope: f64 = gradient.iter().zip(&direction).map(|(g, v)| g * v).sum();
            let mut shifted = |t: f64| {
                let moved = x.iter().zip(&direction).map(|(x, v)| x + t * v).collect::<Vec<_>>();
                value(&mut session, case, name, TensorData::new(moved, shape.clone()))
            };
            let mut quotient = |h: f64| richardson(&mut shifted, h);
            let size = evaluation.value.abs().max(1.0);
            let near = |a: f64, b: f64| {
                (a - b).abs() <= 1e-5 * a.abs().max(slope.abs()) + 1e-7 * norm + 1e-9 * size
            };
            let found = quotient(STEPS[0])?;
            if near(found, slope) {
                tally.compared += 1;
                let error = (found - slope).abs() / norm.max(1e-4 * size);
                tally.worst = tally.worst.max(error);
            } else {
                // A quotient that changes with its step is none: there is a kink.
                let finer = quotient(STEPS[1])?;
                if slope.is_finite() && found.is_finite() && !near(found, finer) {
                    tally.kinks += 1;
                    continue;
                }
                let what =
                    what.map_or_else(|| "a random direction".to_owned(), |i| element(&shape, i));
                return Ok(Some(format!(
                    "along {what} of {name} autodiff gives {slope:.6e}, finite differences {found:.6e}"
                )));
            }
            if what.is_none() {
                session.hold_constants(false);
                let mut shifted = |t: f64| {
                    let moved = x.iter().zip(&direction).map(|(x, v)| x + t * v).collect();
                    value(&mut session, case, name, TensorData::new::<f64, _>(moved, shape.clone()))
                };
                let own = central(&mut shifted, STEPS[0])?;
                tally.held += usize::from((own - slope).abs() > 1e-3 * norm + 1e-6 * size);
                session.hold_constants(true);
            }
        }
        if name.starts_with("param.") {
            session.load_state([(name.clone(), data.clone())].into())?;
        }
    }
    Ok(None)
}

/// A few coordinates, spread over the tensor, and two directions that move everything.
fn directions(len: usize) -> Vec<(Option<usize>, Vec<f64>)> {
    let coordinates = (0..len).step_by(len.div_ceil(6).max(1)).map(|i| {
        let mut v = vec![0.0; len];
        v[i] = 1.0;
        (Some(i), v)
    });
    let dense = [1usize, 2].map(|salt| {
        let angle = |i: usize| ((i * 7 + salt * 13) as f64 * 2.399).sin();
        let v: Vec<f64> = (0..len).map(angle).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-300);
        (None, v.into_iter().map(|x| x / norm).collect())
    });
    coordinates.chain(dense).collect()
}

fn element(shape: &[usize], mut i: usize) -> String {
    let mut index = vec![0; shape.len()];
    for (axis, &size) in shape.iter().enumerate().rev() {
        index[axis] = i % size.max(1);
        i /= size.max(1);
    }
    format!("element {index:?}")
}
