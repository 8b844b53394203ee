//! Runs the operations that a plugin asks for, on Burn: operation code -> Burn, one arm each.
//!
//! Every tensor is held with four dimensions, the missing ones in front, next to its rank. Each
//! operation works out the shape of its result before it runs, so that wrong shapes and excessive
//! sizes become errors of the step and never reach the backend.

use crate::bounds::Bounds;
use crate::budget::{Budget, MAX_DIMENSION, Operands, elements};
use crate::error::{Failure, guarded, refused};
use crate::limits::Limits;
use crate::random;
use crate::watch::Watch;
use burn::tensor::{
    DType, Device, FloatDType, IndexingUpdateOp, Int, IntDType, Tensor, TensorData, activation,
    module,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use retort_sdk::Op;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

/// Bytes of the name of an input, a parameter, a buffer or a term.
const MAX_NAME: usize = 256;
/// Bytes of a message of the plugin's.
const MAX_MESSAGE: usize = 4096;
/// Operands of one operation.
const MAX_OPERANDS: usize = 3;
/// Numbers of one operation that isn't a constant.
const MAX_ATTRS: usize = 8;
/// Exponents lie below: backends take whole ones as integers.
const MAX_EXPONENT: f64 = 1e9;
/// Whole numbers that a float holds exactly.
const MAX_EXACT: f64 = (1u64 << 53) as f64;

/// A tensor of a step.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Float(Tensor<4>),
    Int(Tensor<4, Int>, Bounds),
    /// A fact: a number that only the plugin's own code reads.
    Number(f64),
}

/// A tensor with its true rank.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) value: Value,
    pub(crate) rank: usize,
}

impl Slot {
    pub(crate) fn float(tensor: Tensor<4>, rank: usize) -> Self {
        Slot { value: Value::Float(tensor), rank }
    }

    pub(crate) fn int(tensor: Tensor<4, Int>, bounds: Bounds, rank: usize) -> Self {
        Slot { value: Value::Int(tensor, bounds), rank }
    }

    fn padded(&self) -> [usize; 4] {
        match &self.value {
            Value::Float(t) => t.dims(),
            Value::Int(t, _) => t.dims(),
            Value::Number(_) => [1; 4],
        }
    }

    fn operand(&self) -> Operands {
        let dims = self.padded();
        let elements = dims.iter().map(|&d| d as u64).product();
        let (size, tracked) = match &self.value {
            Value::Float(t) => (t.dtype().size() as u64, t.is_tracked()),
            Value::Int(t, _) => (t.dtype().size() as u64, false),
            Value::Number(_) => (0, false),
        };
        Operands { elements, bytes: elements * size, tracked }
    }

    pub(crate) fn dims(&self) -> Vec<usize> {
        self.padded()[4 - self.rank..].to_vec()
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

/// What a step takes as given: a tensor it detaches, or values it reads.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a step has a handful of them")]
enum Given {
    Tensor(Tensor<4>),
    Values(Vec<f64>),
}

/// What becomes of such constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Constants {
    /// They follow what they were taken from.
    #[default]
    Live,
    /// The same, and each step keeps its own.
    Kept,
    /// The step that was kept last gives them: the loss as its gradient sees it.
    Held,
}

/// A change to a buffer that lands when the step ends well.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a step has a handful of them")]
pub(crate) enum Write {
    Rows { buffer: String, index: Tensor<1, Int>, rows: Tensor<4> },
    Whole { buffer: String, value: Tensor<4> },
    Once { buffer: String, value: Tensor<4>, rank: usize },
}

/// What the host keeps for one loss from step to step. Parameters are leaves of the graph.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) params: BTreeMap<String, (Tensor<4>, usize)>,
    pub(crate) buffers: BTreeMap<String, (Tensor<4>, usize)>,
    /// Names of values that are kept as they are first seen; they become buffers.
    pub(crate) firsts: BTreeSet<String>,
    /// The step is a probe, in which such names may appear.
    pub(crate) probing: bool,
    /// No parameter or buffer may appear any more: the optimiser and checkpoints know them.
    pub(crate) frozen: bool,
}

impl State {
    /// Bytes that are kept: of a parameter also its gradient and two moments, of a buffer also what
    /// replaces it.
    fn bytes(&self) -> u64 {
        let bytes = |(tensor, _): &(Tensor<4>, usize)| bytes_of(tensor);
        let params = self.params.values().map(bytes).sum::<u64>();
        PARAM_COPIES * params + BUFFER_COPIES * self.buffers.values().map(bytes).sum::<u64>()
    }
}

/// Bytes of a tensor's elements.
fn bytes_of(tensor: &Tensor<4>) -> u64 {
    tensor.dims().iter().product::<usize>() as u64 * tensor.dtype().size() as u64
}

/// A parameter, its gradient and two moments.
const PARAM_COPIES: u64 = 4;
/// A buffer, and what replaces it.
const BUFFER_COPIES: u64 = 2;

/// What the step shows to the loss.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Tensors by name, or why one can't be used.
    pub(crate) tensors: BTreeMap<String, Result<Slot, String>>,
    pub(crate) facts: BTreeMap<&'static str, f64>,
    /// Replaces the step's first, second, … random draw.
    pub(crate) draws: Vec<TensorData>,
    pub(crate) contrast: Contrast,
}

/// What random samples of other classes are drawn from.
#[derive(Debug, Default)]
pub(crate) struct Contrast {
    pub(crate) ids: Vec<i64>,
    pub(crate) views: usize,
    pub(crate) samples: usize,
    /// Class of every sample in the training set.
    pub(crate) labels: Arc<[i64]>,
}

impl Contrast {
    /// Each row's own id, then `k` random ones; views of a sample share them. `[n, 1 + k]`
    /// `go_on` is asked now and then: where nearly all samples are of one class, this takes long.
    fn draw(
        &self,
        k: usize,
        other_classes: bool,
        stream: &mut ChaCha8Rng,
        go_on: &mut dyn FnMut() -> Fallible<()>,
    ) -> Fallible<Vec<i64>> {
        const TRIES: u32 = 1 << 16;
        let (n, samples) = (self.ids.len(), self.samples);
        let distinct = (n / self.views.max(1)).max(1);
        let mut tries = 0u32;
        let mut out: Vec<i64> = Vec::with_capacity(n * (1 + k));
        for (row, &id) in self.ids.iter().enumerate() {
            let first = row % distinct;
            if self.ids[first] == id && first != row {
                out.extend_from_within(first * (1 + k)..(first + 1) * (1 + k));
                continue;
            }
            out.push(id);
            if !other_classes {
                out.extend((0..k).map(|_| stream.random_range(0..samples as u64) as i64));
                continue;
            }
            let class = |id: i64| usize::try_from(id).ok().and_then(|i| self.labels.get(i));
            let own = class(id).ok_or_else(|| {
                format!("sample {id} is not among the {samples} of the training set")
            })?;
            for _ in 0..k {
                out.push(loop {
                    tries = tries.wrapping_add(1);
                    if tries.is_multiple_of(TRIES) {
                        go_on()?;
                    }
                    let drawn = stream.random_range(0..self.labels.len() as u64);
                    if self.labels[drawn as usize] != *own {
                        break drawn as i64;
                    }
                });
            }
        }
        Ok(out)
    }
}

