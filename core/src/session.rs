//! One loss in one run: its code, its parameters and buffers, its limits.

use crate::bounds::Bounds;
use crate::budget::elements;
use crate::error::{Failure, LossError, guarded};
use crate::interpreter::{Constants, Contrast, Interpreter, Shown, Slot, pad, reshaped};
use crate::limits::Limits;
use crate::random;
use crate::watch::Watch;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The code of a loss, however it was loaded.
pub trait LossCode: Send {
    /// Runs the formula once. The interpreter comes back in any case; the result is the handle
    /// that the code returned, or what ended it.
    fn run(&mut self, step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>);
}

/// A feature map, or the pooled vector that ends the list.
#[derive(Clone, Debug)]
pub enum Feature {
    /// `[n, c, h, w]`
    Map(Tensor<4>),
    /// `[n, c]`
    Vector(Tensor<2>),
}

impl Feature {
    fn slot(&self) -> Result<Slot, String> {
        match self {
            Feature::Map(map) => {
                elements(map.dims())?;
                Ok(Slot::float(map.clone(), 4))
            }
            Feature::Vector(vector) => matrix(vector.clone()),
        }
    }
}

/// What one step shows to its losses. Tensors live on the run's autodiff device.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The target's embeddings, `[n, d]`.
    pub target: Option<Tensor<2>>,
    /// The source's embeddings, `[n, d']`, without gradient.
    pub source: Option<Tensor<2>>,
    /// The target's feature maps, early ones first, the pooled vector last.
    pub target_features: Vec<Feature>,
    /// The source's feature maps, without gradient.
    pub source_features: Vec<Feature>,
    /// Class of each row; none if the data has no labels.
    pub labels: Vec<i64>,
    /// Number of each row's sample in the training set; none if unknown.
    pub ids: Vec<i64>,
    /// Classes in the training set.
    pub classes: usize,
    /// Samples in the training set.
    pub samples: usize,
    /// Class of every sample in the training set, for drawing negatives; empty if unknown.
    pub sample_labels: Arc<[i64]>,
    /// Views of each sample in the batch.
    pub views: usize,
    /// Epoch, from 0.
    pub epoch: usize,
    /// Share of the training that is done, 0 to 1.
    pub progress: f64,
    /// Replaces the step's first, second, … random draw; empty in a training.
    pub draws: Vec<TensorData>,
}

impl Inputs {
    /// A step with target embeddings `[n, d]` and nothing else.
    pub fn new(target: Tensor<2>) -> Self {
        Inputs { target: Some(target), ..Inputs::default() }
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        let of = |feature: &Feature| match feature {
            Feature::Map(map) => map.dims()[0],
            Feature::Vector(vector) => vector.dims()[0],
        };
        let target = self.target.as_ref().map(|t| t.dims()[0]);
        target.or_else(|| self.target_features.first().map(of)).unwrap_or(0)
    }
}

impl Default for Inputs {
    /// A step that shows nothing.
    fn default() -> Self {
        Inputs {
            target: None,
            source: None,
            target_features: Vec::new(),
            source_features: Vec::new(),
            labels: Vec::new(),
            ids: Vec::new(),
            classes: 0,
            samples: 0,
            sample_labels: Arc::default(),
            views: 1,
            epoch: 0,
            progress: 0.0,
            draws: Vec::new(),
        }
    }
}

impl Inputs {
    /// On a device whose integers hold these.
    fn shown(&self, device: &Device, integers: Bounds) -> Shown {
        let mut tensors = BTreeMap::new();
        for (name, matrix_of) in [("target", &self.target), ("source", &self.source)] {
            if let Some(tensor) = matrix_of {
                tensors.insert(name.to_owned(), matrix(tensor.clone()));
            }
        }
        for (name, list) in
            [("target_features", &self.target_features), ("source_features", &self.source_features)]
        {
            for (level, feature) in list.iter().enumerate() {
                tensors.insert(format!("{name}.{level}"), feature.slot());
            }
        }
        for (name, list) in [("labels", &self.labels), ("ids", &self.ids)] {
            if !list.is_empty() {
                tensors.insert(name.to_owned(), Ok(whole_numbers(list, device, integers)));
            }
        }
        let (positive, negative) = pairs(&self.labels);
        let facts = BTreeMap::from([
            ("positive_pairs", positive),
            ("negative_pairs", negative),
            ("classes", self.classes as f64),
            ("samples", self.samples as f64),
            ("views", self.views as f64),
            ("epoch", self.epoch as f64),
            ("progress", self.progress),
            ("target_features", self.target_features.len() as f64),
            ("source_features", self.source_features.len() as f64),
        ]);
        let contrast = Contrast {
            ids: self.ids.clone(),
            views: self.views,
            samples: self.samples,
            labels: self.sample_labels.clone(),
        };
        Shown { tensors, facts, draws: self.draws.clone(), contrast }
    }
}

