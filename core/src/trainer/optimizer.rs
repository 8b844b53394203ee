//! `AdamW`, Adam, SGD and RMSprop with PyTorch's arithmetic.
//!
//! Burn's own optimisers keep β, momentum and the like in 32 bits, which moves a 64-bit training by
//! 1e-5 in its first steps (1 - 0.999 has four digits then), and its RMSprop adds ε inside the root.
//! Their state is keyed by numbers that differ from process to process; here it is keyed by names.

use super::names::Path;
use crate::kernel::{self, Moving, Rule, Scalars};
use crate::recipe::{Method, Recipe};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::collections::{BTreeMap, HashMap};

/// Share of the old first moment, or of the old velocity.
const MOMENTUM: f64 = 0.9;
/// Share of the old second moment in Adam and `AdamW`.
const BETA_2: f64 = 0.999;
/// Share of the old mean square in RMSprop.
const ALPHA: f64 = 0.9;

/// How parameters are updated, and what it remembers of each.
#[derive(Clone, Debug)]
pub struct Optimizer {
    method: Method,
    weight_decay: f64,
    epsilon: f64,
    clip: f64,
    memory: BTreeMap<String, Memory>,
}

/// What is remembered of one parameter; flat, because nothing here depends on its shape.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// Updates so far: a parameter that gets its first gradient late starts at 1 then.
    steps: u64,
    /// Mean gradient, or velocity, `[len]`.
    first: Option<Tensor<1>>,
    /// Mean squared gradient, `[len]`.
    second: Option<Tensor<1>>,
}

impl Optimizer {
    /// An optimiser that remembers nothing yet.
    pub fn new(recipe: &Recipe) -> Self {
        Optimizer {
            method: recipe.optimizer,
            weight_decay: recipe.weight_decay,
            epsilon: recipe.epsilon,
            clip: recipe.clip_value,
            memory: BTreeMap::new(),
        }
    }