/// One step of one loss, as its plugin sees it.
#[derive(Debug)]
pub struct Interpreter {
    device: Device,
    dtype: FloatDType,
    /// What the device's integers hold.
    integers: Bounds,
    budget: Budget,
    /// Key of the random streams: seed and loss, then the step.
    seed: u64,
    step: u64,
    draws: usize,
    /// The step's random draws, if they are asked for.
    pub(crate) recorded: Option<Vec<TensorData>>,
    /// Of each recorded draw, below which number it was drawn, if so.
    pub(crate) ends: Vec<Option<usize>>,
    pub(crate) constants: Constants,
    given: Vec<Given>,
    /// The next one of these, while they are held.
    next: usize,
    generation: u32,
    slots: Vec<Slot>,
    calls: u64,
    failure: Option<Failure>,
    pub(crate) shown: Shown,
    pub(crate) state: State,
    pub(crate) writes: Vec<Write>,
    pub(crate) logs: Vec<(String, Tensor<1>)>,
    /// Inputs that the step asked for.
    pub(crate) used: BTreeSet<String>,
    /// Parameters and buffers that the step asked for, as `param.<name>` and `buffer.<name>`.
    pub(crate) state_used: BTreeSet<String>,
    /// Looks at every operation, if somebody wants to know.
    pub(crate) watch: Option<Watch>,
}

/// Steps of all losses of the process are numbered through, so that a handle fits one step only.
static GENERATION: AtomicU32 = AtomicU32::new(1);

type Fallible<T> = Result<T, String>;

impl Interpreter {
    pub(crate) fn new(device: Device, dtype: FloatDType, limits: &Limits, seed: u64) -> Self {
        Interpreter {
            integers: integers_of(&device),
            device,
            dtype,
            budget: Budget::new(limits),
            seed,
            step: 0,
            draws: 0,
            recorded: None,
            ends: Vec::new(),
            constants: Constants::Live,
            given: Vec::new(),
            next: 0,
            generation: 0,
            slots: Vec::new(),
            calls: 0,
            failure: None,
            shown: Shown::default(),
            state: State::default(),
            writes: Vec::new(),
            logs: Vec::new(),
            used: BTreeSet::new(),
            state_used: BTreeSet::new(),
            watch: None,
        }
    }

    /// Starts step number `step` on what `shown` holds. Everything of the step before is gone.
    pub(crate) fn begin(&mut self, step: u64, shown: Shown) {
        self.end();
        // Generation 0 is never used, so that a handle is never 0.
        self.generation = GENERATION.fetch_add(1, Ordering::Relaxed).max(1);
        (self.step, self.draws, self.calls) = (step, 0, 0);
        self.budget.begin(self.state.bytes());
        self.failure = None;
        self.recorded.iter_mut().for_each(Vec::clear);
        self.ends.clear();
        self.next = 0;
        if self.constants == Constants::Kept {
            self.given.clear();
        }
        self.shown = shown;
        self.used.clear();
        self.state_used.clear();
    }

    /// Frees the step's tensors.
    pub(crate) fn end(&mut self) {
        self.slots.clear();
        self.writes.clear();
        self.logs.clear();
        self.shown = Shown::default();
    }

    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn dtype(&self) -> FloatDType {
        self.dtype
    }

    /// Operations asked for in this step.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// Bytes of the tensors made in this step.
    pub(crate) fn made(&self) -> u64 {
        self.budget.made()
    }

    /// Limits of the step, which the sandbox enforces too.
    pub fn limits(&self) -> &Limits {
        self.budget.limits()
    }

    /// What the device's integers hold.
    pub(crate) fn integers(&self) -> Bounds {
        self.integers
    }

    /// From now on, a step that takes long ends when this is set.
    pub(crate) fn stop_on(&mut self, stop: &'static AtomicBool) {
        self.budget.stop_on(stop);
    }

    /// Whether the user wants to stop, and the step has had its time to end by itself.
    pub fn stop_wanted(&self) -> bool {
        self.budget.stop_wanted()
    }

    /// Whether the user's wish to stop ended the step.
    pub(crate) fn stopped(&self) -> bool {
        self.budget.stopped() || self.stop_wanted()
    }

    /// The plugin's `call`: runs an operation and returns its handle; 0 once the step has failed.
    pub fn call(&mut self, op: u32, args: &[u64], attrs: &[f64], name: &str) -> u64 {
        self.calls += 1;
        let start = Instant::now();
        let handle = self.dispatch(op, args, attrs, name);
        self.budget.took(start);
        handle
    }

    fn dispatch(&mut self, op: u32, args: &[u64], attrs: &[f64], name: &str) -> u64 {
        let Some(known) = Op::from_code(op) else {
            self.fail(
                format!("operation {op}"),
                "this host doesn't know it; the plugin's SDK is newer than the host".to_owned(),
            );
            return 0;
        };
        let name = match known {
            Op::Fail | Op::Undefined | Op::Blame => cut(name, MAX_MESSAGE),
            _ => name,
        };
        match known {
            Op::Fail if !name.is_empty() => self.fail(String::new(), name.to_owned()),
            Op::Undefined if self.failure.is_none() => {
                self.fail(String::new(), name.to_owned());
                self.failure.iter_mut().for_each(|failure| failure.undefined = true);
            }
            Op::Blame => self.blame(name),
            Op::Fail => {}
            _ if self.failure.is_none() => return self.run(known, args, attrs, name),
            _ => {}
        }
        0
    }

    fn run(&mut self, op: Op, args: &[u64], attrs: &[f64], name: &str) -> u64 {
        let result = self.accept(op, args, attrs, name).and_then(|()| {
            // The backend's panics (out of memory, say) are errors of this step too.
            guarded(|| match self.watch.take() {
                None => self.execute(op, args, attrs, name),
                Some(mut watch) => {
                    let result = watch.execute(self, op, args, attrs, name);
                    self.watch = Some(watch);
                    result
                }
            })
            .unwrap_or_else(|why| Err(refused(why)))
        });
        match result {
            Ok(slot) => self.keep(slot),
            Err(why) => {
                let what = self.describe(op, args, name);
                self.fail(what, why);
                0
            }
        }
    }

