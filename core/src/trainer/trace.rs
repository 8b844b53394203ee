//! Where a training's numbers first weren't finite, found by doing the steps since its last checkpoint again.
//! Nothing has to be kept for it, and nothing read, while a training is sound.

use super::step::{constant, teach};
use super::{Minibatch, Step, TrainError, Trainer, parts, save};
use crate::backbone::{Backbone, Output};
use crate::loss::guarded;
use burn::tensor::{Tensor, TensorData};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a step changes and a loss sees, before it.
pub(super) struct Before {
    target: Backbone,
    losses: Vec<(BTreeMap<String, TensorData>, u64)>,
}

impl Trainer {
    /// Trains on from the state that it is in, up to a step of an epoch, both from 1, and says where numbers
    /// first aren't finite. None if they are this time, as may be on a GPU, or if `stop` is set.
    pub fn trace(
        &mut self,
        epoch: usize,
        step: usize,
        stop: &'static AtomicBool,
    ) -> Result<Option<String>, TrainError> {
        let sampler = self.sampler()?;
        self.steps = sampler.batches_per_epoch().saturating_mul(self.recipe.epochs);
        self.state.terms.iter_mut().for_each(|term| term.session.stop_on(stop));
        let loader = self.loader();
        for batch in loader.epoch(0, sampler.epoch(0).into_iter().take(1).collect()) {
            self.probe(&self.upload(batch?))?;
        }
        while self.state.epoch < epoch {
            self.begin_epoch();
            let (now, begun) = (self.state.epoch as u64, self.state.batch);
            for batch in loader.epoch(now, sampler.epoch(now)).skip(begun) {
                let (batch, before) = (self.upload(batch?), self.before());
                let outcome = self.step(&batch)?;
                if let Some(found) = self.anomaly(before, &batch, outcome.as_ref()) {
                    return Ok(Some(found));
                }
                let over = (self.state.epoch + 1, self.state.batch) >= (epoch, step);
                if over || stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
            }
            (self.state.epoch, self.state.batch) = (self.state.epoch + 1, 0);
        }
        Ok(None)
    }

    /// What isn't finite after a step, if anything: its loss, or a number that learns. Waits for the device.
    pub(super) fn anomaly(
        &mut self,
        before: Before,
        batch: &Minibatch,
        outcome: Option<&Step>,
    ) -> Option<String> {
        let value = outcome.map(|step| step.total.clone().into_scalar::<f64>());
        let finite = value.is_none_or(f64::is_finite);
        if finite && self.is_sound() {
            return None;
        }
        let found = guarded(|| self.first_not_finite(before, batch, finite)).ok().flatten();
        Some(found.unwrap_or_else(|| {
            "a number that learns, or the loss, but it is finite when the step is repeated"
                .to_owned()
        }))
    }

    pub(super) fn before(&self) -> Before {
        let losses = self.state.terms.iter().map(|t| (t.session.state(), t.session.step_number()));
        Before { target: self.state.target.clone(), losses: losses.collect() }
    }

    /// Whether all that learns is finite.
    fn is_sound(&self) -> bool {
        let finite = |x: Tensor<1>| x.into_scalar::<f64>().is_finite();
        let losses = self.state.terms.iter().all(|term| {
            let values = &term.session.parameters().values;
            values.iter().all(|p| finite(p.val().detach().sum()))
        });
        losses && save::parameter_sum(&self.state.target).is_finite()
    }

    /// What isn't finite in a step that is done again, in the order in which things are computed. `finite`
    /// says whether its loss is.
    fn first_not_finite(
        &mut self,
        before: Before,
        batch: &Minibatch,
        finite: bool,
    ) -> Option<String> {
        for (term, (state, number)) in self.state.terms.iter_mut().zip(before.losses) {
            term.session.load_state(state).ok()?;
            term.session.set_step_number(number);
        }
        let source = self.source.as_ref().map(|net| teach(net, &batch.pictures));
        let target = parts::inner(batch.pictures.through(&before.target));
        for (whose, output) in [("source", source.as_ref()), ("target", Some(&target))] {
            if let Some(what) = output.and_then(not_finite) {
                return Some(format!("{what} of the {whose} network, before any loss sees them"));
            }
        }
        // Both losses and their gradients with respect to what the network gives.
        let inputs = self.inputs(batch, parts::leaves(constant(target)), source);
        for term in &mut self.state.terms {
            if let Some(failure) = term.session.trace(&inputs) {
                return Some(format!("{}: {failure}", term.name));
            }
        }
        let why = "the network's own backward pass or its update: the losses and their gradients are finite";
        finite.then(|| why.to_owned())
    }
}

/// The first of a network's outputs that isn't finite.
fn not_finite(output: &Output) -> Option<String> {
    fn sound<const D: usize>(x: &Tensor<D>) -> bool {
        x.clone().into_data().iter::<f64>().all(f64::is_finite)
    }
    let levels = output.features.iter().enumerate().find_map(|(level, feature)| {
        let sound = feature.see(sound, sound);
        (!sound).then(|| format!("the feature maps of level {level}"))
    });
    levels.or_else(|| (!sound(&output.embedding)).then(|| "the embeddings".to_owned()))
}
