//! An optimiser at work: a [`Rule`] for every parameter of a module, and what it remembers of each. That is
//! keyed by names, where Burn's optimisers have numbers that differ from process to process.

use super::names::Path;
use crate::kernel::{self, Moving, Scalars};
use crate::optimizer::{Fused, Memory, OPTIMIZERS, Rates, Rule};
use crate::recipe::Recipe;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How parameters are updated, and what it remembers of each.
#[derive(Clone, Debug)]
pub struct Optimizer {
    rule: Arc<dyn Rule>,
    weight_decay: f64,
    clip: f64,
    memory: BTreeMap<String, Memory>,
}

impl Optimizer {
    /// An optimiser that remembers nothing yet. The message names an optimiser that isn't there, or its
    /// option.
    pub fn new(recipe: &Recipe) -> Result<Self, String> {
        let (part, options) = recipe.optimizer.find("optimiser", OPTIMIZERS)?;
        Ok(Optimizer {
            rule: (part.make)(&options),
            weight_decay: recipe.weight_decay,
            clip: recipe.clip_value,
            memory: BTreeMap::new(),
        })
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
        let fused = found.iter().map(|one| self.fused(one, rate(&one.name)));
        let moved = fused.collect::<Option<Vec<_>>>().and_then(|fused| {
            let (_, first) = fused.first()?;
            let Fused { arithmetic, shares, epsilon, coupled, .. } = *first;
            let scalars = Scalars { epsilon, clip: self.clip, coupled, shares };
            let moving: Vec<Moving> = fused.into_iter().map(|(moving, _)| moving).collect();
            Some((arithmetic, kernel::update(arithmetic, scalars, &moving)?))
        });
        let Some((arithmetic, moved)) = moved else {
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
            memory.second = arithmetic.has_second().then_some(second);
            (one.id, moved.parameter)
        });
        each.collect()
    }

    /// A parameter with what its next step is made of, if the kernel has the rule.
    fn fused(&self, one: &Found, lr: f64) -> Option<(Moving, Fused)> {
        let known = self.memory.get(&one.name);
        let steps = known.map_or(0, |memory| memory.steps) + 1;
        let fused = self.rule.fused(steps, Rates { lr, weight_decay: self.weight_decay })?;
        let first = known.and_then(|memory| memory.first.clone());
        let first = first.unwrap_or_else(|| one.parameter.zeros_like());
        // One that the rule has none of isn't looked at.
        let second = known.and_then(|memory| memory.second.clone());
        let memory = [first.clone(), second.unwrap_or(first)];
        let (parameter, gradient) = (one.parameter.clone(), one.gradient.clone());
        let Fused { rate, root, keep, .. } = fused;
        Some((Moving { parameter, gradient, memory, rate, root, keep }, fused))
    }

    /// One parameter after one step, all flat.
    fn update(&mut self, name: &str, x: Tensor<1>, g: Tensor<1>, lr: f64) -> Tensor<1> {
        let memory = self.memory.entry(name.to_owned()).or_default();
        memory.steps += 1;
        let g = if self.clip > 0.0 { g.clamp(-self.clip, self.clip) } else { g };
        self.rule.step(x, g, memory, Rates { lr, weight_decay: self.weight_decay })
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