    /// Keeps a tensor of the step; its handle.
    pub(crate) fn keep(&mut self, slot: Slot) -> u64 {
        let handle = self.next_handle();
        self.slots.push(slot);
        handle
    }

    /// The handle of the next tensor.
    pub(crate) fn next_handle(&self) -> u64 {
        (u64::from(self.generation) << 32) | (self.slots.len() as u64 + 1)
    }

    /// Refuses a call that no operation takes, or for which the step has no time, and takes down what
    /// it reads.
    fn accept(&mut self, op: Op, args: &[u64], attrs: &[f64], name: &str) -> Fallible<()> {
        self.budget.go_on()?;
        let limit = self.limits().handles;
        if self.slots.len() >= limit {
            return Err(format!("the step made more than {limit} tensors (limit `handles`)"));
        }
        if name.len() > MAX_NAME {
            return Err(format!("its name has {} bytes; at most {MAX_NAME}", name.len()));
        }
        if args.len() > MAX_OPERANDS {
            return Err(format!(
                "{} operands; no operation takes more than {MAX_OPERANDS}",
                args.len()
            ));
        }
        let constant = matches!(op, Op::Constant | Op::ConstantIndex);
        if attrs.len() > MAX_ATTRS && !constant {
            return Err(format!("{} attributes; at most {MAX_ATTRS}", attrs.len()));
        }
        let mut all = Operands::default();
        for &handle in args {
            let one = self.slot(handle)?.operand();
            all.elements = all.elements.saturating_add(one.elements);
            all.bytes = all.bytes.saturating_add(one.bytes);
            all.tracked |= one.tracked;
        }
        self.budget.operation(all);
        Ok(())
    }

    fn fail(&mut self, what: String, why: String) {
        self.failure.get_or_insert(Failure { what, why, at: None, undefined: false });
    }

    fn blame(&mut self, at: &str) {
        if let Some(failure) = &mut self.failure {
            failure.at.get_or_insert_with(|| at.to_owned());
        }
    }

    /// The operation with its operands' shapes.
    fn describe(&self, op: Op, args: &[u64], name: &str) -> String {
        let shapes = args.iter().take(MAX_OPERANDS).map(|&h| match self.slot(h) {
            Ok(slot) => format!("{:?}", slot.dims()),
            Err(_) => "?".to_owned(),
        });
        let shapes: Vec<String> = shapes.collect();
        let name = match cut(name, MAX_NAME) {
            "" => String::new(),
            name => format!(" `{name}`"),
        };
        let of = if shapes.is_empty() { "" } else { " of " };
        format!("{op}{name}{of}{}", shapes.join(" and "))
    }

    /// The plugin's `shape`. Ones once the step has failed, so that a formula can run to its end.
    pub fn shape(&mut self, tensor: u64) -> Vec<usize> {
        if self.failure.is_some() {
            return vec![1; 4];
        }
        let start = Instant::now();
        let going_on = self.budget.go_on();
        let dims = going_on.and_then(|()| self.slot(tensor).map(Slot::dims));
        self.budget.took(start);
        dims.unwrap_or_else(|why| {
            self.fail("shape".to_owned(), why);
            vec![1; 4]
        })
    }

    /// The plugin's `read`: values, row-major. None once the step has failed.
    pub fn read(&mut self, tensor: u64) -> Vec<f64> {
        if self.failure.is_some() {
            return Vec::new();
        }
        let start = Instant::now();
        let values = guarded(|| self.values(tensor)).unwrap_or_else(|why| Err(refused(why)));
        self.budget.took(start);
        values.unwrap_or_else(|why| {
            self.fail("read".to_owned(), why);
            Vec::new()
        })
    }

    fn values(&mut self, tensor: u64) -> Fallible<Vec<f64>> {
        self.budget.go_on()?;
        let slot = self.slot(tensor)?;
        let (value, operand) = (slot.value.clone(), slot.operand());
        // What the device gives, as floats, and what the plugin gets.
        self.budget.hold(0, operand.bytes.saturating_add(operand.elements.saturating_mul(16)))?;
        let floats = matches!(value, Value::Float(_));
        let data = match value {
            Value::Number(x) => return Ok(vec![x]),
            Value::Float(t) => t.try_into_data(),
            Value::Int(t, _) => t.try_into_data(),
        };
        let values = data.map_err(|e| e.to_string())?.iter::<f64>().collect();
        Ok(if floats { self.given_values(values) } else { values })
    }

    /// The tensor without its gradient, or the one that is held in its place.
    fn given_tensor(&mut self, tensor: Tensor<4>) -> Tensor<4> {
        let tensor = tensor.detach();
        match self.constants {
            Constants::Live => {}
            Constants::Kept => self.given.push(Given::Tensor(tensor.clone())),
            Constants::Held => {
                self.next += 1;
                if let Some(Given::Tensor(held)) = self.given.get(self.next - 1)
                    && held.dims() == tensor.dims()
                {
                    return held.clone();
                }
            }
        }
        tensor
    }

    /// The same for values that the plugin reads.
    fn given_values(&mut self, values: Vec<f64>) -> Vec<f64> {
        match self.constants {
            Constants::Live => {}
            Constants::Kept => self.given.push(Given::Values(values.clone())),
            Constants::Held => {
                self.next += 1;
                if let Some(Given::Values(held)) = self.given.get(self.next - 1)
                    && held.len() == values.len()
                {
                    return held.clone();
                }
            }
        }
        values
    }

    pub(crate) fn slot(&self, handle: u64) -> Fallible<&Slot> {
        let (generation, number) = ((handle >> 32) as u32, handle as u32 as usize);
        if generation != self.generation {
            return Err("a handle from another step, or from another loss: handles live for one \
                        step only"
                .to_owned());
        }
        let slot = number.checked_sub(1).and_then(|i| self.slots.get(i));
        slot.ok_or_else(|| "a handle that this step never gave out".to_owned())
    }

    /// The scalar that the loss returned.
    pub(crate) fn result(&mut self, handle: u64) -> Result<(Tensor<1>, Vec<usize>), String> {
        self.watch.iter_mut().for_each(|watch| watch.returned(handle));
        let slot = self.slot(handle)?;
        let dims = slot.dims();
        match &slot.value {
            Value::Float(t) if dims.iter().product::<usize>() == 1 => {
                Ok((t.clone().reshape([1]), dims))
            }
            Value::Float(t) => Ok((t.clone().reshape([-1]), dims)),
            _ => Err("the loss returned integers; a loss is one float".to_owned()),
        }
    }

    fn float(&self, args: &[u64], i: usize) -> Fallible<(Tensor<4>, usize)> {
        match self.slot(operand(args, i)?)? {
            Slot { value: Value::Float(t), rank } => Ok((t.clone(), *rank)),
            _ => Err(format!("operand {} must be floats, and isn't", i + 1)),
        }
    }

