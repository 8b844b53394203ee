//! What the host keeps for a loss from step to step, and a step's changes to it.

use super::node::{Given, Value};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A parameter, its gradient and two moments.
const PARAM_COPIES: u64 = 4;
/// A buffer, and what replaces it.
const BUFFER_COPIES: u64 = 2;

/// What the host keeps for one loss from step to step. Parameters are leaves of the graph.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) params: BTreeMap<String, (Tensor<4>, usize)>,
    pub(crate) buffers: BTreeMap<String, (Tensor<4>, usize)>,
    /// Names of values that are kept as they are first seen; they become buffers.
    pub(crate) firsts: BTreeSet<String>,
    /// The step is a probe, in which such names may appear.
    pub(crate) probing: bool,
    /// No parameter or buffer may appear any more: the optimiser and checkpoints know them.
    pub(crate) frozen: bool,
}

impl Kept {
    /// Bytes that are kept: of a parameter also its gradient and two moments, of a buffer also what
    /// replaces it.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = |(tensor, _): &(Tensor<4>, usize)| bytes_of(tensor);
        let params = self.params.values().map(bytes).sum::<u64>();
        PARAM_COPIES * params + BUFFER_COPIES * self.buffers.values().map(bytes).sum::<u64>()
    }

    pub(crate) fn param(tensor: &Tensor<4>) -> u64 {
        PARAM_COPIES * bytes_of(tensor)
    }

    pub(crate) fn buffer(bytes: u64) -> u64 {
        BUFFER_COPIES * bytes
    }

    /// A parameter or buffer, for the step.
    pub(crate) fn given((tensor, rank): &(Tensor<4>, usize)) -> Given {
        Given::float(tensor.clone(), *rank)
    }
}

/// Bytes of a tensor's elements.
pub(crate) fn bytes_of(tensor: &Tensor<4>) -> u64 {
    tensor.dims().iter().product::<usize>() as u64 * tensor.dtype().size() as u64
}

/// A change to a buffer that lands when the step ends well; tensors by their nodes.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Rows { buffer: String, index: usize, rows: usize },
    Whole { buffer: String, value: usize },
    Once { buffer: String, value: usize },
}

impl Write {
    /// The nodes that it needs.
    pub(crate) fn nodes(&self) -> Vec<usize> {
        match self {
            Write::Rows { index, rows, .. } => vec![*index, *rows],
            Write::Whole { value, .. } | Write::Once { value, .. } => vec![*value],
        }
    }
}

/// Its tensors, once they are computed.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a step has a handful of them")]
pub(crate) enum Landing {
    Rows { buffer: String, index: Tensor<4, Int>, names: Option<Arc<[i64]>>, rows: Tensor<4> },
    Whole { buffer: String, value: Tensor<4> },
    Once { buffer: String, value: Tensor<4>, rank: usize },
}

/// A float without its gradient.
pub(crate) fn constant(value: Option<&Value>) -> Option<Tensor<4>> {
    match value {
        Some(Value::Float(tensor)) => Some(tensor.clone().detach()),
        _ => None,
    }
}

/// Carries out a step's writes.
pub(crate) fn land(writes: Vec<Landing>, buffers: &mut BTreeMap<String, (Tensor<4>, usize)>) {
    for write in writes {
        match write {
            Landing::Whole { buffer, value } => {
                if let Some(kept) = buffers.get_mut(&buffer) {
                    kept.0 = value;
                }
            }
            Landing::Once { buffer, value, rank } => {
                buffers.entry(buffer).or_insert((value, rank));
            }
            Landing::Rows { buffer, index, names, rows } => {
                if let Some((tensor, rank)) = buffers.get_mut(&buffer) {
                    *tensor = set_rows(tensor.clone(), 4 - *rank, index, names.as_deref(), rows);
                }
            }
        }
    }
}

/// `tensor` with rows of dimension `d` replaced; of rows named twice the later one counts. Names that
/// aren't `known` are read.
fn set_rows(
    tensor: Tensor<4>,
    d: usize,
    index: Tensor<4, Int>,
    known: Option<&[i64]>,
    rows: Tensor<4>,
) -> Tensor<4> {
    let index = index.reshape([-1]);
    let names = match known {
        Some(names) => names.to_vec(),
        None => index.clone().into_data().iter::<i64>().collect(),
    };
    let mut last = BTreeMap::new();
    for (position, name) in names.iter().enumerate() {
        last.insert(*name, position as i64);
    }
    let (index, rows): (Tensor<1, Int>, _) = if last.len() == names.len() {
        (index, rows)
    } else {
        let device = index.device();
        let (names, positions): (Vec<i64>, Vec<i64>) = last.into_iter().unzip();
        let positions = Tensor::<1, Int>::from_data(positions.as_slice(), &device);
        (Tensor::from_data(names.as_slice(), &device), rows.select(d, positions))
    };
    tensor.select_assign(d, index, rows, IndexingUpdateOp::Assign)
}