    /// Updates every parameter that has a gradient; `name` makes its name from its path, `rate` its
    /// learning rate from its name. On a GPU all move by a few launches, else one after the other.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: &mut GradientsParams,
        name: &dyn Fn(String) -> String,
        rate: &dyn Fn(&str) -> f64,
    ) -> M {
        let mut all = Gather { gradients, name, path: Path::default(), found: Vec::new() };
        if kernel::takes(&module) {
            module.visit(&mut all);
            let found = all.found;
            return module.map(&mut Replace(self.step_at_once(found, rate)));
        }
        module.map(&mut Update { optimizer: self, gradients, name, rate, path: Path::default() })
    }

    /// Parameters after one step, by id.
    fn step_at_once(
        &mut self,
        found: Vec<Found>,
        rate: &dyn Fn(&str) -> f64,
    ) -> HashMap<ParamId, Tensor<1>> {
        let coupled = if self.method == Method::AdamW { 0.0 } else { self.weight_decay };
        let (rule, shares) = match self.method {
            Method::AdamW | Method::Adam => (Rule::Adam, [MOMENTUM, BETA_2]),
            Method::Sgd => (Rule::Sgd, [MOMENTUM, 0.0]),
            Method::RmsProp => (Rule::RmsProp, [MOMENTUM, ALPHA]),
        };
        let scalars = Scalars { epsilon: self.epsilon, clip: self.clip, coupled, shares };
        let moving: Vec<Moving> =
            found.iter().map(|one| self.moving(one, rate(&one.name))).collect();
        let moved = kernel::update(rule, scalars, &moving);
        let Some(moved) = moved else {
            let each = found.into_iter().map(|one| {
                let lr = rate(&one.name);
                (one.id, self.update(&one.name, one.parameter, one.gradient, lr))
            });
            return each.collect();
        };
        let each = found.into_iter().zip(moved).map(|(one, moved)| {
            let memory = self.memory.entry(one.name).or_default();
            memory.steps += 1;
            let [first, second] = moved.memory;
            memory.first = Some(first);
            memory.second = (rule != Rule::Sgd).then_some(second);
            (one.id, moved.parameter)
        });
        each.collect()
    }

    /// A parameter with what its next step is made of.
    fn moving(&self, one: &Found, lr: f64) -> Moving {
        let known = self.memory.get(&one.name);
        let time = known.map_or(0, |memory| memory.steps) as f64 + 1.0;
        let (rate, root) = match self.method {
            Method::AdamW | Method::Adam => {
                (lr / (1.0 - MOMENTUM.powf(time)), (1.0 - BETA_2.powf(time)).sqrt())
            }
            Method::Sgd | Method::RmsProp => (lr, 1.0),
        };
        let first = known.and_then(|memory| memory.first.clone());
        let first = first.unwrap_or_else(|| one.parameter.zeros_like());
        // One that the rule has none of isn't looked at.
        let second = known.and_then(|memory| memory.second.clone());
        let memory = [first.clone(), second.unwrap_or(first)];
        let decay = if self.method == Method::AdamW { self.weight_decay } else { 0.0 };
        let (parameter, gradient) = (one.parameter.clone(), one.gradient.clone());
        Moving { parameter, gradient, memory, rate, root, keep: 1.0 - lr * decay }
    }

    /// One parameter after one step, all flat.
    fn update(&mut self, name: &str, x: Tensor<1>, g: Tensor<1>, lr: f64) -> Tensor<1> {
        let (decay, epsilon) = (self.weight_decay, self.epsilon);
        let memory = self.memory.entry(name.to_owned()).or_default();
        memory.steps += 1;
        let g = if self.clip > 0.0 { g.clamp(-self.clip, self.clip) } else { g };
        let coupled = self.method != Method::AdamW && decay > 0.0;
        let g = if coupled { g + x.clone() * decay } else { g };
        let mean = |old: Option<Tensor<1>>, new: Tensor<1>, share: f64| match old {
            Some(old) => old * share + new * (1.0 - share),
            None => new * (1.0 - share),
        };
        match self.method {
            Method::AdamW | Method::Adam => {
                let time = memory.steps as f64;
                let (left_1, left_2) = (1.0 - MOMENTUM.powf(time), 1.0 - BETA_2.powf(time));
                let m = mean(memory.first.take(), g.clone(), MOMENTUM);
                let v = mean(memory.second.take(), g.square(), BETA_2);
                (memory.first, memory.second) = (Some(m.clone()), Some(v.clone()));
                let x = if coupled || decay == 0.0 { x } else { x * (1.0 - lr * decay) };
                x - m * (lr / left_1) / (v.sqrt() / left_2.sqrt() + epsilon)
            }
            Method::Sgd => {
                let velocity = match memory.first.take() {
                    Some(old) => old * MOMENTUM + g.clone(),
                    None => g.clone(),
                };
                memory.first = Some(velocity.clone());
                x - (g + velocity * MOMENTUM) * lr // Nesterov's
            }
            Method::RmsProp => {
                let square = mean(memory.second.take(), g.clone().square(), ALPHA);
                let scaled = g / (square.clone().sqrt() + epsilon);
                let velocity = match memory.first.take() {
                    Some(old) => old * MOMENTUM + scaled,
                    None => scaled,
                };
                (memory.first, memory.second) = (Some(velocity.clone()), Some(square));
                x - velocity * lr
            }
        }
    }

    /// What is remembered, by parameter: `<name>.first`, `<name>.second` `[len]`, `<name>.steps` `[1]`.
    pub fn state(&self) -> BTreeMap<String, TensorData> {
        let mut out = BTreeMap::new();
        for (name, memory) in &self.memory {
            out.insert(format!("{name}.steps"), TensorData::from([memory.steps as i64]));
            for (part, tensor) in [("first", &memory.first), ("second", &memory.second)] {
                if let Some(tensor) = tensor {
                    out.insert(format!("{name}.{part}"), tensor.to_data());
                }
            }
        }
        out
    }

    /// Takes up what [`state`](Self::state) gave. The message names the key that makes no sense.
    pub fn load_state(
        &mut self,
        state: BTreeMap<String, TensorData>,
        device: &Device,
    ) -> Result<(), String> {
        let device = device.clone().inner();
        self.memory.clear();
        for (key, data) in state {
            let shape = data.shape().to_vec();
            let (name, part) = key.rsplit_once('.').unwrap_or((&key, ""));
            let memory = self.memory.entry(name.to_owned()).or_default();
            let float = matches!(data.dtype(), DType::F32 | DType::F64);
            match (part, shape.as_slice()) {
                ("steps", [1]) => {
                    memory.steps = data.iter::<i64>().next().unwrap_or_default().max(0) as u64;
                }
                ("first" | "second", [_]) if float => {
                    let dtype = data.dtype();
                    let tensor = Some(Tensor::from_data(data, (&device, dtype)));
                    *(if part == "first" { &mut memory.first } else { &mut memory.second }) =
                        tensor;
                }
                _ => {
                    return Err(format!(
                        "{key} of shape {shape:?} isn't an optimiser's: those are NAME.steps [1], \
                         and NAME.first and NAME.second [len] as floats"
                    ));
                }
            }
        }
        Ok(())
    }
}

struct Update<'a> {
    optimizer: &'a mut Optimizer,
    gradients: &'a mut GradientsParams,
    name: &'a dyn Fn(String) -> String,
    rate: &'a dyn Fn(&str) -> f64,
    path: Path,
}

impl ModuleMapper for Update<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return param };
        let name = (self.name)(self.path.name());
        let (id, tensor, mapper) = param.consume();
        let (shape, dtype) = (tensor.dims(), tensor.dtype());
        let len = shape.iter().product::<usize>();
        let gradient = gradient.cast(dtype).reshape([len]);
        let flat = tensor.inner().reshape([len]);
        let flat = self.optimizer.update(&name, flat, gradient, (self.rate)(&name));
        let tensor = Tensor::from_inner(flat.reshape(shape));
        Param::from_mapped_value(id, tensor.require_grad(), mapper)
    }
}

/// A parameter with its gradient, both `[len]`, without autodiff.
struct Found {
    id: ParamId,
    name: String,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
}

struct Gather<'a> {
    gradients: &'a mut GradientsParams,
    name: &'a dyn Fn(String) -> String,
    path: Path,
    found: Vec<Found>,
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let parameter = param.val().inner();
        let len = parameter.dims().iter().product::<usize>();
        let gradient = gradient.cast(parameter.dtype()).reshape([len]);
        let (id, name) = (param.id, (self.name)(self.path.name()));
        self.found.push(Found { id, name, parameter: parameter.reshape([len]), gradient });
    }
}

/// Puts others in the place of parameters.
struct Replace(HashMap<ParamId, Tensor<1>>);

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(flat) = self.0.remove(&param.id) else { return param };
        let (id, tensor, mapper) = param.consume();
        let tensor = Tensor::from_inner(flat.reshape(tensor.dims()));
        Param::from_mapped_value(id, tensor.require_grad(), mapper)
    }
}
