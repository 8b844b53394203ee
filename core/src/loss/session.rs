//! One loss in one run: its code, its parameters and buffers, its limits.

use super::budget::elements;
use super::error::{Failure, LossError, guarded};
use super::inputs::Inputs;
use super::interpreter::{Interpreter, Late, Replay};
use super::limits::Limits;
use super::node::{pad, reshaped};
use super::state::Kept;
use super::watch::Watch;
use crate::random;
use burn::module::{Module, Param, ParamId};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

/// The code of a loss, however it was loaded.
pub trait LossCode: Send {
    /// Runs the formula once. The interpreter comes back in any case; the result is the handle
    /// that the code returned, or what ended it.
    fn run(&mut self, step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>);
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

    pub(super) fn interpreter(&mut self) -> Result<&mut Interpreter, LossError> {
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
        self.interpreter()?.kept.probing = true;
        let value = self.run(inputs);
        self.interpreter()?.kept.probing = false;
        let (value, loss) = (value?, self.name.clone());
        let interpreter = self.interpreter()?;
        let (tracked, learns) = (value.is_tracked(), !interpreter.kept.params.is_empty());
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
        Ok(Outcome { value, terms: interpreter.terms() })
    }

    /// The operation, with the plugin's line, in which numbers of this step first aren't finite: on the way
    /// to the loss, or if that is finite, on the way back from it. None if all are, and if the step can't be
    /// done again. The step is computed three times, and nothing of it lands.
    pub fn trace(&mut self, inputs: &Inputs) -> Option<Failure> {
        let found = guarded(|| self.first_not_finite(inputs)).ok().flatten();
        self.discard();
        if let Some(interpreter) = &mut self.interpreter {
            (interpreter.watch, interpreter.stop_at) = (None, None);
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
        self.failing_at(inputs, found)
    }

    /// The failure of a step in which a call fails: with it, the plugin says which line that is of.
    pub(super) fn failing_at(&mut self, inputs: &Inputs, found: Late) -> Option<Failure> {
        self.interpreter.as_mut()?.stop_at = Some(found);
        let ended = self.attempt(inputs);
        self.interpreter.as_mut()?.stop_at = None;
        match ended {
            Err(LossError::Step { failure, .. }) => Some(failure),
            _ => None,
        }
    }

    fn watched(&mut self, inputs: &Inputs, watch: Watch) -> Option<(Tensor<1>, Watch)> {
        self.interpreter.as_mut()?.watch = Some(watch);
        let value = self.attempt(inputs).ok()?;
        Some((value, self.interpreter.as_mut()?.watch.take()?))
    }

    fn run(&mut self, inputs: &Inputs) -> Result<Tensor<1>, LossError> {
        let ended = self.attempt(inputs);
        let late = self.interpreter()?.take_late();
        let (Err(LossError::Step { loss, failure }), Some(late)) = (&ended, late) else {
            return ended;
        };
        // It failed while it was computed, when the plugin had left that line.
        let found = self.failing_at(inputs, late).filter(|found| found.what == failure.what);
        self.discard();
        Err(LossError::Step { loss: loss.clone(), failure: found.unwrap_or(failure.clone()) })
    }

    fn attempt(&mut self, inputs: &Inputs) -> Result<Tensor<1>, LossError> {
        let (step, loss) = (self.step, self.name.clone());
        let interpreter = self.interpreter()?;
        let shown = inputs.shown(interpreter.device(), interpreter.integers());
        interpreter.begin(step, shown);
        for (name, param) in self.names.iter().zip(&self.parameters.values) {
            if let Some(interpreter) = &mut self.interpreter
                && let Some(kept) = interpreter.kept.params.get_mut(name)
            {
                kept.0 = param.val();
            }
        }
        let Some(interpreter) = self.interpreter.take() else {
            return Err(LossError::Fault { loss, fault: "no interpreter".to_owned() });
        };
        let (mut interpreter, result) = self.code.run(interpreter);
        let failed = interpreter.take_failure();
        let result = result.map(|handle| match &failed {
            Some(_) => Ok((None, Vec::new())),
            None => interpreter.finish(handle),
        });
        let outcome = match (failed.or_else(|| interpreter.take_failure()), result) {
            (Some(_), _) | (None, Err(_)) if interpreter.stopped() => {
                Err(LossError::Stopped { loss })
            }
            (Some(failure), _) if failure.undefined => {
                Err(LossError::Undefined { loss, why: failure.why })
            }
            (Some(failure), _) => Err(LossError::Step { loss, failure }),
            (None, Err(fault)) => Err(LossError::Fault { loss, fault }),
            (None, Ok(Ok((Some(value), _)))) => Ok(value),
            (None, Ok(Ok((None, shape)))) => Err(LossError::NotScalar { loss, shape }),
            (None, Ok(Err(fault))) => {
                let fault = format!("the tensor it returned is {fault}");
                Err(LossError::Fault { loss, fault })
            }
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
        if interpreter.kept.frozen {
            return;
        }
        interpreter.kept.frozen = true;
        for (name, (tensor, _)) in &interpreter.kept.params {
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
            interpreter.kept = Kept::default();
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
        self.replay(Replay::Kept);
    }

    /// From now on, steps get the constants of the step that was kept last in place of their own: the
    /// loss as its gradient sees it. Or no more.
    pub fn hold_constants(&mut self, hold: bool) {
        self.replay(if hold { Replay::Held } else { Replay::Live });
    }

    fn replay(&mut self, replay: Replay) {
        if let Some(interpreter) = &mut self.interpreter {
            interpreter.replay = replay;
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
            let rank = interpreter.kept.params.get(name).map_or(4, |kept| kept.1);
            out.insert(format!("param.{name}"), unpadded(param.val(), rank));
        }
        for (name, (tensor, rank)) in &interpreter.kept.buffers {
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
                "param" => &mut interpreter.kept.params,
                "buffer" => &mut interpreter.kept.buffers,
                _ => return Err(wrong(format!("state key {key} is neither param.… nor buffer.…"))),
            };
            match map.get(name) {
                Some((kept, rank)) if kept.dims()[4 - rank..] != dims[..] => {
                    let has = &kept.dims()[4 - rank..];
                    return Err(wrong(format!("{key} has shape {dims:?}, the loss's {has:?}")));
                }
                None if interpreter.kept.frozen && kind == "param" => {
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
                map_insert(&mut interpreter.kept.params, name, tensor, dims.len());
            } else {
                map_insert(&mut interpreter.kept.buffers, name, tensor, dims.len());
            }
        }
        Ok(())
    }

    /// Whether the loss's parameters are known.
    pub fn is_ready(&self) -> bool {
        self.interpreter.as_ref().is_some_and(|i| i.kept.frozen)
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
