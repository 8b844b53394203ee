//! The order of a batch's samples.

use super::{Status, Subject, Verdict, cpu};
use crate::case::Case;
use burn::tensor::{FloatDType, TensorData};
use retort_core::LossError;

pub fn check(subject: &Subject) -> Verdict {
    let (mut tried, mut worst) = (0, 0f64);
    for (n, d) in [(3, 2), (4, 3), (6, 4), (12, 8)] {
        let case = Case::example(n, d, 5 + n as u64);
        match at(subject, &case) {
            Ok(Ok(error)) => {
                worst = worst.max(error);
                tried += 1;
            }
            Ok(Err(wrong)) => return Verdict::fails("order", wrong, &case),
            Err(LossError::Undefined { .. }) => {}
            Err(error) => return Verdict::fails("order", error.to_string(), &case),
        }
    }
    let detail = format!("{tried} shapes, three orders each; worst difference {worst:.0e}");
    Verdict::new("order", Status::Holds, detail)
}

/// The largest relative difference, or what is wrong.
fn at(subject: &Subject, case: &Case) -> Result<Result<f64, String>, LossError> {
    let n = case.labels.len();
    let mut session = subject.session(FloatDType::F64)?;
    session.record_draws();
    let first = case.step(&mut session, &cpu(), FloatDType::F64)?;
    // Parameters start from the seed; buffers from the draws and the batch, which moves with it.
    let state = session.state().into_iter().filter(|(name, _)| name.starts_with("param."));
    let base = Case { draws: session.draws(), state: state.collect(), ..case.clone() };
    let mut worst = 0f64;
    for order in [(0..n).rev().collect::<Vec<_>>(), rotated(n, 1), interleaved(n)] {
        let mut other = base.reordered(&order);
        other.draws.iter_mut().for_each(|draw| reorder_draw(draw, &order));
        let mut session = subject.session(FloatDType::F64)?;
        session.load_state(other.state.clone())?;
        let second = other.step(&mut session, &cpu(), FloatDType::F64)?;
        let error = (first.value - second.value).abs() / first.value.abs().max(1e-6);
        if error > 1e-9 {
            return Ok(Err(format!(
                "the value is {:.9e}, and {:.9e} in the order {order:?}",
                first.value, second.value
            )));
        }
        worst = worst.max(error);
        for (name, gradient) in first.gradients.iter().filter(|(k, _)| !k.starts_with("param.")) {
            let width = gradient.len() / n;
            let moved = order.iter().flat_map(|&i| &gradient[i * width..(i + 1) * width]);
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let apart = moved.zip(&second.gradients[name]).map(|(a, b)| (a - b).powi(2));
            let error = apart.sum::<f64>().sqrt() / norm.max(1e-6);
            if error > 1e-8 {
                return Ok(Err(format!(
                    "the gradient of {name} differs by {error:.1e} in the order {order:?}"
                )));
            }
            worst = worst.max(error);
        }
    }
    Ok(Ok(worst))
}

fn rotated(n: usize, by: usize) -> Vec<usize> {
    (0..n).map(|i| (i + by) % n).collect()
}

fn interleaved(n: usize) -> Vec<usize> {
    (0..n).step_by(2).chain((1..n).step_by(2)).collect()
}

/// A draw with a row a sample, or an entry a pair, moves with the samples.
fn reorder_draw(draw: &mut TensorData, order: &[usize]) {
    let n = order.len();
    let dims = draw.shape().to_vec();
    let [.., rows, columns] = dims[..] else { return };
    if rows != n {
        return;
    }
    macro_rules! moved {
        ($ty:ty) => {{
            let old: Vec<$ty> = draw.iter::<$ty>().collect();
            let pairs = columns == n;
            let at = |i: usize| {
                let (row, column) = (i / columns % rows, i % columns);
                let column = if pairs { order[column] } else { column };
                old[i / (rows * columns) * rows * columns + order[row] * columns + column]
            };
            TensorData::new((0..old.len()).map(at).collect::<Vec<$ty>>(), dims)
        }};
    }
    *draw = if draw.dtype().is_float() { moved!(f64) } else { moved!(i64) };
}
