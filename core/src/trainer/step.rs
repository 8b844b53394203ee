//! One step: forward, losses, one backward pass, one update of everything that learns.

use super::names::in_embedding;
use super::{Minibatch, Pictures, TrainError, Trainable, Trainer};
use crate::backbone::{Backbone, Output};
use crate::loss::Inputs;
use crate::loss::{LossError, guarded};
use crate::recipe::OnUndefined;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

/// What the losses of one step came to.
#[derive(Debug)]
pub struct Step {
    /// Their weighted sum, `[1]`.
    pub total: Tensor<1>,
    /// Whether anything that learns is in it.
    pub learns: bool,
    /// Each loss with its weight, and what it reported, without one; `[1]`, without gradient.
    pub values: Vec<(String, Option<f64>, Tensor<1>)>,
    /// The sum of the target's embeddings, `[1]`, without gradient: not finite if one of them isn't.
    pub seen: Option<Tensor<1>>,
}

impl Trainer {
    /// Sets which parameters learn in the epoch that `state` is in; before its first step, and once
    /// more after `state` was loaded.
    pub fn begin_epoch(&mut self) {
        let new_only = self.state.epoch < self.recipe.new_only_epochs;
        let warmed_up = self.recipe.new_only_epochs > 0 && !new_only;
        let thawed = self.recipe.thaw_batch_norm && warmed_up;
        let rule = Trainable { new_only, batch_norm: thawed || !self.network.frozen_batch_norm };
        self.state.target = rule.apply(self.state.target.clone());
    }

    /// The learning rate in the epoch that `state` is in, before factors.
    pub fn lr(&self) -> f64 {
        self.recipe.lr_in(self.state.epoch)
    }

    /// Trains on one batch: forward, losses, backward, update and buffer writes are one unit, which
    /// ends well or with an error. None if no loss was defined on the batch.
    pub fn step(&mut self, batch: &Minibatch) -> Result<Option<Step>, TrainError> {
        let step = guarded(|| {
            let step =
                if self.in_parts() { self.step_in_parts(batch) } else { self.step_whole(batch) };
            if step.is_ok() {
                self.state.terms.iter_mut().for_each(|term| term.session.commit());
            }
            step
        });
        let step = step.map_err(|why| {
            self.state.terms.iter_mut().for_each(|term| term.session.discard());
            self.refused(self.state.batch + 1, why)
        })??;
        self.state.batch += 1;
        self.state.step += 1;
        Ok(step.map(|step| Step { total: step.total.detach(), ..step }))
    }

    fn step_whole(&mut self, batch: &Minibatch) -> Result<Option<Step>, TrainError> {
        let source = self.source.as_ref().map(|net| teach(net, &batch.pictures));
        let target = batch.pictures.through(&self.state.target);
        let inputs = self.inputs(batch, target, source);
        let step = self.losses(&inputs)?;
        drop(inputs);
        // In the first epochs of a warm-up, what a loss sees may not learn.
        if let Some(step) = step.as_ref().filter(|step| step.learns) {
            let mut gradients = step.total.backward();
            let of_network = GradientsParams::from_module(&mut gradients, &self.state.target);
            let of_losses = self.loss_gradients(&mut gradients);
            self.update_network(of_network);
            self.update_losses(of_losses);
        }
        Ok(step)
    }

    /// The gradients of each loss's parameters.
    pub(super) fn loss_gradients(&self, gradients: &mut Gradients) -> Vec<GradientsParams> {
        let terms = self.state.terms.iter();
        terms.map(|t| GradientsParams::from_module(gradients, t.session.parameters())).collect()
    }