    fn int(&self, args: &[u64], i: usize) -> Fallible<(Tensor<4, Int>, Bounds, usize)> {
        match self.slot(operand(args, i)?)? {
            Slot { value: Value::Int(t, bounds), rank } => Ok((t.clone(), *bounds, *rank)),
            _ => Err(format!("operand {} must be integers, and isn't", i + 1)),
        }
    }

    /// Makes sure that new floats of this shape may be, and stay within the limits.
    fn reserve(&mut self, dims: [usize; 4]) -> Fallible<()> {
        self.reserve_with(dims, 0)
    }

    /// The same, where making them needs more bytes an element for a moment.
    fn reserve_with(&mut self, dims: [usize; 4], scratch: u64) -> Fallible<()> {
        let size = if self.dtype == FloatDType::F64 { 8 } else { 4 };
        self.budget.reserve(dims, size, scratch)
    }

    /// Makes sure that new integers of this shape may be, and stay within the limits.
    fn reserve_index(&mut self, dims: [usize; 4]) -> Fallible<()> {
        self.budget.reserve(dims, 8, 8)
    }

    /// These bounds, if the device's integers hold them.
    fn held_by_device(&self, bounds: Option<Bounds>) -> Fallible<Bounds> {
        let Bounds { low, high } = self.integers;
        match bounds {
            Some(b) if b.low >= low && b.high <= high => Ok(b),
            _ => Err(format!(
                "its integers may leave {low} to {high}, which is all that this device holds"
            )),
        }
    }

