//! What each operation gives, before anything is computed: the shape of its result, what is known of it, and
//! what it costs. Wrong shapes and excessive sizes end here and never reach the backend.

use super::bounds::Bounds;
use super::budget::{Budget, elements};
use super::node::{Attributes, Facts, Fallible, Node, Shape};
use retort_sdk::Op;

/// Exponents lie below: backends take whole ones as integers.
const MAX_EXPONENT: f64 = 1e9;

/// What becomes of an operation.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) shape: Shape,
    pub(crate) facts: Facts,
    /// An operand whose integers must lie below a number.
    pub(crate) index: Option<(usize, usize)>,
}

impl Made {
    pub(crate) fn new(shape: Shape, facts: Facts) -> Self {
        Made { shape, facts, index: None }
    }

    fn int(padded: [usize; 4], rank: usize, bounds: Bounds) -> Self {
        Made::new(Shape::new(padded, rank), Facts::int(bounds))
    }
}

/// Where rules apply.
pub(crate) struct Rules<'a> {
    pub(crate) budget: &'a mut Budget,
    /// Bytes of a float.
    pub(crate) float: u64,
    /// What the device's integers hold.
    pub(crate) integers: Bounds,
}

impl Rules<'_> {
    /// The rule of an operation on tensors.
    #[expect(clippy::too_many_lines, reason = "one arm an operation")]
    pub(crate) fn of(&mut self, op: Op, operands: &[&Node], attrs: Attributes) -> Fallible<Made> {
        let shape = |i: usize| operands.get(i).map_or(Shape::SCALAR, |node| node.shape);
        let bounds = |i: usize| match operands.get(i).map(|node| &node.facts) {
            Some(Facts::Int { bounds, .. }) => *bounds,
            _ => Bounds::of(&[]),
        };
        let (a, b) = (shape(0), shape(1));
        let tracked = |n: usize| operands.iter().take(n).any(|node| node.facts.tracked());
        let floats = |padded: [usize; 4], rank: usize| {
            let facts = Facts::Float { tracked: tracked(2) };
            Made::new(Shape::new(padded, rank), facts)
        };
        let constants = |padded, rank| Made::new(Shape::new(padded, rank), Facts::CONSTANT);
        let rank = a.rank.max(b.rank);
        match op {
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Max | Op::Min => {
                let dims = broadcast(a.padded, b.padded)?;
                // Halves of either order, and where which is larger.
                let halves = matches!(op, Op::Max | Op::Min);
                self.reserve_with(dims, if halves { 2 * self.float + 2 } else { 0 })?;
                Ok(floats(dims, rank))
            }
            Op::Greater => {
                let dims = broadcast(a.padded, b.padded)?;
                self.reserve(dims)?;
                Ok(constants(dims, rank))
            }
            Op::Equal => {
                if let [one, other] = operands {
                    let integers = |node: &Node| matches!(node.facts, Facts::Int { .. });
                    match (integers(one), integers(other)) {
                        (true, false) => return Err(must_be("integers")),
                        (false, true) => return Err(must_be("floats")),
                        _ => {}
                    }
                }
                let dims = broadcast(a.padded, b.padded)?;
                self.reserve_with(dims, 24)?;
                Ok(constants(dims, rank))
            }
            Op::Select => {
                let mask = shape(2);
                let dims = broadcast(broadcast(a.padded, b.padded)?, mask.padded)?;
                self.reserve_with(dims, 24)?;
                Ok(floats(dims, rank.max(mask.rank)))
            }
            Op::PowScalar if attrs.number(0).is_nan() || attrs.number(0).abs() >= MAX_EXPONENT => {
                Err(format!("{} is not an exponent that a power can have", attrs.number(0)))
            }
            Op::AddScalar
            | Op::MulScalar
            | Op::DivScalar
            | Op::PowScalar
            | Op::ClampMin
            | Op::ClampMax
            | Op::Neg
            | Op::Exp
            | Op::Ln
            | Op::Ln1p
            | Op::Sqrt
            | Op::Relu
            | Op::Abs
            | Op::Tanh
            | Op::Sigmoid
            | Op::Sin
            | Op::Cos => {
                self.reserve(a.padded)?;
                Ok(floats(a.padded, a.rank))
            }
            Op::Detach | Op::Float => {
                self.reserve(a.padded)?;
                Ok(constants(a.padded, a.rank))
            }
            Op::Sum => {
                self.reserve([1; 4])?;
                Ok(floats([1; 4], 0))
            }
            Op::SumDim | Op::MeanDim | Op::MaxDim | Op::MinDim | Op::CumSum => {
                let mut dims = a.padded;
                if op != Op::CumSum {
                    dims[attrs.dimension(0)] = 1;
                }
                self.reserve(dims)?;
                Ok(floats(dims, a.rank))
            }
            Op::Matmul => {
                let ([a0, a1, n, k], [b0, b1, k2, m]) = (a.padded, b.padded);
                if a.rank < 2 || b.rank < 2 || k != k2 {
                    return Err("the inner sizes differ: [n, k] by [k, m] gives [n, m]".to_owned());
                }
                let lead = broadcast([a0, a1, 1, 1], [b0, b1, 1, 1])?;
                let dims = [lead[0], lead[1], n, m];
                self.reserve(dims)?;
                let sizes = [lead[0], lead[1], n, k, m];
                self.budget.product(sizes.iter().map(|&d| d as f64).product())?;
                Ok(floats(dims, rank))
            }
            Op::Transpose | Op::SwapDims => {
                if op == Op::Transpose && a.rank < 2 {
                    return Err("needs two dimensions".to_owned());
                }
                let (d, e) = swapped(op, attrs);
                self.budget.view()?;
                let mut dims = a.padded;
                dims.swap(d, e);
                Ok(floats(dims, a.rank))
            }
            Op::Reshape => {
                let out = same_size(a, attrs)?;
                self.reserve(out.padded)?; // a copy, unless its elements lie in this order
                Ok(floats(out.padded, out.rank))
            }
            Op::ReshapeIndex => {
                let out = same_size(a, attrs)?;
                self.reserve_index(out.padded)?;
                Ok(Made::int(out.padded, out.rank, bounds(0)))
            }
            Op::Slice => {
                let dims = range(a, attrs)?;
                self.reserve(dims)?; // a view on the CPU, a copy on a GPU
                Ok(floats(dims, a.rank))
            }
            Op::SliceIndex => {
                let dims = range(a, attrs)?;
                self.reserve_index(dims)?;
                Ok(Made::int(dims, a.rank, bounds(0)))
            }
            Op::Cat => {
                let dims = joined(a, b, attrs)?;
                self.reserve(dims)?;
                Ok(floats(dims, a.rank))
            }
            Op::CatIndex => {
                let dims = joined(a, b, attrs)?;
                self.reserve_index(dims)?;
                Ok(Made::int(dims, a.rank, bounds(0).or(bounds(1))))
            }
            Op::Rows => {
                if a.rank == 0 || b.rank != 1 {
                    return Err("rows are taken from [n, …] by an index [m]".to_owned());
                }
                let (d, mut dims) = (4 - a.rank, a.padded);
                dims[d] = b.padded[3];
                self.reserve(dims)?;
                Ok(Made { index: Some((1, a.padded[d])), ..floats(dims, a.rank) })
            }
            Op::Gather | Op::GatherIndex => {
                let (d, dims) = (attrs.dimension(0), b.padded);
                if a.rank != b.rank || (0..4).any(|k| k != d && dims[k] != a.padded[k]) {
                    return Err("the index must have the operand's shape but for the dimension \
                                gathered along"
                        .to_owned());
                }
                self.reserve_index(dims)?;
                let made = match op {
                    Op::Gather => floats(dims, a.rank),
                    _ => Made::int(dims, a.rank, bounds(0)),
                };
                Ok(Made { index: Some((1, a.padded[d])), ..made })
            }
            Op::AdaptiveAvgPool => {
                let ([n, c, ah, aw], h, w) = (a.padded, attrs.size(0), attrs.size(1));
                if a.rank != 4 || h == 0 || w == 0 {
                    return Err("pools maps [n, c, h, w] to a height and width above 0".to_owned());
                }
                // A window of more places than it must have is read again for each.
                let windows = (h as f64 + ah as f64) * (w as f64 + aw as f64);
                self.budget.product(n as f64 * c as f64 * windows)?;
                self.reserve([n, c, h, w])?;
                Ok(floats([n, c, h, w], 4))
            }
            Op::Argsort => {
                let d = attrs.dimension(0);
                self.budget.reserve(a.padded, 8, 24)?;
                self.budget.sort(elements(a.padded)? as f64)?;
                let bounds = self.held_by_device(Some(Bounds::below(a.padded[d])))?;
                Ok(Made::int(a.padded, a.rank, bounds))
            }
            Op::OneHot => {
                let (n, classes) = (a.padded[3], attrs.size(0));
                if a.rank != 1 {
                    return Err("needs one dimension [n]".to_owned());
                }
                self.reserve_with([1, 1, n, classes], 24)?;
                Ok(Made { index: Some((0, classes)), ..constants([1, 1, n, classes], 2) })
            }
            Op::Eye => {
                let n = attrs.size(0);
                self.reserve_with([1, 1, n, n], 24)?;
                Ok(constants([1, 1, n, n], 2))
            }
            Op::Range => {
                let (start, end) = (attrs.size(0), attrs.size(1));
                let n = end.saturating_sub(start);
                if n == 0 {
                    return Err(format!("{start}..{end} is empty"));
                }
                self.reserve_index([1, 1, 1, n])?;
                let bounds = Bounds { low: start as i64, high: end as i64 - 1 };
                Ok(Made::int([1, 1, 1, n], 1, bounds))
            }
            Op::AddIndex => {
                let dims = broadcast(a.padded, b.padded)?;
                self.reserve_index(dims)?;
                let bounds = self.held_by_device(bounds(0).plus(bounds(1)))?;
                Ok(Made::int(dims, rank, bounds))
            }
            Op::ModIndex => {
                let n = attrs.size(0);
                if n == 0 {
                    return Err("the divisor is 0".to_owned());
                }
                self.reserve_index(a.padded)?;
                Ok(Made::int(a.padded, a.rank, Bounds::below(n)))
            }
            other => Err(format!("{other} isn't an operation on tensors")),
        }
    }

    /// Makes sure that new floats of this shape may be, and stay within the limits.
    pub(crate) fn reserve(&mut self, dims: [usize; 4]) -> Fallible<()> {
        self.reserve_with(dims, 0)
    }

    /// The same, where making them needs more bytes an element for a moment.
    pub(crate) fn reserve_with(&mut self, dims: [usize; 4], scratch: u64) -> Fallible<()> {
        self.budget.reserve(dims, self.float, scratch)
    }

    /// Makes sure that new integers of this shape may be, and stay within the limits.
    pub(crate) fn reserve_index(&mut self, dims: [usize; 4]) -> Fallible<()> {
        self.budget.reserve(dims, 8, 8)
    }

    /// These bounds, if the device's integers hold them.
    pub(crate) fn held_by_device(&self, bounds: Option<Bounds>) -> Fallible<Bounds> {
        let Bounds { low, high } = self.integers;
        match bounds {
            Some(b) if b.low >= low && b.high <= high => Ok(b),
            _ => Err(format!(
                "its integers may leave {low} to {high}, which is all that this device holds"
            )),
        }
    }
}

