//! One operation of a recorded step.

use super::bounds::Bounds;
use super::budget::{MAX_DIMENSION, elements};
use burn::tensor::{Int, Tensor, TensorData};
use retort_sdk::Op;
use retort_sdk::op::Attribute;
use std::sync::Arc;

pub(crate) type Fallible<T> = Result<T, String>;

/// What an operation gave. Tensors are computed with four dimensions, the missing ones in front: that costs
/// nothing (`docs/benchmarks.md`), and an operation is one arm for all ranks.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Float(Tensor<4>),
    Int(Tensor<4, Int>),
    /// A fact: a number that only the plugin's own code reads.
    Number(f64),
}

/// A tensor's true dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Four dimensions, the missing ones in front.
    pub(crate) padded: [usize; 4],
    pub(crate) rank: usize,
}

impl Shape {
    pub(crate) fn new(padded: [usize; 4], rank: usize) -> Self {
        Shape { padded, rank }
    }

    pub(crate) fn of(dims: &[usize]) -> Self {
        Shape { padded: pad(dims), rank: dims.len() }
    }

    pub(crate) const SCALAR: Shape = Shape { padded: [1; 4], rank: 0 };

    pub(crate) fn dims(&self) -> &[usize] {
        &self.padded[4 - self.rank..]
    }

    pub(crate) fn len(&self) -> u64 {
        self.padded.iter().map(|&d| d as u64).product()
    }
}

/// What is known of a value before it is computed.
#[derive(Clone, Debug)]
pub(crate) enum Facts {
    Float {
        /// Whether a gradient flows through it.
        tracked: bool,
    },
    Int {
        bounds: Bounds,
        /// The numbers themselves, where they came from the host.
        known: Option<Arc<[i64]>>,
    },
    Number,
}

impl Facts {
    pub(crate) const CONSTANT: Facts = Facts::Float { tracked: false };

    pub(crate) fn int(bounds: Bounds) -> Self {
        Facts::Int { bounds, known: None }
    }

    pub(crate) fn tracked(&self) -> bool {
        matches!(self, Facts::Float { tracked: true })
    }
}

/// A tensor that is there already, such as an input.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) shape: Shape,
    pub(crate) facts: Facts,
}

impl Given {
    pub(crate) fn float(tensor: Tensor<4>, rank: usize) -> Self {
        let facts = Facts::Float { tracked: tensor.is_tracked() };
        Given { shape: Shape::new(tensor.dims(), rank), value: Value::Float(tensor), facts }
    }

    pub(crate) fn int(tensor: Tensor<4, Int>, rank: usize, values: Vec<i64>) -> Self {
        let facts = Facts::Int { bounds: Bounds::of(&values), known: Some(values.into()) };
        Given { shape: Shape::new(tensor.dims(), rank), value: Value::Int(tensor), facts }
    }
}

/// An operation with what it is of, and what is known of its result.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its place among the step's calls.
    pub(crate) call: u64,
    pub(crate) op: Op,
    /// Earlier nodes.
    pub(crate) operands: Vec<usize>,
    pub(crate) attributes: Vec<f64>,
    pub(crate) name: Box<str>,
    pub(crate) shape: Shape,
    pub(crate) facts: Facts,
    /// Its number among what the step takes as constants: the tensors it detaches, the values it reads.
    pub(crate) taken: usize,
    /// Its number among values that are the same in every step.
    pub(crate) constant: Option<u64>,
    /// Once it is computed, and while it is needed.
    pub(crate) value: Option<Value>,
}

/// An operation's numbers, after they were checked against its signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    numbers: &'a [f64],
    /// Of the first operand.
    rank: usize,
}

impl<'a> Attributes<'a> {
    /// Checks them; `rank` is the first operand's.
    pub(crate) fn check(op: Op, numbers: &'a [f64], rank: usize) -> Fallible<Self> {
        let kinds = op.signature().attributes;
        for (i, (name, kind)) in kinds.iter().enumerate() {
            let number = numbers.get(i).copied();
            match (kind, number) {
                (Attribute::Level | Attribute::Values, _) | (Attribute::Number, Some(_)) => {}
                (Attribute::Shape, _) => {
                    let sizes = numbers.get(i..).unwrap_or_default();
                    if sizes.len() > 4 {
                        let n = sizes.len();
                        return Err(format!("{n} dimensions; a tensor has at most four"));
                    }
                    sizes.iter().try_for_each(|&x| size(x).map(drop))?;
                }
                (_, None) => return Err(format!("attribute `{name}` is missing")),
                (Attribute::Size, Some(x)) => drop(size(x)?),
                (Attribute::Dimension, Some(x)) => {
                    let d = size(x)?;
                    if d >= rank {
                        return Err(format!("there is no dimension {d}"));
                    }
                }
            }
        }
        let rest = matches!(kinds.last(), Some((_, Attribute::Shape | Attribute::Values)));
        if numbers.len() > kinds.len() && !rest {
            return Err(format!("{} attributes, where it takes {}", numbers.len(), kinds.len()));
        }
        Ok(Attributes { numbers, rank })
    }

    /// Those of a node, which were checked when it was recorded.
    pub(crate) fn of(node: &'a Node, rank: usize) -> Self {
        Attributes { numbers: &node.attributes, rank }
    }

    pub(crate) fn number(&self, i: usize) -> f64 {
        self.numbers.get(i).copied().unwrap_or_default()
    }

    pub(crate) fn size(&self, i: usize) -> usize {
        self.number(i) as usize
    }

    /// A dimension, in the padded four.
    pub(crate) fn dimension(&self, i: usize) -> usize {
        (4 - self.rank + self.size(i)).min(3)
    }

    /// All numbers from the `i`th on.
    pub(crate) fn rest(&self, i: usize) -> &'a [f64] {
        self.numbers.get(i..).unwrap_or_default()
    }

    /// The shape that they are from the `i`th on.
    pub(crate) fn shape(&self, i: usize) -> Fallible<Shape> {
        shape_of(self.rest(i))
    }
}

/// The shape that these sizes are.
pub(crate) fn shape_of(sizes: &[f64]) -> Fallible<Shape> {
    if sizes.len() > 4 {
        return Err(format!("{} dimensions; a tensor has at most four", sizes.len()));
    }
    let dims = sizes.iter().map(|&x| size(x)).collect::<Fallible<Vec<_>>>()?;
    let shape = Shape::of(&dims);
    elements(shape.padded)?;
    Ok(shape)
}

/// A size from an attribute, which is a float in the binary interface.
fn size(x: f64) -> Fallible<usize> {
    if x >= 0.0 && x.fract() == 0.0 && x <= MAX_DIMENSION as f64 {
        Ok(x as usize)
    } else {
        Err(format!("{x} is not a size: those are whole numbers of at most {MAX_DIMENSION}"))
    }
}

/// Four dimensions, the missing ones in front.
pub(crate) fn pad(dims: &[usize]) -> [usize; 4] {
    let mut out = [1; 4];
    out[4 - dims.len()..].copy_from_slice(dims);
    out
}

/// The same values in another shape.
pub fn reshaped(data: TensorData, dims: &[usize]) -> TensorData {
    let (bytes, _, dtype) = data.into_parts();
    TensorData::from_bytes(bytes, dims.to_vec(), dtype)
}