    fn mask(&self, mask: Tensor<4, burn::tensor::Bool>) -> Tensor<4> {
        mask.float().cast(self.dtype)
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

    fn record(&mut self, end: Option<usize>, data: impl FnOnce() -> TensorData) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(data());
            self.ends.push(end);
        }
    }

    /// Samples to contrast each row with: its own, then random ones.
    fn contrast(&mut self, attrs: &[f64]) -> Fallible<Slot> {
        let &[k, other] = attrs else { return Err("two attributes are needed".to_owned()) };
        let (k, n, samples) =
            (size(k)?, self.shown.contrast.ids.len(), self.shown.contrast.samples);
        self.used.insert("ids".to_owned());
        if n == 0 || samples == 0 {
            return Err(missing(if n == 0 { "ids" } else { "samples" }));
        }
        let dims = [1, 1, n, 1 + k];
        self.reserve_index(dims)?;
        let start = Instant::now();
        let values: Vec<i64> = match self.draw(dims)? {
            Ok(data) => data.iter::<i64>().collect(),
            Err(mut stream) => {
                if other != 0.0 && self.shown.contrast.labels.is_empty() {
                    return Err(missing("sample_labels"));
                }
                let labels = &self.shown.contrast.labels;
                if other != 0.0 && labels.iter().all(|label| Some(label) == labels.first()) {
                    let why = "it contrasts with other classes, but the training set has only one";
                    self.fail(String::new(), why.to_owned());
                    self.failure.iter_mut().for_each(|failure| failure.undefined = true);
                    return Err(why.to_owned());
                }
                let budget = &mut self.budget;
                let mut go_on = || budget.go_on_since(start);
                self.shown.contrast.draw(k, other != 0.0, &mut stream, &mut go_on)?
            }
        };
        if let Some(bad) = values.iter().find(|&&i| i < 0 || i as usize >= samples) {
            return Err(format!("it holds sample {bad}, but the samples are 0..{samples}"));
        }
        self.record(None, || TensorData::new(values.clone(), dims));
        let own = values.chunks(1 + k).zip(&self.shown.contrast.ids);
        let mut firsts = own.map(|(row, id)| (row.first().copied().unwrap_or(-1), *id));
        if let Some((first, id)) = firsts.find(|(first, id)| first != id) {
            return Err(format!("column 0 holds {first}, where the row's own id is {id}"));
        }
        self.upload_index(values, dims, 2)
    }

    fn upload(&self, values: Vec<f64>, dims: [usize; 4]) -> Tensor<4> {
        let data = TensorData::new(values, dims);
        Tensor::from_data(data, (&self.device, DType::from(self.dtype)))
    }

    fn upload_index(&self, values: Vec<i64>, dims: [usize; 4], rank: usize) -> Fallible<Slot> {
        let bounds = self.held_by_device(Some(Bounds::of(&values)))?;
        let tensor = Tensor::from_data(TensorData::new(values, dims), &self.device);
        Ok(Slot::int(tensor, bounds, rank))
    }

    /// A new parameter's or buffer's value: a function of the seed and its name alone.
    fn initial(&mut self, attrs: &[f64], name: &str) -> Fallible<(Tensor<4>, usize)> {
        let [code, scale, rest @ ..] = attrs else {
            return Err("attributes `[init, scale, dims…]` are missing".to_owned());
        };
        let dims = shape(rest)?;
        let rank = rest.len();
        self.reserve_with(dims, 8)?;
        let n = dims.iter().product();
        let mut stream = random::stream(random::key(self.seed, name), &[]);
        let values = match *code as i64 {
            0 => vec![0.0; n],
            1 => vec![*scale; n],
            2 => (0..n).map(|_| scale * random::normal(&mut stream)).collect(),
            3 => (0..n).map(|_| scale * (2.0 * stream.random::<f64>() - 1.0)).collect(),
            other => return Err(format!("initialiser {other} is unknown to this host")),
        };
        Ok((self.upload(values, dims), rank))
    }

    fn kept(&mut self, op: Op, name: &str, attrs: &[f64]) -> Fallible<Slot> {
        self.state_used.insert(format!("{op}.{name}"));
        let map = if op == Op::Param { &self.state.params } else { &self.state.buffers };
        if let Some((tensor, rank)) = map.get(name) {
            let slot = Slot::float(tensor.clone(), *rank);
            let wanted = shape(attrs.get(2..).unwrap_or_default())?;
            let asked = &wanted[4 - attrs.len().saturating_sub(2)..];
            if slot.dims() != asked {
                return Err(format!(
                    "it has shape {:?}, but the loss now asks for {asked:?}",
                    slot.dims()
                ));
            }
            return Ok(slot);
        }
        if self.state.frozen {
            return Err(appears_late());
        }
        let (tensor, rank) = self.initial(attrs, name)?;
        let copies = if op == Op::Param { PARAM_COPIES } else { BUFFER_COPIES };
        self.budget.hold(copies * bytes_of(&tensor), 0)?;
        let (map, tensor) = match op {
            Op::Param => (&mut self.state.params, tensor.require_grad()),
            _ => (&mut self.state.buffers, tensor),
        };
        map.insert(name.to_owned(), (tensor.clone(), rank));
        Ok(Slot::float(tensor, rank))
    }

    fn buffer(&self, name: &str) -> Fallible<(Vec<usize>, usize)> {
        let known = self.state.buffers.get(name);
        let (tensor, rank) =
            known.ok_or("no such buffer; ask for it with step.buffer() before writing it")?;
        Ok((tensor.dims()[4 - rank..].to_vec(), *rank))
    }

    #[expect(clippy::too_many_lines, reason = "one arm an operation")]
    pub(crate) fn execute(
        &mut self,
        op: Op,
        args: &[u64],
        attrs: &[f64],
        name: &str,
    ) -> Fallible<Slot> {
        match op {
            Op::Input => {
                let key = match attrs {
                    [level] => format!("{name}.{level}"),
                    _ => name.to_owned(),
                };
                self.used.insert(name.to_owned());
                let shown = self.shown.tensors.get(&key).cloned();
                shown.unwrap_or_else(|| Err(missing(&key)))
            }
            Op::Fact => {
                let known = self.shown.facts.get(name).copied();
                let number = known.ok_or("this host has no such fact about a step")?;
                if name.ends_with("_features") {
                    self.used.insert(name.to_owned());
                }
                // A count of 0 stands for what this step doesn't have or know.
                let counts = name.ends_with("_features") || name == "classes" || name == "samples";
                if counts && number == 0.0 {
                    return Err(missing(name));
                }
                Ok(Slot { value: Value::Number(number), rank: 0 })
            }
            Op::Param | Op::Buffer => self.kept(op, name, attrs),
            Op::SetRows => {
                let ((index, bounds, index_rank), (rows, rank)) =
                    (self.int(args, 0)?, self.float(args, 1)?);
                let (dims, _) = self.buffer(name)?;
                let n = index.dims()[3];
                let given = &rows.dims()[4 - rank..];
                let fit = dims.len() == given.len() && dims.get(1..) == given.get(1..);
                if index_rank != 1 || given.first() != Some(&n) || !fit {
                    return Err(format!(
                        "the buffer has shape {dims:?}: rows need an index [n] and values [n, …]"
                    ));
                }
                self.in_bounds(&index, bounds, dims[0])?;
                let index = index.reshape([n]);
                self.writes.push(Write::Rows {
                    buffer: name.to_owned(),
                    index,
                    rows: rows.clone().detach(),
                });
                Ok(Slot::float(rows, rank))
            }
            Op::SetBuffer => {
                let (value, rank) = self.float(args, 0)?;
                let (dims, _) = self.buffer(name)?;
                if value.dims()[4 - rank..] != dims[..] {
                    return Err(format!("the buffer has shape {dims:?}"));
                }
                self.writes
                    .push(Write::Whole { buffer: name.to_owned(), value: value.clone().detach() });
                Ok(Slot::float(value, rank))
            }
            Op::Once => {
                self.state_used.insert(format!("buffer.{name}"));
                if let Some((tensor, rank)) = self.state.buffers.get(name) {
                    return Ok(Slot::float(tensor.clone(), *rank));
                }
                let (value, rank) = self.float(args, 0)?;
                let known = self.state.firsts.contains(name) || self.state.probing;
                if self.state.frozen && !known {
                    return Err(appears_late());
                }
                self.state.firsts.insert(name.to_owned());
                self.budget.hold(BUFFER_COPIES * bytes_of(&value), 0)?;
                let value = value.detach();
                let write = Write::Once { buffer: name.to_owned(), value: value.clone(), rank };
                self.writes.push(write);
                Ok(Slot::float(value, rank))
            }
            Op::Log => {
                let (tensor, rank) = self.float(args, 0)?;
                if tensor.dims() != [1; 4] {
                    return Err("only one number can be logged".to_owned());
                }
                self.logs.push((name.to_owned(), tensor.clone().detach().reshape([1])));
                Ok(Slot::float(tensor, rank))
            }
            Op::RandomIndex => {
                let (&end, dims) = attrs.split_first().ok_or("attributes are missing")?;
                let rank = dims.len();
                let dims = shape(dims)?;
                let end = size(end)?;
                if end == 0 {
                    return Err("there is nothing to draw from: the end is 0".to_owned());
                }
                self.reserve_index(dims)?;
                let bounds = self.held_by_device(Some(Bounds::below(end)))?;
                let tensor = match self.draw(dims)? {
                    Ok(data) => {
                        if let Some(bad) = data.iter::<i64>().find(|&i| i < 0 || i as usize >= end)
                        {
                            return Err(format!(
                                "the given draw holds {bad}, but this draw is from 0..{end}"
                            ));
                        }
                        Tensor::from_data(data, &self.device)
                    }
                    Err(mut stream) => {
                        let n = dims.iter().product();
                        let draw = |_| stream.random_range(0..end as u64) as i64;
                        let values: Vec<i64> = (0..n).map(draw).collect();
                        Tensor::from_data(TensorData::new(values, dims), &self.device)
                    }
                };
                self.record(Some(end), || tensor.to_data());
                Ok(Slot::int(tensor, bounds, rank))
            }
            Op::RandomUniform | Op::RandomNormal => {
                let dims = shape(attrs)?;
                self.reserve_with(dims, 8)?;
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
                self.record(None, || tensor.to_data());
                Ok(Slot::float(tensor, attrs.len()))
            }
            Op::Constant | Op::ConstantIndex => {
                let (&rank, rest) = attrs.split_first().ok_or("attributes are missing")?;
                let rank = size(rank)?;
                if rank > rest.len() {
                    return Err("fewer dimensions than the rank says".to_owned());
                }
                let (dims, values) = rest.split_at(rank);
                let dims = shape(dims)?;
                if values.len() as u64 != elements(dims)? {
                    return Err(format!("{} values for shape {dims:?}", values.len()));
                }
                if op == Op::Constant {
                    self.reserve_with(dims, 16)?;
                    return Ok(Slot::float(self.upload(values.to_vec(), dims), rank));
                }
                self.budget.reserve(dims, 8, 16)?;
                let whole = |v: &f64| v.fract() == 0.0 && v.abs() <= MAX_EXACT;
                if let Some(bad) = values.iter().find(|v| !whole(v)) {
                    return Err(format!("{bad} is not a whole number that a float holds exactly"));
                }
                let values = values.iter().map(|&v| v as i64).collect();
                self.upload_index(values, dims, rank)
            }
            Op::Contrast => self.contrast(attrs),
            Op::Fail | Op::Blame | Op::Undefined => Err("handled before".to_owned()),

            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Max | Op::Min | Op::Greater => {
                let ((a, ra), (b, rb)) = (self.float(args, 0)?, self.float(args, 1)?);
                self.reserve(broadcast(a.dims(), b.dims())?)?;
                let out = match op {
                    Op::Add => a + b,
                    Op::Sub => a - b,
                    Op::Mul => a * b,
                    Op::Div => a / b,
                    Op::Max => a.max_pair(b),
                    Op::Min => a.min_pair(b),
                    _ => self.mask(a.detach().greater(b.detach())),
                };
                Ok(Slot::float(out, ra.max(rb)))
            }
            Op::Equal => {
                let both = (self.float(args, 0), self.float(args, 1));
                let (mask, rank) = if let (Ok((a, ra)), Ok((b, rb))) = both {
                    let dims = broadcast(a.dims(), b.dims())?;
                    self.reserve_with(dims, 24)?;
                    let (a, b) = (a.detach().expand(dims), b.detach().expand(dims));
                    (a.equal(b), ra.max(rb))
                } else {
                    let ((a, _, ra), (b, _, rb)) = (self.int(args, 0)?, self.int(args, 1)?);
                    let dims = broadcast(a.dims(), b.dims())?;
                    self.reserve_with(dims, 24)?;
                    (a.expand(dims).equal(b.expand(dims)), ra.max(rb))
                };
                Ok(Slot::float(self.mask(mask), rank))
            }
            Op::Select => {
                let ((a, ra), (b, rb)) = (self.float(args, 0)?, self.float(args, 1)?);
                let (mask, rm) = self.float(args, 2)?;
                let dims = broadcast(broadcast(a.dims(), b.dims())?, mask.dims())?;
                self.reserve_with(dims, 24)?;
                let mask = mask.detach().expand(dims).not_equal_elem(0.0);
                let out = b.expand(dims).mask_where(mask, a.expand(dims));
                Ok(Slot::float(out, ra.max(rb).max(rm)))
            }
            Op::AddScalar
            | Op::MulScalar
            | Op::DivScalar
            | Op::PowScalar
            | Op::ClampMin
            | Op::ClampMax => {
                let (a, rank) = self.float(args, 0)?;
                let &[x] = attrs else { return Err("one attribute is needed".to_owned()) };
                if op == Op::PowScalar && (x.is_nan() || x.abs() >= MAX_EXPONENT) {
                    return Err(format!("{x} is not an exponent that a power can have"));
                }
                self.reserve(a.dims())?;
                let out = match op {
                    Op::AddScalar => a.add_scalar(x),
                    Op::MulScalar => a.mul_scalar(x),
                    // Burn's gradient of `div_scalar` rounds 1/x to 32 bits, also in f64.
                    Op::DivScalar => a.mul_scalar(x.recip()),
                    Op::PowScalar => a.powf_scalar(x),
                    Op::ClampMin => a.clamp_min(x),
                    _ => a.clamp_max(x),
                };
                Ok(Slot::float(out, rank))
            }
            Op::Neg
            | Op::Exp
            | Op::Ln
            | Op::Ln1p
            | Op::Sqrt
            | Op::Relu
            | Op::Abs
            | Op::Detach
            | Op::Tanh
            | Op::Sigmoid
            | Op::Sin
            | Op::Cos => {
                let (a, rank) = self.float(args, 0)?;
                self.reserve(a.dims())?;
                let out = match op {
                    Op::Neg => a.neg(),
                    Op::Exp => a.exp(),
                    Op::Ln => a.log(),
                    Op::Ln1p => a.log1p(),
                    Op::Sqrt => a.sqrt(),
                    Op::Relu => activation::relu(a),
                    Op::Abs => a.abs(),
                    Op::Tanh => a.tanh(),
                    Op::Sigmoid => activation::sigmoid(a),
                    Op::Sin => a.sin(),
                    Op::Cos => a.cos(),
                    _ => self.given_tensor(a),
                };
                Ok(Slot::float(out, rank))
            }
            Op::Sum => {
                let (a, _) = self.float(args, 0)?;
                self.reserve([1; 4])?;
                Ok(Slot::float(a.sum().reshape([1, 1, 1, 1]), 0))
            }
            Op::SumDim | Op::MeanDim | Op::MaxDim | Op::MinDim | Op::CumSum => {
                let (a, rank) = self.float(args, 0)?;
                let d = dimension(attrs.first(), rank)?;
                let mut dims = a.dims();
                if op != Op::CumSum {
                    dims[d] = 1;
                }
                self.reserve(dims)?;
                let out = match op {
                    Op::SumDim => a.sum_dim(d),
                    Op::MeanDim => a.mean_dim(d),
                    Op::MaxDim => a.max_dim(d),
                    Op::MinDim => a.min_dim(d),
                    _ => a.cumsum(d),
                };
                Ok(Slot::float(out, rank))
            }
            Op::Matmul => {
                let ((a, ra), (b, rb)) = (self.float(args, 0)?, self.float(args, 1)?);
                let ([a0, a1, n, k], [b0, b1, k2, m]) = (a.dims(), b.dims());
                if ra < 2 || rb < 2 || k != k2 {
                    return Err("the inner sizes differ: [n, k] by [k, m] gives [n, m]".to_owned());
                }
                let lead = broadcast([a0, a1, 1, 1], [b0, b1, 1, 1])?;
                self.reserve([lead[0], lead[1], n, m])?;
                let sizes = [lead[0], lead[1], n, k, m];
                self.budget.product(sizes.iter().map(|&d| d as f64).product())?;
                Ok(Slot::float(a.matmul(b), ra.max(rb)))
            }
            Op::Transpose | Op::SwapDims => {
                let (a, rank) = self.float(args, 0)?;
                let (d, e) = match op {
                    Op::Transpose if rank < 2 => return Err("needs two dimensions".to_owned()),
                    Op::Transpose => (2, 3),
                    _ => (dimension(attrs.first(), rank)?, dimension(attrs.get(1), rank)?),
                };
                self.budget.view()?;
                // Flex sums wrong strides where two dimensions of size 1 were exchanged: it changes nothing.
                let same = a.dims()[d] == 1 && a.dims()[e] == 1;
                Ok(Slot::float(if same { a } else { a.swap_dims(d, e) }, rank))
            }
            Op::Reshape => {
                let (a, _) = self.float(args, 0)?;
                let dims = same_size(a.dims(), attrs)?;
                self.reserve(dims)?; // a copy, unless its elements lie in this order
                Ok(Slot::float(a.reshape(dims), attrs.len()))
            }
            Op::ReshapeIndex => {
                let (a, bounds, _) = self.int(args, 0)?;
                let dims = same_size(a.dims(), attrs)?;
                self.reserve_index(dims)?;
                Ok(Slot::int(a.reshape(dims), bounds, attrs.len()))
            }
            Op::Slice => {
                let (a, rank) = self.float(args, 0)?;
                let (d, start, length) = range(attrs, rank, a.dims())?;
                let mut dims = a.dims();
                dims[d] = length;
                self.reserve(dims)?; // a view on the CPU, a copy on a GPU
                Ok(Slot::float(a.narrow(d, start, length), rank))
            }
            Op::SliceIndex => {
                let (a, bounds, rank) = self.int(args, 0)?;
                let (d, start, length) = range(attrs, rank, a.dims())?;
                let mut dims = a.dims();
                dims[d] = length;
                self.reserve_index(dims)?;
                Ok(Slot::int(a.narrow(d, start, length), bounds, rank))
            }
            Op::Cat => {
                let ((a, ra), (b, rb)) = (self.float(args, 0)?, self.float(args, 1)?);
                let (d, dims) = joined(a.dims(), ra, b.dims(), rb, attrs)?;
                self.reserve(dims)?;
                Ok(Slot::float(Tensor::cat(vec![a, b], d), ra))
            }
            Op::CatIndex => {
                let ((a, in_a, ra), (b, in_b, rb)) = (self.int(args, 0)?, self.int(args, 1)?);
                let (d, dims) = joined(a.dims(), ra, b.dims(), rb, attrs)?;
                self.reserve_index(dims)?;
                Ok(Slot::int(Tensor::cat(vec![a, b], d), in_a.or(in_b), ra))
            }
            Op::Rows => {
                let ((a, rank), (index, bounds, index_rank)) =
                    (self.float(args, 0)?, self.int(args, 1)?);
                if rank == 0 || index_rank != 1 {
                    return Err("rows are taken from [n, …] by an index [m]".to_owned());
                }
                let (d, m) = (4 - rank, index.dims()[3]);
                let mut dims = a.dims();
                self.in_bounds(&index, bounds, dims[d])?;
                dims[d] = m;
                self.reserve(dims)?;
                Ok(Slot::float(a.select(d, index.reshape([m])), rank))
            }
            Op::Gather | Op::GatherIndex => {
                let (index, bounds, index_rank) = self.int(args, 1)?;
                let (dims, rank) = match op {
                    Op::Gather => self.float(args, 0).map(|(a, r)| (a.dims(), r))?,
                    _ => self.int(args, 0).map(|(a, _, r)| (a.dims(), r))?,
                };
                let d = dimension(attrs.first(), rank)?;
                let out = index.dims();
                if rank != index_rank || (0..4).any(|k| k != d && out[k] != dims[k]) {
                    return Err("the index must have the operand's shape but for the dimension \
                                gathered along"
                        .to_owned());
                }
                self.in_bounds(&index, bounds, dims[d])?;
                self.reserve_index(out)?;
                if op == Op::Gather {
                    return Ok(Slot::float(self.float(args, 0)?.0.gather(d, index), rank));
                }
                let (a, bounds, _) = self.int(args, 0)?;
                Ok(Slot::int(a.gather(d, index), bounds, rank))
            }
            Op::AdaptiveAvgPool => {
                let (a, rank) = self.float(args, 0)?;
                let &[h, w] = attrs else { return Err("two attributes are needed".to_owned()) };
                let ([n, c, ah, aw], h, w) = (a.dims(), size(h)?, size(w)?);
                if rank != 4 || h == 0 || w == 0 {
                    return Err("pools maps [n, c, h, w] to a height and width above 0".to_owned());
                }
                // A window of more places than it must have is read again for each.
                let windows = (h as f64 + ah as f64) * (w as f64 + aw as f64);
                self.budget.product(n as f64 * c as f64 * windows)?;
                self.reserve([n, c, h, w])?;
                Ok(Slot::float(module::adaptive_avg_pool2d(a, [h, w]), rank))
            }
            Op::Argsort => {
                let (a, rank) = self.float(args, 0)?;
                let d = dimension(attrs.first(), rank)?;
                let dims = a.dims();
                self.budget.reserve(dims, 8, 24)?;
                self.budget.sort(elements(dims)? as f64)?;
                let bounds = self.held_by_device(Some(Bounds::below(dims[d])))?;
                Ok(Slot::int(a.detach().argsort(d), bounds, rank))
            }
            Op::OneHot => {
                let ((index, bounds, rank), classes) = (self.int(args, 0)?, attrs.first());
                let classes = size(*classes.ok_or("the number of classes is missing")?)?;
                if rank != 1 {
                    return Err("needs one dimension [n]".to_owned());
                }
                let n = index.dims()[3];
                self.reserve_with([1, 1, n, classes], 24)?;
                self.in_bounds(&index, bounds, classes)?;
                let all = Tensor::<1, Int>::arange(0..classes as i64, &self.device);
                let dims = [1, 1, n, classes];
                let all = all.reshape([1, 1, 1, classes]).expand(dims);
                let mask = index.reshape([1, 1, n, 1]).expand(dims).equal(all);
                Ok(Slot::float(self.mask(mask), 2))
            }
            Op::Eye => {
                let n = size(*attrs.first().ok_or("the size is missing")?)?;
                self.reserve_with([1, 1, n, n], 24)?;
                let eye = Tensor::<2>::eye(n, &self.device).reshape([1, 1, n, n]);
                Ok(Slot::float(eye.cast(self.dtype), 2))
            }
            Op::Float => {
                let (a, _, rank) = self.int(args, 0)?;
                self.reserve(a.dims())?;
                Ok(Slot::float(a.float().cast(self.dtype), rank))
            }
            Op::Range => {
                let &[start, end] = attrs else {
                    return Err("two attributes are needed".to_owned());
                };
                let (start, end) = (size(start)?, size(end)?);
                let n = end.saturating_sub(start);
                if n == 0 {
                    return Err(format!("{start}..{end} is empty"));
                }
                self.reserve_index([1, 1, 1, n])?;
                let range = Tensor::<1, Int>::arange(start as i64..end as i64, &self.device);
                let bounds = Bounds { low: start as i64, high: end as i64 - 1 };
                Ok(Slot::int(range.reshape([1, 1, 1, n]), bounds, 1))
            }
            Op::AddIndex => {
                let ((a, in_a, ra), (b, in_b, rb)) = (self.int(args, 0)?, self.int(args, 1)?);
                self.reserve_index(broadcast(a.dims(), b.dims())?)?;
                let bounds = self.held_by_device(in_a.plus(in_b))?;
                Ok(Slot::int(a + b, bounds, ra.max(rb)))
            }
            Op::ModIndex => {
                let (a, _, rank) = self.int(args, 0)?;
                let n = size(*attrs.first().ok_or("the divisor is missing")?)?;
                if n == 0 {
                    return Err("the divisor is 0".to_owned());
                }
                self.reserve_index(a.dims())?;
                let rest = a.remainder_scalar(n as i64);
                // What the bounds say must be so, whatever a GPU's driver makes of a division.
                let gpu = self.integers.high < i64::MAX;
                let rest = if gpu { rest.clamp(0, n as i64 - 1) } else { rest };
                Ok(Slot::int(rest, Bounds::below(n), rank))
            }
        }
    }

    /// Whether all indices lie below `end`. Nearly always their bounds say so; else they are read,
    /// which on a GPU waits for it: there an index that points beyond its tensor reads other memory.
    fn in_bounds(&mut self, index: &Tensor<4, Int>, bounds: Bounds, end: usize) -> Fallible<()> {
        if bounds.outside(end).is_none() {
            return Ok(());
        }
        let n = elements(index.dims())?;
        self.budget.hold(0, n.saturating_mul(16))?;
        let values: Vec<i64> = index.clone().into_data().iter::<i64>().collect();
        match Bounds::of(&values).outside(end) {
            Some(bad) => Err(format!("the index holds {bad}, which is not in 0..{end}")),
            None => Ok(()),
        }
    }

    /// Lands the step's buffer writes.
    pub(crate) fn commit(&mut self) {
        land(std::mem::take(&mut self.writes), &mut self.state.buffers);
    }

    /// Tries the step's buffer writes on copies.
    pub(crate) fn rehearse(&mut self) {
        land(std::mem::take(&mut self.writes), &mut self.state.buffers.clone());
    }
}