    /// The weighted sum of the losses with its graph, and what they report. Their buffer writes wait.
    pub(super) fn losses(&mut self, inputs: &Inputs) -> Result<Option<Step>, TrainError> {
        let (mut total, mut values) = (None, Vec::new());
        for i in 0..self.state.terms.len() {
            let term = &mut self.state.terms[i];
            let outcome = match term.session.step(inputs) {
                Ok(outcome) => outcome,
                Err(LossError::Undefined { .. })
                    if self.recipe.on_undefined == OnUndefined::Skip =>
                {
                    self.state.skipped += 1;
                    continue;
                }
                Err(source) => {
                    self.state.terms.iter_mut().for_each(|t| t.session.discard());
                    return Err(TrainError::Loss {
                        epoch: self.state.epoch + 1,
                        step: self.state.batch + 1,
                        source: Box::new(source),
                        kept: self.kept(),
                    });
                }
            };
            let term = &self.state.terms[i];
            let value = outcome.value.clone().detach();
            values.push((term.name.clone(), Some(term.weight), value));
            let inner = outcome.terms.into_iter();
            values.extend(inner.map(|(name, x)| (format!("{}.{name}", term.name), None, x)));
            // A weight of 1 is no operation.
            let whole = (term.weight - 1.0).abs() < f64::EPSILON;
            let value = if whole { outcome.value } else { outcome.value * term.weight };
            total = Some(match total {
                None => value,
                Some(sum) => sum + value,
            });
        }
        let seen = inputs.target.as_ref().map(|target| target.clone().detach().sum());
        Ok(total.map(|total| Step { learns: total.is_tracked(), total, values, seen }))
    }

    /// Moves the network's parameters, and their average.
    pub(super) fn update_network(&mut self, mut gradients: GradientsParams) {
        let (lr, factor) = (self.lr(), self.recipe.embedding_lr_factor);
        let rate = |name: &str| if in_embedding(name) { lr * factor } else { lr };
        let state = &mut self.state;
        let target = state.target.clone();
        state.target = state.optimizer.step(target, &mut gradients, &|name| name, &rate);
        if let Some(average) = &mut state.average {
            average.update(&state.target);
        }
    }

    /// Moves the losses' parameters.
    pub(super) fn update_losses(&mut self, gradients: Vec<GradientsParams>) {
        let lr = self.lr();
        for (term, mut gradients) in self.state.terms.iter_mut().zip(gradients) {
            let names = term.session.parameter_names().to_vec();
            let name = |path: String| {
                let number = path.rsplit('.').next().and_then(|n| n.parse::<usize>().ok());
                number.and_then(|n| names.get(n).cloned()).unwrap_or(path)
            };
            let rate = |_: &str| lr * term.lr_factor;
            let optimizer = &mut term.optimizer;
            term.session.update(|p| optimizer.step(p, &mut gradients, &name, &rate));
        }
    }

    /// What the step shows to its losses.
    pub(super) fn inputs(
        &self,
        batch: &Minibatch,
        target: Output,
        source: Option<Output>,
    ) -> Inputs {
        let labels = || self.train.labels().iter().map(|&label| label as i64).collect();
        let labels = self.state.sample_labels.get_or_init(labels);
        let (source, source_features) =
            source.map(|s| (Some(s.embedding), s.features)).unwrap_or_default();
        Inputs {
            source,
            source_features,
            target_features: target.features,
            labels: batch.labels.clone(),
            ids: batch.ids.clone(),
            classes: self.train.classes().len(),
            samples: self.train.len(),
            sample_labels: labels.clone(),
            views: batch.views,
            epoch: self.state.epoch,
            progress: self.state.step as f64 / self.steps.max(1) as f64,
            draws: batch.draws.clone(),
            ..Inputs::new(target.embedding)
        }
    }
}

/// A network's output in evaluation mode, as constants on the autodiff device.
pub(super) fn teach(net: &Backbone, pictures: &Pictures) -> Output {
    constant(pictures.clone().inner().through(&net.valid()))
}

/// What was computed without autodiff, as constants on an autodiff device.
pub(super) fn constant(output: Output) -> Output {
    output.map(Tensor::from_inner, Tensor::from_inner)
}