/// The second operand isn't what the first is.
fn must_be(what: &str) -> String {
    format!("operand 2 must be {what}, as the first, and isn't")
}

/// The two dimensions that are exchanged.
pub(crate) fn swapped(op: Op, attrs: Attributes) -> (usize, usize) {
    if op == Op::Transpose { (2, 3) } else { (attrs.dimension(0), attrs.dimension(1)) }
}

/// The shape of two tensors together.
pub(crate) fn broadcast(a: [usize; 4], b: [usize; 4]) -> Fallible<[usize; 4]> {
    let mut out = [0; 4];
    for k in 0..4 {
        out[k] = match (a[k], b[k]) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return Err("the shapes don't broadcast: sizes must be equal or 1".to_owned()),
        };
    }
    Ok(out)
}

fn same_size(from: Shape, attrs: Attributes) -> Fallible<Shape> {
    let out = attrs.shape(0)?;
    if out.len() != from.len() {
        return Err(format!("shape {:?} has another number of elements", out.dims()));
    }
    Ok(out)
}

fn range(a: Shape, attrs: Attributes) -> Fallible<[usize; 4]> {
    let (d, start, end) = (attrs.dimension(0), attrs.size(1), attrs.size(2));
    let mut dims = a.padded;
    if start >= end || end > dims[d] {
        return Err(format!("{start}..{end} of a dimension of size {}", dims[d]));
    }
    dims[d] = end - start;
    Ok(dims)
}

fn joined(a: Shape, b: Shape, attrs: Attributes) -> Fallible<[usize; 4]> {
    let d = attrs.dimension(0);
    if a.rank != b.rank || (0..4).any(|k| k != d && a.padded[k] != b.padded[k]) {
        return Err("the shapes differ in more than the dimension joined along".to_owned());
    }
    let mut dims = a.padded;
    dims[d] += b.padded[d];
    Ok(dims)
}
