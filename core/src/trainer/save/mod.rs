//! Checkpoints: the [last](last) one, from which a training goes on; the network of the [best](best) evaluation;
//! and [copies](every) that are kept. One file each says when it is written and what is in it.

mod best;
mod every;
mod last;

pub use best::Best;

use super::{Log, Observer, State, TrainError, Trainer};
use crate::backbone::Backbone;
use crate::checkpoint::{self, Training};
use crate::fs::{WriteError, atomic_write};
use crate::loss::guarded;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use std::collections::BTreeMap;
use std::path::PathBuf;

impl Trainer {
    /// Writes the checkpoint from which [`resume`](Self::resume) goes on, if the network is still
    /// sound; at the end of an epoch also the copy that the recipe wants kept.
    pub(super) fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let network = self.result();
        self.check(&network)?;
        self.read(Log::settle)?;
        observer.checkpoint()?;
        let ended = self.state.batch == self.batches_per_epoch();
        let epoch = self.state.epoch + 1;
        // The copy first: whoever stops between the two writes it again when the run goes on.
        if ended && let Some(copy) = self.copy_due(epoch) {
            self.write(copy.path, &network, None, copy.replaces)?;
        }
        let training = self.training()?;
        self.write(self.checkpoint.clone(), &network, Some(&training), None)?;
        let at = if ended { (epoch, 0) } else { (epoch - 1, self.state.batch) };
        self.state.saved = Some(at);
        Ok(())
    }

    /// Takes a checkpoint's bytes now, and writes them beside the training; then deletes the `old` one.
    fn write(
        &self,
        path: PathBuf,
        network: &Backbone,
        training: Option<&Training>,
        old: Option<PathBuf>,
    ) -> Result<(), TrainError> {
        let state = &self.state;
        let losses: Vec<_> = state.terms.iter().map(|t| t.session.state()).collect();
        let notes = BTreeMap::from([
            ("epoch".to_owned(), (state.epoch + 1).to_string()),
            ("step".to_owned(), state.step.to_string()),
            ("seed".to_owned(), self.seed.to_string()),
        ]);
        let size = self.image_size;
        let bytes = checkpoint::encode(network, &self.network, size, &losses, &notes, training)?;
        state.writer.begin(move || {
            atomic_write(&path, &bytes)?;
            match old.map(|old| (std::fs::remove_file(&old), old)) {
                Some((Err(e), path)) if e.kind() != std::io::ErrorKind::NotFound => {
                    Err(WriteError { path, source: e }.into())
                }
                _ => Ok(()),
            }
        })
    }

    /// Refuses a network with numbers that aren't finite.
    fn check(&self, network: &Backbone) -> Result<(), TrainError> {
        let sum = guarded(|| parameter_sum(network))
            .map_err(|why| self.refused(self.state.batch, why))?;
        if sum.is_finite() {
            return Ok(());
        }
        let step = self.state.batch.saturating_sub(1);
        Err(self.diverged((step, "a weight of the network".to_owned(), sum)))
    }
}

impl State {
    /// Where the last checkpoint was written: whole epochs, and batches of the next one.
    pub fn saved(&self) -> Option<(usize, usize)> {
        self.saved
    }
}

/// Sum of a network's weights: not finite if one of them isn't.
pub(super) fn parameter_sum(network: &Backbone) -> f64 {
    let mut sum = ParameterSum { sum: None };
    network.visit(&mut sum);
    sum.sum.map_or(0.0, |s| s.into_scalar::<f64>())
}

/// Sum of all floats of a module.
struct ParameterSum {
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for ParameterSum {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let sum = param.val().detach().sum();
        self.sum = Some(match self.sum.take() {
            None => sum,
            Some(other) => other + sum,
        });
    }
}
