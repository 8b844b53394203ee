//! The order of a batch's samples.

use super::{Property, Status, Subject, Verdict, cpu};
use crate::loss::case::Case;
use burn::tensor::{FloatDType, TensorData};
use retort_core::LossError;

pub fn check(subject: &Subject) -> Verdict {
    let (mut tried, mut worst) = (0, 0f64);
    for (n, d) in [(3, 2), (4, 3), (6, 4), (12, 8)] {
        let case = batch(subject, n, d);
        match at(subject, &case, d) {
            Ok(Ok(error)) => {
                worst = worst.max(error);
                tried += 1;
            }
            Ok(Err(wrong)) => return Verdict::fails(Property::Order, wrong, &case),
            Err(LossError::Undefined { .. }) => {}
            Err(error) => return Verdict::fails(Property::Order, error.to_string(), &case),
        }
    }
    let detail = format!("{tried} shapes, three orders each; worst difference {worst:.0e}");
    Verdict::new(Property::Order, Status::Holds, detail)
}

/// A batch from a training set of more samples than it has rows: a number drawn below the one isn't
/// drawn below the other.
fn batch(subject: &Subject, n: usize, d: usize) -> Case {
    let mut case = subject.case(n, d, 5 + n as u64);
    case.samples = 2 * case.labels.len() + 3;
    case.sample_labels = (0..case.samples).map(|i| (i / 2 % case.classes) as i64).collect();
    case
}