/// Unordered pairs of one class and of two.
fn pairs(labels: &[i64]) -> (f64, f64) {
    let mut counts = BTreeMap::<i64, usize>::new();
    for &label in labels {
        *counts.entry(label).or_default() += 1;
    }
    let choose = |n: usize| (n * n.saturating_sub(1) / 2) as f64;
    let positive = counts.values().map(|&n| choose(n)).sum();
    (positive, choose(labels.len()) - positive)
}

fn matrix(tensor: Tensor<2>) -> Result<Slot, String> {
    let [n, d] = tensor.dims();
    elements([1, 1, n, d])?;
    Ok(Slot::float(tensor.reshape([1, 1, n, d]), 2))
}

/// Labels or ids. One that the device's integers don't hold can't be the number of a class or a sample,
/// only be compared: a negative number that no other has stands for it.
fn whole_numbers(list: &[i64], device: &Device, integers: Bounds) -> Slot {
    let Bounds { low, high } = integers;
    let odd: BTreeSet<i64> = list.iter().copied().filter(|i| !(low..=high).contains(i)).collect();
    let free = (1..=high).map(|i| -i).filter(|i| !list.contains(i));
    let names: BTreeMap<i64, i64> = odd.into_iter().zip(free).collect();
    let list: Vec<i64> = list.iter().map(|i| names.get(i).copied().unwrap_or(*i)).collect();
    let tensor = Tensor::<1, Int>::from_data(list.as_slice(), device);
    Slot::int(tensor.reshape([1, 1, 1, list.len()]), Bounds::of(&list), 1)
}

/// What a step gives.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The loss, `[1]`, with its autodiff graph.
    pub value: Tensor<1>,
    /// What the loss reported beside it, `[1]` each, without gradient.
    pub terms: Vec<(String, Tensor<1>)>,
}

/// A loss's parameters, padded to four dimensions, for the optimiser. In the order of
/// [`Session::parameter_names`].
#[derive(Module, Debug)]
pub struct LossParameters {
    /// The tensors.
    pub values: Vec<Param<Tensor<4>>>,
}

/// Where and how a loss computes.
#[derive(Clone, Debug)]
pub struct Setup {
    /// An autodiff device.
    pub device: Device,
    /// Element type of all floats.
    pub dtype: FloatDType,
    /// Seed of parameters' first values and of random draws.
    pub seed: u64,
    /// What a step may use.
    pub limits: Limits,
}

/// One loss in one run.
pub struct Session {
    name: String,
    code: Box<dyn LossCode>,
    interpreter: Option<Box<Interpreter>>,
    names: Vec<String>,
    parameters: LossParameters,
    step: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Session {
    /// A loss ready for its first step.
    pub fn new(name: &str, code: Box<dyn LossCode>, setup: Setup) -> Self {
        let seed = random::key(setup.seed, name);
        let interpreter = Interpreter::new(setup.device, setup.dtype, &setup.limits, seed);
        Session {
            name: name.to_owned(),
            code,
            interpreter: Some(Box::new(interpreter)),
            names: Vec::new(),
            parameters: LossParameters { values: Vec::new() },
            step: 0,
        }
    }

    /// The loss's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn interpreter(&mut self) -> Result<&mut Interpreter, LossError> {
        let lost = || LossError::Fault {
            loss: self.name.clone(),
            fault: "the step before was abandoned; start the loss anew".to_owned(),
        };
        self.interpreter.as_deref_mut().ok_or_else(lost)
    }

