//! An exponential moving average of the network: Polyak & Juditsky, "Acceleration of Stochastic
//! Approximation by Averaging", 1992, with exponential weights as the field uses it.

use super::names::Path;
use crate::backbone::Backbone;
use crate::kernel;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use std::collections::BTreeMap;

/// The average of a network's parameters and running statistics.
#[derive(Clone, Debug)]
pub struct Average {
    decay: f64,
    network: Backbone,
}

impl Average {
    /// Starts with the network as it is; each update keeps `decay` of the average.
    pub fn new(decay: f64, network: &Backbone) -> Self {
        Average { decay, network: network.valid() }
    }

    /// Takes in the network after a step.
    pub fn update(&mut self, network: &Backbone) {
        let now = Collect::of(&network.valid());
        let average = self.network.clone();
        if let Some(mixed) = self.mixed(&now) {
            self.network = Mix::replace(average.valid(), mixed);
            return;
        }
        // Of its own, because running statistics are shared between clones.
        self.network =
            average.valid().map(&mut Mix { decay: self.decay, now, path: Path::default() });
    }

    /// All of its parameters after the update, where they lie on a GPU.
    fn mixed(&self, now: &BTreeMap<String, Tensor<1>>) -> Option<BTreeMap<String, Tensor<1>>> {
        let kept = Collect::of(&self.network);
        let pairs: Vec<_> = kept
            .iter()
            .map(|(name, kept)| Some([kept.clone(), now.get(name)?.clone()]))
            .collect::<Option<_>>()?;
        Some(kept.into_keys().zip(kernel::mix(&pairs, self.decay)?).collect())
    }

    /// The averaged network, without autodiff.
    pub fn network(&self) -> &Backbone {
        &self.network
    }

    /// Continues from this network, which must be built alike.
    pub fn set_network(&mut self, network: &Backbone) {
        self.network = network.valid();
    }
}

/// Parameters by name, flat.
#[derive(Default)]
pub(super) struct Collect {
    found: BTreeMap<String, Tensor<1>>,
    path: Path,
}

impl Collect {
    /// All of a network's.
    pub fn of(network: &Backbone) -> BTreeMap<String, Tensor<1>> {
        let mut collect = Collect::default();
        network.visit(&mut collect);
        collect.found
    }
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let len = tensor.dims().iter().product::<usize>();
        self.found.insert(self.path.name(), tensor.reshape([len]));
    }
}

/// Moves a network's parameters towards others.
pub(super) struct Mix {
    decay: f64,
    now: BTreeMap<String, Tensor<1>>,
    path: Path,
}

impl Mix {
    /// The network with these in place of its own, found by name.
    pub fn replace(network: Backbone, now: BTreeMap<String, Tensor<1>>) -> Backbone {
        network.map(&mut Mix { decay: 0.0, now, path: Path::default() })
    }
}

impl ModuleMapper for Mix {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(now) = self.now.remove(&self.path.name()) else { return param };
        let decay = self.decay;
        param.map(|kept| {
            let now = now.reshape(kept.dims());
            if decay > 0.0 {
                return kept * decay + now * (1.0 - decay);
            }
            if kept.is_autodiff() { Tensor::from_inner(now) } else { now }
        })
    }
}
