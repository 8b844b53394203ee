//! One step of one loss, as its plugin sees it: records what is asked for, and computes it when a number is
//! wanted: read by the plugin, logged, written to a buffer, or returned.

use super::bounds::Bounds;
use super::budget::{Budget, Operands};
use super::constants::Constants;
use super::contrast::Contrast;
use super::error::{Failure, guarded, refused};
use super::limits::Limits;
use super::node::{Attributes, Facts, Fallible, Given, Node, Value};
use super::offer::Offered;
use super::rules::{Made, Rules};
use super::run::Place;
use super::state::{Kept, Landing, Write, constant, land};
use super::watch::Watch;
use burn::tensor::{Device, FloatDType, Int, IntDType, Tensor, TensorData};
use retort_sdk::Op;
use retort_sdk::op::Kind;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

/// What a step takes as given: a tensor it detaches, or values it reads.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a step has a handful of them")]
enum Taken {
    Tensor(Tensor<4>),
    Values(Vec<f64>),
}

/// What becomes of such constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Replay {
    /// They follow what they were taken from.
    #[default]
    Live,
    /// The same, and each step keeps its own.
    Kept,
    /// The step that was kept last gives them: the loss as its gradient sees it.
    Held,
}

/// What the step shows to the loss.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Tensors by name, or why one can't be used.
    pub(crate) tensors: BTreeMap<String, Result<Given, String>>,
    pub(crate) facts: BTreeMap<&'static str, f64>,
    /// Replaces the step's first, second, … random draw.
    pub(crate) draws: Vec<TensorData>,
    pub(crate) contrast: Contrast,
}

/// An operation that gives the same each time it is asked for in a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Same {
    op: Op,
    operands: Vec<usize>,
    attributes: Vec<u64>,
    name: Box<str>,
}

/// What ended a step while it was computed: the call, whose line the plugin no longer knows, and why.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub(crate) call: u64,
    pub(crate) why: String,
}

/// One step of one loss, as its plugin sees it.
#[derive(Debug)]
pub struct Interpreter {
    pub(super) device: Device,
    pub(super) dtype: FloatDType,
    /// What the device's integers hold.
    pub(super) integers: Bounds,
    pub(super) budget: Budget,
    /// Key of the random streams: seed and loss, then the step.
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) draws: usize,
    /// The step's random draws, if they are asked for.
    pub(crate) recorded: Option<Vec<TensorData>>,
    /// Of each recorded draw, below which number it was drawn, if so.
    pub(crate) ends: Vec<Option<usize>>,
    pub(crate) replay: Replay,
    /// By number.
    taken: BTreeMap<usize, Taken>,
    /// How many the step has taken so far.
    takes: usize,
    generation: u32,
    /// Of each handle, its node.
    handles: Vec<usize>,
    pub(super) nodes: Vec<Node>,
    same: HashMap<Same, usize>,
    constants: Constants,
    calls: u64,
    failure: Option<Failure>,
    late: Option<Late>,
    /// The call that is to fail, so that the plugin says which line it is of, and why.
    pub(crate) stop_at: Option<Late>,
    pub(crate) shown: Shown,
    pub(crate) kept: Kept,
    pub(super) writes: Vec<Write>,
    pub(super) logs: Vec<(String, usize)>,
    /// Inputs that the step asked for.
    pub(crate) used: BTreeSet<String>,
    /// Parameters and buffers that the step asked for, as `param.<name>` and `buffer.<name>`.
    pub(crate) state_used: BTreeSet<String>,
    /// Looks at every operation, if somebody wants to know.
    pub(crate) watch: Option<Watch>,
}