    /// Runs the loss once, forward and backward, for its parameters and buffers, tries its buffer
    /// writes on copies, and keeps nothing else of it. From then on, one that appears is an error.
    ///
    /// A loss from which nothing learns is an error; what is to learn from it must be tracked in
    /// `inputs`.
    pub fn probe(&mut self, inputs: &Inputs) -> Result<(), LossError> {
        self.interpreter()?.state.probing = true;
        let value = self.run(inputs);
        self.interpreter()?.state.probing = false;
        let (value, loss) = (value?, self.name.clone());
        let interpreter = self.interpreter()?;
        let (tracked, learns) = (value.is_tracked(), !interpreter.state.params.is_empty());
        let tried = guarded(|| {
            if tracked {
                value.backward();
            }
            interpreter.rehearse();
        });
        self.discard();
        tried.map_err(|why| LossError::refused(&loss, &why))?;
        if !tracked {
            let params = if learns { ", and not on its parameters either" } else { "" };
            let fault = format!(
                "it doesn't depend on anything that learns: not on the target's embeddings or \
                 features{params}"
            );
            return Err(LossError::Fault { loss, fault });
        }
        self.freeze();
        Ok(())
    }

    /// The scalar of one step. Its buffer writes wait for [`commit`](Self::commit).
    pub fn step(&mut self, inputs: &Inputs) -> Result<Outcome, LossError> {
        let value = self.run(inputs)?;
        self.freeze();
        let interpreter = self.interpreter()?;
        Ok(Outcome { value, terms: interpreter.logs.clone() })
    }

