//! What a step offers to its loss: inputs, facts, parameters, buffers, constants, random numbers; and what it
//! takes down for later: writes and terms.

use super::bounds::Bounds;
use super::budget::elements;
use super::interpreter::{Interpreter, bytes_of};
use super::node::{Attributes, Facts, Fallible, Given, Shape, Value, pad, reshaped, shape_of};
use super::rules::{Made, Rules};
use super::state::{Kept, Write};
use crate::random;
use burn::tensor::{DType, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use retort_sdk::Op;
use std::time::Instant;

/// Whole numbers that a float holds exactly.
const MAX_EXACT: f64 = (1u64 << 53) as f64;

/// What becomes of a call.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most are the large one")]
pub(crate) enum Offered {
    /// A value that is there.
    Given(Given),
    /// One to compute.
    Later(Made),
    /// A node of the step.
    Same(usize),
    /// It is an operation on tensors.
    No,
}

impl Interpreter {
    fn rules(&mut self) -> Rules<'_> {
        Rules { budget: &mut self.budget, float: bytes_of(self.dtype), integers: self.integers }
    }

    pub(super) fn offer(
        &mut self,
        op: Op,
        operands: &[usize],
        attrs: Attributes,
        name: &str,
        start: Instant,
    ) -> Fallible<Offered> {
        let given = match op {
            Op::Input => self.input(name, attrs)?,
            Op::Fact => self.fact(name)?,
            Op::Has => self.has(name, attrs),
            Op::Param | Op::Buffer => self.kept_value(op, name, attrs)?,
            Op::RandomIndex => self.random_index(attrs)?,
            Op::RandomUniform | Op::RandomNormal => self.random_floats(op, attrs)?,
            Op::Constant | Op::ConstantIndex => {
                return self.constant_of(op, attrs).map(Offered::Later);
            }
            Op::Contrast => self.contrast(attrs.size(0), attrs.number(1) != 0.0)?,
            Op::Once => return self.once(operands[0], name),
            Op::SetRows => return self.set_rows(operands, name, start),
            Op::SetBuffer => {
                let dims = self.nodes[operands[0]].shape;
                let kept = self.buffer(name)?;
                if kept != dims {
                    return Err(format!("the buffer has shape {:?}", kept.dims()));
                }
                self.writes.push(Write::Whole { buffer: name.to_owned(), value: operands[0] });
                return Ok(Offered::Same(operands[0]));
            }
            Op::Log => {
                if self.nodes[operands[0]].shape.len() != 1 {
                    return Err("only one number can be logged".to_owned());
                }
                self.logs.push((name.to_owned(), operands[0]));
                return Ok(Offered::Same(operands[0]));
            }
            _ => return Ok(Offered::No),
        };
        Ok(Offered::Given(given))
    }

    /// Whether asking for an input or a fact would succeed.
    fn has(&self, name: &str, attrs: Attributes) -> Given {
        let input = self.shown.tensors.get(&key(name, attrs)).is_some_and(Result::is_ok);
        let fact = self.shown.facts.get(name).is_some_and(|n| !is_count(name) || *n != 0.0);
        let value = Value::Number(f64::from(u8::from(input || fact)));
        Given { value, shape: Shape::SCALAR, facts: Facts::Number }
    }

    fn input(&mut self, name: &str, attrs: Attributes) -> Fallible<Given> {
        let key = key(name, attrs);
        self.used.insert(name.to_owned());
        let shown = self.shown.tensors.get(&key).cloned();
        shown.unwrap_or_else(|| Err(missing(&key)))
    }

    fn fact(&mut self, name: &str) -> Fallible<Given> {
        let known = self.shown.facts.get(name).copied();
        let number = known.ok_or("this host has no such fact about a step")?;
        if name.ends_with("_features") {
            self.used.insert(name.to_owned());
        }
        if is_count(name) && number == 0.0 {
            return Err(missing(name));
        }
        let value = Value::Number(number);
        Ok(Given { value, shape: Shape::SCALAR, facts: Facts::Number })
    }

    fn set_rows(&mut self, operands: &[usize], name: &str, start: Instant) -> Fallible<Offered> {
        let &[index, rows] = operands else { return Err("two operands are needed".to_owned()) };
        let kept = self.buffer(name)?;
        let (dims, index_shape) = (kept.dims(), self.nodes[index].shape);
        let given = self.nodes[rows].shape;
        let (given, n) = (given.dims(), index_shape.padded[3]);
        let fit = dims.len() == given.len() && dims.get(1..) == given.get(1..);
        if index_shape.rank != 1 || given.first() != Some(&n) || !fit {
            return Err(format!(
                "the buffer has shape {dims:?}: rows need an index [n] and values [n, …]"
            ));
        }
        self.in_bounds(index, dims[0], start)?;
        self.writes.push(Write::Rows { buffer: name.to_owned(), index, rows });
        Ok(Offered::Same(rows))
    }

    fn once(&mut self, operand: usize, name: &str) -> Fallible<Offered> {
        self.state_used.insert(format!("buffer.{name}"));
        if let Some(kept) = self.kept.buffers.get(name) {
            return Ok(Offered::Given(Kept::given(kept)));
        }
        let known = self.kept.firsts.contains(name) || self.kept.probing;
        if self.kept.frozen && !known {
            return Err(appears_late());
        }
        self.kept.firsts.insert(name.to_owned());
        let shape = self.nodes[operand].shape;
        let bytes = shape.len().saturating_mul(bytes_of(self.dtype));
        self.budget.hold(Kept::buffer(bytes), 0)?;
        // The node that comes next.
        let write = Write::Once { buffer: name.to_owned(), value: self.nodes.len() };
        self.writes.push(write);
        Ok(Offered::Later(Made::new(shape, Facts::CONSTANT)))
    }

    fn random_index(&mut self, attrs: Attributes) -> Fallible<Given> {
        let (end, shape) = (attrs.size(0), attrs.shape(1)?);
        if end == 0 {
            return Err("there is nothing to draw from: the end is 0".to_owned());
        }
        let dims = shape.padded;
        self.rules().reserve_index(dims)?;
        let bounds = self.rules().held_by_device(Some(Bounds::below(end)))?;
        let tensor = match self.draw(dims)? {
            Ok(data) => {
                if let Some(bad) = data.iter::<i64>().find(|&i| i < 0 || i as usize >= end) {
                    return Err(format!(
                        "the given draw holds {bad}, but this draw is from 0..{end}"
                    ));
                }
                Tensor::from_data(data, &self.device)
            }
            Err(mut stream) => {
                let n = dims.iter().product();
                let draw = |_| stream.random_range(0..end as u64) as i64;
                self.upload_index((0..n).map(draw).collect(), dims)
            }
        };
        self.note_draw(Some(end), || tensor.to_data());
        Ok(Given { value: Value::Int(tensor), shape, facts: Facts::int(bounds) })
    }

    fn random_floats(&mut self, op: Op, attrs: Attributes) -> Fallible<Given> {
        let shape = attrs.shape(0)?;
        let dims = shape.padded;
        self.rules().reserve_with(dims, 8)?;
        let tensor = match self.draw(dims)? {
            Ok(data) => Tensor::from_data(data, (&self.device, DType::from(self.dtype))),
            Err(mut stream) => {
                let n = dims.iter().product();
                let draw = |_| match op {
                    Op::RandomUniform => stream.random::<f64>(),
                    _ => random::normal(&mut stream),
                };
                self.upload((0..n).map(draw).collect(), dims)
            }
        };
        self.note_draw(None, || tensor.to_data());
        Ok(Given::float(tensor, shape.rank))
    }

    fn constant_of(&mut self, op: Op, attrs: Attributes) -> Fallible<Made> {
        let (rank, rest) = (attrs.size(0), attrs.rest(1));
        if rank > rest.len() {
            return Err("fewer dimensions than the rank says".to_owned());
        }
        let (dims, values) = rest.split_at(rank);
        let shape = shape_of(dims)?;
        if values.len() as u64 != elements(shape.padded)? {
            return Err(format!("{} values for shape {:?}", values.len(), shape.dims()));
        }
        if op == Op::Constant {
            self.rules().reserve_with(shape.padded, 16)?;
            return Ok(Made::new(shape, Facts::CONSTANT));
        }
        self.budget.reserve(shape.padded, 8, 16)?;
        let whole = |v: &f64| v.fract() == 0.0 && v.abs() <= MAX_EXACT;
        if let Some(bad) = values.iter().find(|v| !whole(v)) {
            return Err(format!("{bad} is not a whole number that a float holds exactly"));
        }
        let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
        let bounds = self.rules().held_by_device(Some(Bounds::of(&values)))?;
        Ok(Made::new(shape, Facts::Int { bounds, known: Some(values.into()) }))
    }

    /// A random stream of this step's next draw, or the values that replace it.
    fn draw(&mut self, dims: [usize; 4]) -> Fallible<Result<TensorData, ChaCha8Rng>> {
        let number = self.draws;
        self.draws += 1;
        let Some(given) = self.shown.draws.get(number) else {
            return Ok(Err(random::stream(self.seed, &[self.step, number as u64])));
        };
        let shape = given.shape().to_vec();
        if shape.len() > 4 || pad(&shape) != dims {
            return Err(format!(
                "random.{number} has shape {shape:?}, but this draw has shape {dims:?}"
            ));
        }
        Ok(Ok(reshaped(given.clone(), &dims)))
    }

    fn note_draw(&mut self, end: Option<usize>, data: impl FnOnce() -> TensorData) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(data());
            self.ends.push(end);
        }
    }

    /// Samples to contrast each row with: its own, then random ones.
    fn contrast(&mut self, k: usize, other: bool) -> Fallible<Given> {
        let (n, samples) = (self.shown.contrast.ids.len(), self.shown.contrast.samples);
        self.used.insert("ids".to_owned());
        if n == 0 || samples == 0 {
            return Err(missing(if n == 0 { "ids" } else { "samples" }));
        }
        let dims = [1, 1, n, 1 + k];
        self.rules().reserve_index(dims)?;
        let start = Instant::now();
        let values: Vec<i64> = match self.draw(dims)? {
            Ok(data) => data.iter::<i64>().collect(),
            Err(mut stream) => {
                if other && self.shown.contrast.labels.is_empty() {
                    return Err(missing("sample_labels"));
                }
                let labels = &self.shown.contrast.labels;
                if other && labels.iter().all(|label| Some(label) == labels.first()) {
                    let why = "it contrasts with other classes, but the training set has only one";
                    self.undefined(why);
                    return Err(why.to_owned());
                }
                let budget = &mut self.budget;
                let mut go_on = || budget.go_on_since(start);
                self.shown.contrast.draw(k, other, &mut stream, &mut go_on)?
            }
        };
        if let Some(bad) = values.iter().find(|&&i| i < 0 || i as usize >= samples) {
            return Err(format!("it holds sample {bad}, but the samples are 0..{samples}"));
        }
        self.note_draw(None, || TensorData::new(values.clone(), dims));
        let own = values.chunks(1 + k).zip(&self.shown.contrast.ids);
        let mut firsts = own.map(|(row, id)| (row.first().copied().unwrap_or(-1), *id));
        if let Some((first, id)) = firsts.find(|(first, id)| first != id) {
            return Err(format!("column 0 holds {first}, where the row's own id is {id}"));
        }
        let bounds = self.rules().held_by_device(Some(Bounds::of(&values)))?;
        let value = Value::Int(self.upload_index(values, dims));
        Ok(Given { value, shape: Shape::new(dims, 2), facts: Facts::int(bounds) })
    }

    fn upload(&self, values: Vec<f64>, dims: [usize; 4]) -> Tensor<4> {
        let data = TensorData::new(values, dims);
        Tensor::from_data(data, (&self.device, DType::from(self.dtype)))
    }

    /// A new parameter's or buffer's value: a function of the seed and its name alone.
    fn initial(&mut self, attrs: Attributes, name: &str) -> Fallible<(Tensor<4>, usize)> {
        let (code, scale, shape) = (attrs.number(0), attrs.number(1), attrs.shape(2)?);
        self.rules().reserve_with(shape.padded, 8)?;
        let n = shape.padded.iter().product();
        let mut stream = random::stream(random::key(self.seed, name), &[]);
        let values = match code as i64 {
            0 => vec![0.0; n],
            1 => vec![scale; n],
            2 => (0..n).map(|_| scale * random::normal(&mut stream)).collect(),
            3 => (0..n).map(|_| scale * (2.0 * stream.random::<f64>() - 1.0)).collect(),
            other => return Err(format!("initialiser {other} is unknown to this host")),
        };
        Ok((self.upload(values, shape.padded), shape.rank))
    }

    fn kept_value(&mut self, op: Op, name: &str, attrs: Attributes) -> Fallible<Given> {
        self.state_used.insert(format!("{op}.{name}"));
        let map = if op == Op::Param { &self.kept.params } else { &self.kept.buffers };
        if let Some(kept) = map.get(name) {
            let (given, wanted) = (Kept::given(kept), attrs.shape(2)?);
            if given.shape != wanted {
                return Err(format!(
                    "it has shape {:?}, but the loss now asks for {:?}",
                    given.shape.dims(),
                    wanted.dims()
                ));
            }
            return Ok(given);
        }
        if self.kept.frozen {
            return Err(appears_late());
        }
        let (tensor, rank) = self.initial(attrs, name)?;
        let (map, tensor, bytes) = if op == Op::Param {
            let bytes = Kept::param(&tensor);
            (&mut self.kept.params, tensor.require_grad(), bytes)
        } else {
            let bytes = Kept::buffer(super::state::bytes_of(&tensor));
            (&mut self.kept.buffers, tensor, bytes)
        };
        self.budget.hold(bytes, 0)?;
        map.insert(name.to_owned(), (tensor.clone(), rank));
        Ok(Given::float(tensor, rank))
    }

    fn buffer(&self, name: &str) -> Fallible<Shape> {
        let known = self.kept.buffers.get(name);
        let (tensor, rank) =
            known.ok_or("no such buffer; ask for it with step.buffer() before writing it")?;
        Ok(Shape::new(tensor.dims(), *rank))
    }
}

