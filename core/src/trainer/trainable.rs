//! Which parameters learn.

use super::names::{Path, in_embedding};
use crate::backbone::Backbone;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

/// Which of a network's parameters get gradients. Those that don't neither move nor decay, and the
/// optimiser doesn't count their steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trainable {
    /// Only the embedding layer learns.
    pub new_only: bool,
    /// Batch norms' scales and shifts learn.
    pub batch_norm: bool,
}

impl Trainable {
    /// The network with these parameters learning, and no others.
    pub fn apply(self, network: Backbone) -> Backbone {
        network.map(&mut Choice { rule: self, path: Path::default() })
    }
}

struct Choice {
    rule: Trainable,
    path: Path,
}

impl ModuleMapper for Choice {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let new = !self.rule.new_only || in_embedding(&self.path.name());
        let learns = new && (self.rule.batch_norm || !self.path.in_batch_norm());
        if param.val().is_require_grad() == learns { param } else { param.set_require_grad(learns) }
    }
}