/// Steps of all losses of the process are numbered through, so that a handle fits one step only.
static GENERATION: AtomicU32 = AtomicU32::new(1);

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
            replay: Replay::Live,
            taken: BTreeMap::new(),
            takes: 0,
            generation: 0,
            handles: Vec::new(),
            nodes: Vec::new(),
            same: HashMap::new(),
            constants: Constants::default(),
            calls: 0,
            failure: None,
            late: None,
            stop_at: None,
            shown: Shown::default(),
            kept: Kept::default(),
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
        (self.step, self.draws, self.calls, self.takes) = (step, 0, 0, 0);
        self.constants.turn();
        self.budget.begin(self.kept.bytes().saturating_add(self.constants.bytes()));
        (self.failure, self.late) = (None, None);
        self.recorded.iter_mut().for_each(Vec::clear);
        self.ends.clear();
        if self.replay == Replay::Kept {
            self.taken.clear();
        }
        self.shown = shown;
        self.used.clear();
        self.state_used.clear();
    }

    /// Frees the step's tensors.
    pub(crate) fn end(&mut self) {
        self.handles.clear();
        self.nodes.clear();
        self.same.clear();
        self.writes.clear();
        self.logs.clear();
        self.shown = Shown::default();
    }

    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// What ended the step while it was computed.
    pub(crate) fn take_late(&mut self) -> Option<Late> {
        self.late.take()
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

    /// Bytes of the tensors asked for in this step.
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

    /// The plugin's `call`: records an operation and returns its handle; 0 once the step has failed.
    pub fn call(&mut self, op: u32, args: &[u64], attrs: &[f64], name: &str) -> u64 {
        self.calls += 1;
        let start = Instant::now();
        let handle = self.dispatch(op, args, attrs, name, start);
        self.budget.took(start);
        handle
    }

    fn dispatch(
        &mut self,
        op: u32,
        args: &[u64],
        attrs: &[f64],
        name: &str,
        start: Instant,
    ) -> u64 {
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
            Op::Undefined => self.undefined(name),
            Op::Blame => self.blame(name),
            Op::Fail => {}
            _ if self.failure.is_none() => {
                // The backend's panics (out of memory, say) are errors of this step too.
                let recorded = guarded(|| self.record(known, args, attrs, name, start));
                match recorded.unwrap_or_else(|why| Err(refused(why))) {
                    Ok(node) => return self.hand_out(node),
                    Err(why) => {
                        let what = self.describe(known, args, name);
                        self.fail(what, why);
                    }
                }
            }
            _ => {}
        }
        0
    }

    fn hand_out(&mut self, node: usize) -> u64 {
        self.handles.push(node);
        (u64::from(self.generation) << 32) | self.handles.len() as u64
    }

    /// Takes down an operation; its node.
    fn record(
        &mut self,
        op: Op,
        args: &[u64],
        attrs: &[f64],
        name: &str,
        start: Instant,
    ) -> Fallible<usize> {
        let operands = self.accept(op, args, attrs, name)?;
        if let Some(stop) = self.stop_at.as_ref().filter(|stop| stop.call == self.calls) {
            return Err(stop.why.clone());
        }
        let rank = operands.first().map_or(0, |&node| self.nodes[node].shape.rank);
        let checked = Attributes::check(op, attrs, rank)?;
        let same = (repeats(op) && attrs.len() <= MAX_ATTRS).then(|| Same {
            op,
            operands: operands.clone(),
            attributes: attrs.iter().map(|x| x.to_bits()).collect(),
            name: name.into(),
        });
        if let Some(known) = same.as_ref().and_then(|same| self.same.get(same)) {
            return Ok(*known);
        }
        let (made, value) = match self.offer(op, &operands, checked, name, start)? {
            Offered::Same(node) => return Ok(node),
            Offered::Given(given) => (Made::new(given.shape, given.facts), Some(given.value)),
            Offered::Later(made) => (made, None),
            Offered::No => {
                let of: Vec<&Node> = operands.iter().map(|&node| &self.nodes[node]).collect();
                let made = Rules {
                    budget: &mut self.budget,
                    float: bytes_of(self.dtype),
                    integers: self.integers,
                }
                .of(op, &of, checked)?;
                // The same elements in the same order.
                let moves = matches!(op, Op::Reshape | Op::ReshapeIndex);
                if moves && of[0].shape == made.shape {
                    return Ok(operands[0]);
                }
                if let Some((operand, end)) = made.index {
                    self.in_bounds(operands[operand], end, start)?;
                }
                (made, None)
            }
        };
        let numbers = operands.iter().map(|&node| self.nodes[node].constant);
        let constant = match numbers.collect::<Option<Vec<u64>>>() {
            Some(of) if value.is_none() && op != Op::Detach && repeats(op) => {
                self.constants.number(op, attrs, of)
            }
            _ => None,
        };
        let node = self.nodes.len();
        if let Some(same) = same
            && (value.is_some() || !made.facts.tracked())
        {
            self.same.insert(same, node);
        }
        let taken = if op == Op::Detach { self.next_taken() } else { 0 };
        self.nodes.push(Node {
            call: self.calls,
            op,
            operands,
            attributes: attrs.to_vec(),
            name: name.into(),
            shape: made.shape,
            facts: made.facts,
            taken,
            constant,
            value,
        });
        Ok(node)
    }

    /// Refuses a call that no operation takes, or for which the step has no time, and takes down what
    /// it reads; its operands' nodes.
    fn accept(&mut self, op: Op, args: &[u64], attrs: &[f64], name: &str) -> Fallible<Vec<usize>> {
        self.budget.go_on()?;
        let limit = self.limits().handles;
        if self.handles.len() >= limit {
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
        let operands = args.iter().map(|&handle| self.find(handle));
        let operands = operands.collect::<Fallible<Vec<usize>>>()?;
        let kinds = op.signature().operands;
        let mut all = Operands::default();
        for (i, kind) in kinds.iter().enumerate() {
            let node = operands.get(i).ok_or_else(|| format!("operand {} is missing", i + 1))?;
            let node = &self.nodes[*node];
            let size = match (kind, &node.facts) {
                (Kind::Float | Kind::Any, Facts::Float { .. }) => bytes_of(self.dtype),
                (Kind::Int | Kind::Any, Facts::Int { .. }) => self.integer_bytes(),
                (kind, _) => {
                    let must = if *kind == Kind::Int { "integers" } else { "floats" };
                    return Err(format!("operand {} must be {must}, and isn't", i + 1));
                }
            };
            let elements = node.shape.len();
            all.elements = all.elements.saturating_add(elements);
            all.bytes = all.bytes.saturating_add(elements.saturating_mul(size));
            all.tracked |= node.facts.tracked();
        }
        if operands.len() > kinds.len() {
            return Err(format!("{} operands, where it takes {}", operands.len(), kinds.len()));
        }
        self.budget.operation(all);
        Ok(operands)
    }

    fn integer_bytes(&self) -> u64 {
        if self.integers.high < i64::MAX { 4 } else { 8 }
    }

    fn gpu(&self) -> bool {
        self.integers.high < i64::MAX
    }

    pub(super) fn fail(&mut self, what: String, why: String) {
        self.failure.get_or_insert(Failure { what, why, at: None, undefined: false });
    }

    /// Says that the loss isn't defined on this batch.
    pub(super) fn undefined(&mut self, why: &str) {
        if self.failure.is_none() {
            self.fail(String::new(), why.to_owned());
            self.failure.iter_mut().for_each(|failure| failure.undefined = true);
        }
    }

    fn blame(&mut self, at: &str) {
        if let Some(failure) = &mut self.failure {
            failure.at.get_or_insert_with(|| at.to_owned());
        }
    }

    /// The operation with its operands' shapes.
    fn describe(&self, op: Op, args: &[u64], name: &str) -> String {
        let nodes = args.iter().take(MAX_OPERANDS).map(|&handle| self.find(handle).ok());
        self.described(op, nodes, name)
    }

    fn described(
        &self,
        op: Op,
        operands: impl Iterator<Item = Option<usize>>,
        name: &str,
    ) -> String {
        let shapes = operands.map(|node| match node {
            Some(node) => format!("{:?}", self.nodes[node].shape.dims()),
            None => "?".to_owned(),
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
        let dims = going_on
            .and_then(|()| self.find(tensor).map(|node| self.nodes[node].shape.dims().to_vec()));
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
        let values = guarded(|| self.values(tensor, start));
        self.budget.took(start);
        values.unwrap_or_else(|why| Err(refused(why))).unwrap_or_else(|why| {
            self.fail("read".to_owned(), why);
            Vec::new()
        })
    }

    fn values(&mut self, tensor: u64, start: Instant) -> Fallible<Vec<f64>> {
        self.budget.go_on()?;
        let node = self.find(tensor)?;
        let Node { shape, facts, value, .. } = &self.nodes[node];
        if let Some(Value::Number(x)) = value {
            return Ok(vec![*x]);
        }
        if let Facts::Int { known: Some(known), .. } = facts {
            return Ok(known.iter().map(|&i| i as f64).collect());
        }
        let size = if matches!(facts, Facts::Float { .. }) {
            bytes_of(self.dtype)
        } else {
            self.integer_bytes()
        };
        // What the device gives, as floats, and what the plugin gets.
        self.budget.hold(0, shape.len().saturating_mul(size + 16))?;
        self.compute(&[node], false, start)?;
        let data = match &self.nodes[node].value {
            Some(Value::Float(t)) => t.clone().try_into_data(),
            Some(Value::Int(t)) => {
                let data = t.clone().try_into_data().map_err(|e| e.to_string())?;
                return Ok(data.iter::<f64>().collect());
            }
            _ => return Err("it has no value".to_owned()),
        };
        let values = data.map_err(|e| e.to_string())?.iter::<f64>().collect();
        Ok(self.taken_values(values))
    }

    pub(super) fn next_taken(&mut self) -> usize {
        self.takes += 1;
        self.takes - 1
    }

    /// The tensor without its gradient, or the one that is held in its place.
    fn taken_tensor(&mut self, number: usize, tensor: Tensor<4>) -> Tensor<4> {
        match self.replay {
            Replay::Live => {}
            Replay::Kept => drop(self.taken.insert(number, Taken::Tensor(tensor.clone()))),
            Replay::Held => {
                if let Some(Taken::Tensor(held)) = self.taken.get(&number)
                    && held.dims() == tensor.dims()
                {
                    return held.clone();
                }
            }
        }
        tensor
    }

    /// The same for values that the plugin reads.
    fn taken_values(&mut self, values: Vec<f64>) -> Vec<f64> {
        let number = self.next_taken();
        match self.replay {
            Replay::Live => {}
            Replay::Kept => drop(self.taken.insert(number, Taken::Values(values.clone()))),
            Replay::Held => {
                if let Some(Taken::Values(held)) = self.taken.get(&number)
                    && held.len() == values.len()
                {
                    return held.clone();
                }
            }
        }
        values
    }

    /// The node of a handle.
    fn find(&self, handle: u64) -> Fallible<usize> {
        let (generation, number) = ((handle >> 32) as u32, handle as u32 as usize);
        if generation != self.generation {
            return Err("a handle from another step, or from another loss: handles live for one \
                        step only"
                .to_owned());
        }
        let node = number.checked_sub(1).and_then(|i| self.handles.get(i));
        node.copied().ok_or_else(|| "a handle that this step never gave out".to_owned())
    }

    /// Whether all indices lie below `end`. Nearly always their bounds say so; else they are computed and
    /// read, which on a GPU waits for it: there an index that points beyond its tensor reads other memory.
    pub(super) fn in_bounds(&mut self, node: usize, end: usize, start: Instant) -> Fallible<()> {
        let Facts::Int { bounds, .. } = &self.nodes[node].facts else { return Ok(()) };
        if bounds.outside(end).is_none() {
            return Ok(());
        }
        self.budget.hold(0, self.nodes[node].shape.len().saturating_mul(16))?;
        self.compute(&[node], false, start)?;
        let Some(Value::Int(index)) = &self.nodes[node].value else { return Ok(()) };
        let values: Vec<i64> = index.clone().into_data().iter::<i64>().collect();
        match Bounds::of(&values).outside(end) {
            Some(bad) => Err(format!("the index holds {bad}, which is not in 0..{end}")),
            None => Ok(()),
        }
    }

    /// Computes these nodes, and what they need. Where they are the `last` that the step wants, everything
    /// is freed as soon as nothing needs it any more.
    fn compute(&mut self, wanted: &[usize], last: bool, start: Instant) -> Fallible<()> {
        let end = wanted.iter().max().map_or(0, |newest| newest + 1);
        let mut uses = vec![0_u32; end];
        for &node in wanted {
            uses[node] += 1;
        }
        for i in (0..end).rev() {
            let node = &mut self.nodes[i];
            if uses[i] > 0 && node.value.is_none() {
                node.value = node.constant.and_then(|number| self.constants.value(number));
                if node.value.is_none() {
                    for &operand in &node.operands {
                        uses[operand] += 1;
                    }
                }
            }
        }
        for (i, &uses) in uses.iter().enumerate() {
            if uses == 0 && last {
                self.nodes[i].value = None;
            }
        }
        for i in 0..end {
            if uses[i] == 0 {
                continue;
            }
            if self.nodes[i].value.is_none() {
                let going_on = self.budget.go_on_since(start);
                let computed = going_on.and_then(|()| {
                    let value = guarded(|| self.operation(i, last, &mut uses));
                    value.unwrap_or_else(|why| Err(refused(why))).inspect_err(|why| {
                        self.late = Some(Late { call: self.nodes[i].call, why: why.clone() });
                    })
                });
                match computed {
                    Ok(value) => self.nodes[i].value = Some(value),
                    Err(why) => {
                        let Node { op, operands, name, .. } = &self.nodes[i];
                        let what = self.described(*op, operands.iter().copied().map(Some), name);
                        self.fail(what, why.clone());
                        // Not the line of what wanted it.
                        self.blame("");
                        return Err(why);
                    }
                }
            }
            if let (Some(watch), Some(value)) = (&mut self.watch, &self.nodes[i].value) {
                watch.made(i, &self.nodes[i], value);
            }
        }
        Ok(())
    }

    /// Computes one operation, whose operands are.
    fn operation(&mut self, i: usize, last: bool, uses: &mut [u32]) -> Fallible<Value> {
        let mut operands = Vec::with_capacity(MAX_OPERANDS);
        for k in 0..self.nodes[i].operands.len() {
            let operand = self.nodes[i].operands[k];
            uses[operand] -= 1;
            let value = &mut self.nodes[operand].value;
            // Burn writes into what nobody else holds.
            let value = if last && uses[operand] == 0 { value.take() } else { value.clone() };
            let value = value.ok_or("an operand has no value")?;
            operands.push(match &mut self.watch {
                Some(watch) => watch.operand(value),
                None => value,
            });
        }
        let node = &self.nodes[i];
        let rank = node.operands.first().map_or(0, |&operand| self.nodes[operand].shape.rank);
        let place = Place { device: &self.device, dtype: self.dtype, gpu: self.gpu() };
        let value = place.run(node.op, operands, Attributes::of(node, rank), node.shape)?;
        let (dims, size) = match &value {
            Value::Float(t) => (t.dims(), t.dtype().size()),
            Value::Int(t) => (t.dims(), t.dtype().size()),
            Value::Number(_) => ([1; 4], 0),
        };
        if dims != node.shape.padded {
            return Err(format!("it gave shape {dims:?}, not {:?}", node.shape.padded));
        }
        if let Some(number) = node.constant {
            self.constants.keep(number, &value, node.shape.len().saturating_mul(size as u64));
        }
        match value {
            Value::Float(tensor) if self.nodes[i].op == Op::Detach => {
                let number = self.nodes[i].taken;
                Ok(Value::Float(self.taken_tensor(number, tensor)))
            }
            other => Ok(other),
        }
    }

    /// Computes what the step is for: the number that the loss returned, what it logged, what it writes.
    /// The tensor that was returned, `[1]` if it is one number, and its shape.
    pub(crate) fn finish(&mut self, handle: u64) -> Fallible<(Option<Tensor<1>>, Vec<usize>)> {
        let result = self.find(handle)?;
        let Node { shape, facts, .. } = &self.nodes[result];
        let dims = shape.dims().to_vec();
        if !matches!(facts, Facts::Float { .. }) {
            return Err("integers; a loss is one float".to_owned());
        }
        if shape.len() != 1 {
            return Ok((None, dims));
        }
        self.watch.iter_mut().for_each(|watch| watch.returned(result));
        let mut wanted = vec![result];
        wanted.extend(self.logs.iter().map(|(_, node)| *node));
        wanted.extend(self.writes.iter().flat_map(Write::nodes));
        let start = Instant::now();
        let computed = self.compute(&wanted, true, start);
        self.budget.took(start);
        computed?;
        match &self.nodes[result].value {
            Some(Value::Float(tensor)) => Ok((Some(tensor.clone().reshape([1])), dims)),
            _ => Err("a tensor without a value".to_owned()),
        }
    }

    /// What the loss logged, `[1]` each, without gradient.
    pub(crate) fn terms(&self) -> Vec<(String, Tensor<1>)> {
        let term = |(name, node): &(String, usize)| {
            let tensor = constant(self.nodes.get(*node)?.value.as_ref())?;
            Some((name.clone(), tensor.reshape([1])))
        };
        self.logs.iter().filter_map(term).collect()
    }

    fn landings(&mut self) -> Vec<Landing> {
        let writes = std::mem::take(&mut self.writes);
        let node = |i: usize| self.nodes.get(i);
        let float = |i: usize| constant(node(i)?.value.as_ref());
        let landing = |write: Write| {
            Some(match write {
                Write::Rows { buffer, index, rows } => {
                    let (Some(Value::Int(tensor)), Facts::Int { known, .. }) =
                        (&node(index)?.value, &node(index)?.facts)
                    else {
                        return None;
                    };
                    let (index, names) = (tensor.clone(), known.clone());
                    Landing::Rows { buffer, index, names, rows: float(rows)? }
                }
                Write::Whole { buffer, value } => Landing::Whole { buffer, value: float(value)? },
                Write::Once { buffer, value } => {
                    Landing::Once { buffer, value: float(value)?, rank: node(value)?.shape.rank }
                }
            })
        };
        writes.into_iter().filter_map(landing).collect()
    }

    /// Lands the step's buffer writes.
    pub(crate) fn commit(&mut self) {
        let landings = self.landings();
        land(landings, &mut self.kept.buffers);
    }

    /// Tries the step's buffer writes on copies.
    pub(crate) fn rehearse(&mut self) {
        let landings = self.landings();
        land(landings, &mut self.kept.buffers.clone());
    }

    pub(super) fn upload_index(&self, values: Vec<i64>, dims: [usize; 4]) -> Tensor<4, Int> {
        Tensor::from_data(TensorData::new(values, dims), &self.device)
    }
}

/// Whether an operation gives the same again for the same operands.
fn repeats(op: Op) -> bool {
    let drawn = [Op::RandomIndex, Op::RandomUniform, Op::RandomNormal, Op::Contrast];
    let done = [Op::SetRows, Op::SetBuffer, Op::Once, Op::Log];
    !drawn.contains(&op) && !done.contains(&op) && op != Op::Detach
}

pub(super) fn bytes_of(dtype: FloatDType) -> u64 {
    if dtype == FloatDType::F64 { 8 } else { 4 }
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