/// Carries out a step's writes.
fn land(writes: Vec<Write>, buffers: &mut BTreeMap<String, (Tensor<4>, usize)>) {
    for write in writes {
        match write {
            Write::Whole { buffer, value } => {
                if let Some(kept) = buffers.get_mut(&buffer) {
                    kept.0 = value;
                }
            }
            Write::Once { buffer, value, rank } => {
                buffers.entry(buffer).or_insert((value, rank));
            }
            Write::Rows { buffer, index, rows } => {
                if let Some((tensor, rank)) = buffers.get_mut(&buffer) {
                    *tensor = set_rows(tensor.clone(), 4 - *rank, index, rows);
                }
            }
        }
    }
}

/// `tensor` with rows of dimension `d` replaced; of rows named twice the later one counts.
fn set_rows(tensor: Tensor<4>, d: usize, index: Tensor<1, Int>, rows: Tensor<4>) -> Tensor<4> {
    let names: Vec<i64> = index.clone().into_data().iter::<i64>().collect();
    let mut last = BTreeMap::new();
    for (position, name) in names.iter().enumerate() {
        last.insert(*name, position as i64);
    }
    let (index, rows) = if last.len() == names.len() {
        (index, rows)
    } else {
        let device = index.device();
        let (names, positions): (Vec<i64>, Vec<i64>) = last.into_iter().unzip();
        let positions = Tensor::<1, Int>::from_data(positions.as_slice(), &device);
        (Tensor::from_data(names.as_slice(), &device), rows.select(d, positions))
    };
    tensor.select_assign(d, index, rows, IndexingUpdateOp::Assign)
}