/// The largest relative difference, or what is wrong.
fn at(subject: &Subject, case: &Case, d: usize) -> Result<Result<f64, String>, LossError> {
    let n = case.labels.len();
    let mut session = subject.session(FloatDType::F64)?;
    session.record_draws();
    let first = case.step(&mut session, &cpu(), FloatDType::F64)?;
    let drawn = Drawn { draws: session.draws(), ends: session.draw_ends() };
    let moves = drawn.moves(subject, case, d);
    // Parameters start from the seed; buffers from the draws and the batch, which moves with it.
    let state = session.state().into_iter().filter(|(name, _)| name.starts_with("param."));
    let base = Case { draws: drawn.draws, state: state.collect(), ..case.clone() };
    let samples = n / case.views;
    let mut worst = 0f64;
    for order in [(0..samples).rev().collect::<Vec<_>>(), rotated(samples, 1), interleaved(samples)]
    {
        let order = Order::new(order, case.views);
        let rows = &order.rows;
        let mut other = base.reordered(rows);
        for (draw, moves) in other.draws.iter_mut().zip(&moves) {
            *draw = moves.moved(draw, &order);
        }
        let mut session = subject.session(FloatDType::F64)?;
        session.load_state(other.state.clone())?;
        let second = other.step(&mut session, &cpu(), FloatDType::F64)?;
        let error = (first.value - second.value).abs() / first.value.abs().max(1e-6);
        if error > 1e-9 {
            return Ok(Err(format!(
                "the value is {:.9e}, and {:.9e} in the order {rows:?}",
                first.value, second.value
            )));
        }
        worst = worst.max(error);
        for (name, gradient) in first.gradients.iter().filter(|(k, _)| !k.starts_with("param.")) {
            let width = gradient.len() / n;
            let moved = rows.iter().flat_map(|&i| &gradient[i * width..(i + 1) * width]);
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let apart = moved.zip(&second.gradients[name]).map(|(a, b)| (a - b).powi(2));
            let error = apart.sum::<f64>().sqrt() / norm.max(1e-6);
            if error > 1e-8 {
                return Ok(Err(format!(
                    "the gradient of {name} differs by {error:.1e} in the order {rows:?}"
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

/// A new order: at each place, which sample and which row comes there. Views stay in their blocks.
struct Order {
    samples: Vec<usize>,
    rows: Vec<usize>,
}

impl Order {
    fn new(samples: Vec<usize>, views: usize) -> Self {
        let n = samples.len();
        let rows = (0..views).flat_map(|v| samples.iter().map(move |i| v * n + i)).collect();
        Order { samples, rows }
    }
}

/// A step's random draws.
struct Drawn {
    draws: Vec<TensorData>,
    /// Below which number each was drawn.
    ends: Vec<Option<usize>>,
}

/// What an axis of a draw, or the numbers in it, stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Rows,
    Samples,
    Nothing,
}

impl Of {
    /// A size that is the batch's in two batches stands for its rows; one that stays is of its own.
    fn size(sizes: [usize; 2], rows: [usize; 2], samples: [usize; 2]) -> Self {
        match sizes {
            _ if sizes == rows => Of::Rows,
            _ if sizes == samples => Of::Samples,
            _ => Of::Nothing,
        }
    }

    /// What was at place `i`'s new content before.
    fn before(self, i: usize, order: &Order) -> usize {
        match self {
            Of::Rows => order.rows[i],
            Of::Samples => order.samples[i],
            Of::Nothing => i,
        }
    }

    /// Where `i` comes to.
    fn after(self, i: usize, order: &Order) -> usize {
        let places = match self {
            Of::Rows => &order.rows,
            Of::Samples => &order.samples,
            Of::Nothing => return i,
        };
        places.iter().position(|&old| old == i).unwrap_or(i)
    }
}

/// How a draw moves with the batch.
struct Moves {
    axes: Vec<Of>,
    values: Of,
}

impl Drawn {
    /// How each draw moves with the batch: told by the draws of a larger one.
    fn moves(&self, subject: &Subject, case: &Case, d: usize) -> Vec<Moves> {
        let n = case.labels.len();
        let larger = batch(subject, n + 2 * case.views, d);
        let other = subject.session(FloatDType::F64).and_then(|mut session| {
            session.record_draws();
            session.step(&larger.inputs(&cpu(), FloatDType::F64))?;
            Ok(Drawn { draws: session.draws(), ends: session.draw_ends() })
        });
        let rows = [n, larger.labels.len()];
        let samples = rows.map(|rows| rows / case.views);
        let one = |(k, draw): (usize, &TensorData)| {
            let shape = draw.shape().to_vec();
            // Where the larger batch gives no such draw, sizes have to tell alone.
            let with = other.as_ref().ok().and_then(|other| {
                let shape = other.draws.get(k)?.shape().to_vec();
                Some((shape, *other.ends.get(k)?))
            });
            let (then, end) = with.filter(|(s, _)| s.len() == shape.len()).unwrap_or_else(|| {
                let grown = |&size: &usize| if size == rows[0] { rows[1] } else { size };
                (shape.iter().map(grown).collect(), None)
            });
            let axes = shape.iter().zip(&then).map(|(&a, &b)| Of::size([a, b], rows, samples));
            let values = match (self.ends.get(k).copied().flatten(), end) {
                (Some(a), Some(b)) => Of::size([a, b], rows, samples),
                _ => Of::Nothing,
            };
            Moves { axes: axes.collect(), values }
        };
        self.draws.iter().enumerate().map(one).collect()
    }
}

impl Moves {
    /// The draw that goes with the batch in another order.
    fn moved(&self, draw: &TensorData, order: &Order) -> TensorData {
        let dims = draw.shape().to_vec();
        let source = |mut at: usize| {
            let (mut from, mut stride) = (0, 1);
            for (axis, &size) in dims.iter().enumerate().rev() {
                from += stride * self.axes[axis].before(at % size, order);
                at /= size;
                stride *= size;
            }
            from
        };
        if draw.dtype().is_float() {
            let old: Vec<f64> = draw.iter::<f64>().collect();
            return TensorData::new(
                (0..old.len()).map(|i| old[source(i)]).collect::<Vec<f64>>(),
                dims,
            );
        }
        let old: Vec<i64> = draw.iter::<i64>().collect();
        let value = |x: i64| match usize::try_from(x) {
            Ok(x) => self.values.after(x, order) as i64,
            Err(_) => x,
        };
        TensorData::new((0..old.len()).map(|i| value(old[source(i)])).collect::<Vec<i64>>(), dims)
    }
}