    /// The operation, with the plugin's line, in which numbers of this step first aren't finite: on the way
    /// to the loss, or if that is finite, on the way back from it. None if all are, and if the step can't be
    /// done again. The step is computed three times, and nothing of it lands.
    pub fn trace(&mut self, inputs: &Inputs) -> Option<Failure> {
        let found = guarded(|| self.first_not_finite(inputs)).ok().flatten();
        self.discard();
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.watch = None;
        }
        found
    }

    fn first_not_finite(&mut self, inputs: &Inputs) -> Option<Failure> {
        let (_, values) = self.watched(inputs, Watch::values())?;
        let found = if let Some(found) = values.first_value() {
            found
        } else {
            let (value, gradients) = self.watched(inputs, Watch::gradients())?;
            gradients.first_gradient(&value)?
        };
        self.interpreter.as_mut()?.watch = Some(Watch::until(found));
        match self.run(inputs) {
            Err(LossError::Step { failure, .. }) => Some(failure),
            _ => None,
        }
    }

    fn watched(&mut self, inputs: &Inputs, watch: Watch) -> Option<(Tensor<1>, Watch)> {
        self.interpreter.as_mut()?.watch = Some(watch);
        let value = self.run(inputs).ok()?;
        Some((value, self.interpreter.as_mut()?.watch.take()?))
    }

    fn run(&mut self, inputs: &Inputs) -> Result<Tensor<1>, LossError> {
        let (step, loss) = (self.step, self.name.clone());
        let interpreter = self.interpreter()?;
        let shown = inputs.shown(interpreter.device(), interpreter.integers());
        interpreter.begin(step, shown);
        for (name, param) in self.names.iter().zip(&self.parameters.values) {
            if let Some(interpreter) = &mut self.interpreter
                && let Some(kept) = interpreter.state.params.get_mut(name)
            {
                kept.0 = param.val();
            }
        }
        let Some(interpreter) = self.interpreter.take() else {
            return Err(LossError::Fault { loss, fault: "no interpreter".to_owned() });
        };
        let (mut interpreter, result) = self.code.run(interpreter);
        let outcome = match (interpreter.take_failure(), result) {
            (Some(_), _) | (None, Err(_)) if interpreter.stopped() => {
                Err(LossError::Stopped { loss })
            }
            (Some(failure), _) if failure.undefined => {
                Err(LossError::Undefined { loss, why: failure.why })
            }
            (Some(failure), _) => Err(LossError::Step { loss, failure }),
            (None, Err(fault)) => Err(LossError::Fault { loss, fault }),
            (None, Ok(handle)) => match interpreter.result(handle) {
                Ok((value, shape)) if shape.iter().product::<usize>() == 1 => Ok(value),
                Ok((_, shape)) => Err(LossError::NotScalar { loss, shape }),
                Err(fault) => Err(LossError::Fault {
                    loss,
                    fault: format!("the tensor it returned is {fault}"),
                }),
            },
        };
        if outcome.is_err() {
            interpreter.end();
        }
        self.interpreter = Some(interpreter);
        outcome
    }

    /// Hands the parameters that the first step made to the optimiser.
    fn freeze(&mut self) {
        let Some(interpreter) = &mut self.interpreter else { return };
        if interpreter.state.frozen {
            return;
        }
        interpreter.state.frozen = true;
        for (name, (tensor, _)) in &interpreter.state.params {
            self.names.push(name.clone());
            self.parameters.values.push(Param::initialized(ParamId::new(), tensor.clone()));
        }
    }

    /// The parameters, for reading gradients or counting.
    pub fn parameters(&self) -> &LossParameters {
        &self.parameters
    }

    /// The parameters' names, in the order of [`LossParameters`].
    pub fn parameter_names(&self) -> &[String] {
        &self.names
    }

    /// Replaces the parameters by what the optimiser makes of them.
    pub fn update(&mut self, f: impl FnOnce(LossParameters) -> LossParameters) {
        let empty = LossParameters { values: Vec::new() };
        self.parameters = f(std::mem::replace(&mut self.parameters, empty));
    }

    /// Lands the step's buffer writes and goes on to the next step.
    ///
    /// # Panics
    /// Where the backend does; callers run it with the rest of a step in [`guarded`].
    pub fn commit(&mut self) {
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.commit();
            interpreter.end();
        }
        self.step += 1;
    }

    /// From now on, a step that takes long ends with [`LossError::Stopped`] when this is set.
    pub fn stop_on(&mut self, stop: &'static AtomicBool) {
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.stop_on(stop);
        }
    }

    /// Forgets the step: nothing of it lands.
    pub fn discard(&mut self) {
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.end();
        }
    }

    /// Inputs that the loss asked for in its last step.
    pub fn inputs_used(&self) -> BTreeSet<String> {
        self.interpreter.as_ref().map(|i| i.used.clone()).unwrap_or_default()
    }

    /// Parameters and buffers that the loss asked for in its last step, as in [`state`](Self::state).
    pub fn state_used(&self) -> BTreeSet<String> {
        self.interpreter.as_ref().map(|i| i.state_used.clone()).unwrap_or_default()
    }

    /// Back before the first step: no parameters, no buffers. The loss's code is the same instance.
    pub fn restart(&mut self) {
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.end();
            interpreter.state = crate::interpreter::State::default();
        }
        (self.names, self.parameters, self.step) =
            (Vec::new(), LossParameters { values: Vec::new() }, 0);
    }

    /// From now on, keeps each step's random draws for [`draws`](Self::draws).
    pub fn record_draws(&mut self) {
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.recorded = Some(Vec::new());
        }
    }

    /// The last step's random draws, each `[1, 1, n, m]` or with more dimensions in front; given back
    /// as [`Inputs::draws`], they make the step again.
    pub fn draws(&self) -> Vec<TensorData> {
        self.interpreter.as_ref().and_then(|i| i.recorded.clone()).unwrap_or_default()
    }

    /// Of each of these draws, below which number it was drawn; none for floats and sample ids.
    pub fn draw_ends(&self) -> Vec<Option<usize>> {
        self.interpreter.as_ref().map(|i| i.ends.clone()).unwrap_or_default()
    }

    /// From now on, keeps what each step takes as constants: the tensors that it detaches, and the
    /// values that it reads.
    pub fn keep_constants(&mut self) {
        self.constants(Constants::Kept);
    }

    /// From now on, steps get the constants of the step that was kept last in place of their own: the
    /// loss as its gradient sees it. Or no more.
    pub fn hold_constants(&mut self, hold: bool) {
        self.constants(if hold { Constants::Held } else { Constants::Live });
    }

    fn constants(&mut self, constants: Constants) {
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.constants = constants;
        }
    }

    /// Operations and bytes of tensors of the last step.
    pub fn cost(&self) -> (u64, u64) {
        self.interpreter.as_ref().map(|i| (i.calls(), i.made())).unwrap_or_default()
    }

    /// Parameters and buffers by name: `param.<name>`, `buffer.<name>`, in their true shapes.
    pub fn state(&self) -> BTreeMap<String, TensorData> {
        let mut out = BTreeMap::new();
        let Some(interpreter) = &self.interpreter else { return out };
        for (name, param) in self.names.iter().zip(&self.parameters.values) {
            let rank = interpreter.state.params.get(name).map_or(4, |kept| kept.1);
            out.insert(format!("param.{name}"), unpadded(param.val(), rank));
        }
        for (name, (tensor, rank)) in &interpreter.state.buffers {
            out.insert(format!("buffer.{name}"), unpadded(tensor.clone(), *rank));
        }
        out
    }

    /// Sets parameters and buffers by name, before the first step or later.
    pub fn load_state(&mut self, state: BTreeMap<String, TensorData>) -> Result<(), LossError> {
        let wrong = |problem: String| LossError::State { loss: self.name.clone(), problem };
        let Some(interpreter) = &mut self.interpreter else {
            return Err(wrong("the loss is not usable any more".to_owned()));
        };
        for (key, data) in state {
            let dims = data.shape().to_vec();
            let Some((kind, name)) = key.split_once('.') else {
                return Err(wrong(format!("state key {key} is neither param.… nor buffer.…")));
            };
            if dims.len() > 4 {
                return Err(wrong(format!("{key} has shape {dims:?}: more than four dimensions")));
            }
            elements(pad(&dims)).map_err(|why| wrong(format!("{key}: {why}")))?;
            let map = match kind {
                "param" => &mut interpreter.state.params,
                "buffer" => &mut interpreter.state.buffers,
                _ => return Err(wrong(format!("state key {key} is neither param.… nor buffer.…"))),
            };
            match map.get(name) {
                Some((kept, rank)) if kept.dims()[4 - rank..] != dims[..] => {
                    let has = &kept.dims()[4 - rank..];
                    return Err(wrong(format!("{key} has shape {dims:?}, the loss's {has:?}")));
                }
                None if interpreter.state.frozen && kind == "param" => {
                    return Err(wrong(format!("the loss has no {key}")));
                }
                _ => {}
            }
            let data = reshaped(data, &pad(&dims));
            let tensor = Tensor::<4>::from_data(
                data,
                (interpreter.device(), DType::from(interpreter.dtype())),
            );
            if kind == "param" {
                let tensor = tensor.require_grad();
                if let Some(i) = self.names.iter().position(|n| n == name) {
                    let id = self.parameters.values[i].id;
                    self.parameters.values[i] = Param::initialized(id, tensor.clone());
                }
                map_insert(&mut interpreter.state.params, name, tensor, dims.len());
            } else {
                map_insert(&mut interpreter.state.buffers, name, tensor, dims.len());
            }
        }
        Ok(())
    }

    /// Whether the loss's parameters are known.
    pub fn is_ready(&self) -> bool {
        self.interpreter.as_ref().is_some_and(|i| i.state.frozen)
    }

    /// Goes on where [`state`](Self::state), [`step_number`](Self::step_number) and
    /// [`is_ready`](Self::is_ready) were asked.
    pub fn resume(
        &mut self,
        state: BTreeMap<String, TensorData>,
        step: u64,
        ready: bool,
    ) -> Result<(), LossError> {
        self.load_state(state)?;
        self.step = step;
        if ready {
            self.freeze();
        }
        Ok(())
    }

    /// The number of the next step, which keys its random draws.
    pub fn step_number(&self) -> u64 {
        self.step
    }

    /// Continues at this step.
    pub fn set_step_number(&mut self, step: u64) {
        self.step = step;
    }
}

fn map_insert(
    map: &mut BTreeMap<String, (Tensor<4>, usize)>,
    name: &str,
    tensor: Tensor<4>,
    rank: usize,
) {
    map.insert(name.to_owned(), (tensor, rank));
}

fn unpadded(tensor: Tensor<4>, rank: usize) -> TensorData {
    let dims = tensor.dims();
    reshaped(tensor.into_data(), &dims[4 - rank..])
}