fn appears_late() -> String {
    "it appears after set-up; a loss must ask for all of its parameters and buffers in every step, \
     from the first on"
        .to_owned()
}

fn operand(args: &[u64], i: usize) -> Fallible<u64> {
    args.get(i).copied().ok_or_else(|| format!("operand {} is missing", i + 1))
}

/// The shape of two tensors together.
fn broadcast(a: [usize; 4], b: [usize; 4]) -> Fallible<[usize; 4]> {
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

/// A size from an attribute, which is a float in the binary interface.
fn size(x: f64) -> Fallible<usize> {
    if x >= 0.0 && x.fract() == 0.0 && x <= MAX_DIMENSION as f64 {
        Ok(x as usize)
    } else {
        Err(format!("{x} is not a size: those are whole numbers of at most {MAX_DIMENSION}"))
    }
}

/// The text up to so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// What a device's integers hold.
fn integers_of(device: &Device) -> Bounds {
    match Tensor::<1, Int>::from_data([0], device).dtype().into() {
        IntDType::I64 => Bounds { low: i64::MIN, high: i64::MAX },
        _ => Bounds { low: i64::from(i32::MIN), high: i64::from(i32::MAX) },
    }
}

fn shape(attrs: &[f64]) -> Fallible<[usize; 4]> {
    if attrs.len() > 4 {
        return Err(format!("{} dimensions; a tensor has at most four", attrs.len()));
    }
    let dims = pad(&attrs.iter().map(|&x| size(x)).collect::<Fallible<Vec<_>>>()?);
    elements(dims)?;
    Ok(dims)
}

fn same_size(from: [usize; 4], attrs: &[f64]) -> Fallible<[usize; 4]> {
    let dims = shape(attrs)?;
    if elements(dims)? != elements(from)? {
        return Err(format!("shape {attrs:?} has another number of elements"));
    }
    Ok(dims)
}

/// A dimension counted from the left of a tensor of this rank, in the padded four.
fn dimension(attr: Option<&f64>, rank: usize) -> Fallible<usize> {
    let d = size(*attr.ok_or("the dimension is missing")?)?;
    if d >= rank {
        return Err(format!("there is no dimension {d}"));
    }
    Ok(4 - rank + d)
}

fn range(attrs: &[f64], rank: usize, dims: [usize; 4]) -> Fallible<(usize, usize, usize)> {
    let d = dimension(attrs.first(), rank)?;
    let &[_, start, end] = attrs else { return Err("three attributes are needed".to_owned()) };
    let (start, end) = (size(start)?, size(end)?);
    if start >= end || end > dims[d] {
        return Err(format!("{start}..{end} of a dimension of size {}", dims[d]));
    }
    Ok((d, start, end - start))
}

fn joined(
    a: [usize; 4],
    ra: usize,
    b: [usize; 4],
    rb: usize,
    attrs: &[f64],
) -> Fallible<(usize, [usize; 4])> {
    let d = dimension(attrs.first(), ra)?;
    if ra != rb || (0..4).any(|k| k != d && a[k] != b[k]) {
        return Err("the shapes differ in more than the dimension joined along".to_owned());
    }
    let mut dims = a;
    dims[d] += b[d];
    Ok((d, dims))
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
        "classes" => "their number is that of the labels, or has to be said (--classes)",
        "sample_labels" => {
            "negatives of other classes need the class of every training sample: give it as \
             `sample_labels` [samples], or give the draw itself as `random.0`"
        }
        "samples" => "their number is that of the ids, or has to be said (--samples)",
        _ => "no host has such an input",
    };
    format!("this step has no {name}; {hint}")
}