/// An input's name among those of the step: a list's with the place in it.
fn key(name: &str, attrs: Attributes) -> String {
    match attrs.rest(0) {
        [level] => format!("{name}.{level}"),
        _ => name.to_owned(),
    }
}

/// Whether a fact is a count: one of 0 stands for what this step doesn't have or know.
fn is_count(fact: &str) -> bool {
    fact.ends_with("_features") || fact == "classes" || fact == "samples"
}

fn appears_late() -> String {
    "it appears after set-up; a loss must ask for all of its parameters and buffers in every step, \
     from the first on"
        .to_owned()
}

/// What to do about an input that this step doesn't have.
fn missing(name: &str) -> String {
    let hint = match name.split('.').next().unwrap_or(name) {
        "target" => "the loss needs the embeddings that are trained",
        "source" => "the loss compares with a source network: give one",
        "source_features" => "the loss needs the source network's feature maps: give a source",
        "target_features" => "the loss needs the target network's feature maps",
        "labels" => "the loss needs the class of each sample",
        "ids" => "the loss needs the number of each sample in the training set",
        "classes" => "their number is that of the labels, or has to be said (`classes`)",
        "sample_labels" => {
            "negatives of other classes need the class of every training sample: give it as \
             `sample_labels` [samples], or give the draw itself as `random.0`"
        }
        "samples" => "their number is that of the ids, or has to be said (`samples`)",
        _ => "no host has such an input",
    };
    format!("this step has no {name}; {hint}")
}
