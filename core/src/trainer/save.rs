//! Checkpoints: when they are written, and all of a training's state in them, bit for bit.

use super::exact::Exact;
use super::log::Losses;
use super::{Best, Observer, State, TrainError, Trainer};
use crate::backbone::Backbone;
use crate::checkpoint::{self, Checkpoint, Training};
use crate::fs::{WriteError, atomic_write};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// All of [`State`] that isn't in a tensor. Batches and random draws are functions of seed, epoch and
/// step, so these numbers are their state too.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    epoch: usize,
    batch: usize,
    step: usize,
    batches_per_epoch: usize,
    skipped: usize,
    best: Option<BestSoFar>,
    losses: Vec<LossProgress>,
    log: Losses,
}

#[derive(Debug, Serialize, Deserialize)]
struct BestSoFar {
    epoch: usize,
    recall: Exact,
    since: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct LossProgress {
    step: u64,
    /// Whether its parameters are known.
    ready: bool,
}

impl Trainer {
    /// The file of the best evaluation's network, beside the checkpoint.
    pub fn best_checkpoint(&self) -> PathBuf {
        self.checkpoint.with_file_name("best.safetensors")
    }

    /// Writes the checkpoint from which [`resume`](Self::resume) goes on, if the network is still
    /// sound; at the end of an epoch also the copies that the recipe wants kept.
    pub(super) fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let network = self.result();
        self.check(&network)?;
        self.state.log.settle().map_err(|bad| self.diverged(bad))?;
        observer.checkpoint()?;
        let ended = self.state.batch == self.batches_per_epoch();
        // The copies first: whoever stops between the two writes them again when the run goes on.
        let (epoch, every) = (self.state.epoch + 1, self.recipe.checkpoint_every);
        if ended && every > 0 && epoch.is_multiple_of(every) {
            let keep = self.recipe.keep;
            let old = epoch.checked_sub(keep * every).filter(|_| keep > 0);
            let old = old.map(|old| self.kept_checkpoint(old));
            self.write(self.kept_checkpoint(epoch), &network, None, old)?;
        }
        let training = self.training()?;
        self.write(self.checkpoint.clone(), &network, Some(&training), None)?;
        let at = if ended { (epoch, 0) } else { (epoch - 1, self.state.batch) };
        self.state.saved = Some(at);
        Ok(())
    }

    /// Writes the network of the best evaluation.
    pub(super) fn save_best(&self, network: &Backbone) -> Result<(), TrainError> {
        self.write(self.best_checkpoint(), network, None, None)
    }

    fn kept_checkpoint(&self, epoch: usize) -> PathBuf {
        self.checkpoint.with_file_name(format!("epoch-{epoch:04}.safetensors"))
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
        let sum = parameter_sum(network);
        if sum.is_finite() {
            return Ok(());
        }
        let step = self.state.batch.saturating_sub(1);
        Err(self.diverged((step, "a weight of the network".to_owned(), sum)))
    }

    fn training(&self) -> Result<Training, TrainError> {
        let state = &self.state;
        let mut tensors = BTreeMap::new();
        let mut put = |prefix: String, part: BTreeMap<String, TensorData>| {
            tensors.extend(part.into_iter().map(|(name, x)| (format!("{prefix}{name}"), x)));
        };
        put("optimizer.".to_owned(), state.optimizer.state());
        for (i, term) in state.terms.iter().enumerate() {
            put(format!("loss.{i}."), term.optimizer.state());
        }
        if state.average.is_some() {
            // The checkpoint's own weights are the average then.
            put("weights.".to_owned(), checkpoint::state_dict(&state.target.valid())?);
        }
        let best = state.best;
        let progress = Progress {
            epoch: state.epoch,
            batch: state.batch,
            step: state.step,
            batches_per_epoch: self.batches_per_epoch(),
            skipped: state.skipped,
            best: best.map(|Best { epoch, recall, since }| BestSoFar {
                epoch,
                recall: Exact(recall),
                since,
            }),
            losses: (state.terms.iter().map(|t| &t.session))
                .map(|s| LossProgress { step: s.step_number(), ready: s.is_ready() })
                .collect(),
            log: state.log.state(),
        };
        let progress = serde_json::to_value(progress);
        let progress = progress.map_err(|e| self.unfit(format!("it can't be written: {e}")))?;
        Ok(Training { progress, tensors })
    }

    /// Goes on where a checkpoint of the same training was written: [`run`](Self::run) then does the
    /// next step, or the evaluation at the end of the epoch.
    pub fn resume(&mut self, checkpoint: Checkpoint) -> Result<(), TrainError> {
        self.steps = self.sampler()?.batches_per_epoch() * self.recipe.epochs;
        let Checkpoint { backbone, network, losses, training, .. } = checkpoint;
        let Some(Training { progress, mut tensors }) = training else {
            return Err(
                self.unfit("it holds a network only, and no state of a training".to_owned())
            );
        };
        let progress: Progress = serde_json::from_value(progress)
            .map_err(|e| self.unfit(format!("its state is damaged, or of another retort: {e}")))?;
        if network != self.network {
            return Err(self.unfit(format!("its network is {network:?}, not {:?}", self.network)));
        }
        let (was, is) = (progress.batches_per_epoch, self.batches_per_epoch());
        if was != is {
            return Err(self.unfit(format!(
                "an epoch had {was} batches, and has {is} now: the data or the batch's size has changed"
            )));
        }
        let terms = self.state.terms.len();
        if progress.losses.len() != terms {
            let had = progress.losses.len();
            return Err(self.unfit(format!("the training had {had} losses, and has {terms} now")));
        }

        let mut take = |prefix: &str| -> BTreeMap<String, TensorData> {
            let found: Vec<String> =
                tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
            let part =
                |name: String| Some((name[prefix.len()..].to_owned(), tensors.remove(&name)?));
            found.into_iter().filter_map(part).collect()
        };
        let (memory, weights) = (take("optimizer."), take("weights."));
        let of_losses: Vec<_> = (0..terms).map(|i| take(&format!("loss.{i}."))).collect();

        let backbone = backbone.cast(self.recipe.precision.dtype());
        match &mut self.state.average {
            Some(average) => {
                average.set_network(&backbone);
                let loaded = checkpoint::load_state_dict(&mut self.state.target, &weights);
                loaded.map_err(|why| {
                    self.unfit(format!("the weights beside their average: {why}"))
                })?;
            }
            None => self.state.target = backbone,
        }
        let loaded = self.state.optimizer.load_state(memory, &self.device);
        loaded.map_err(|why| self.unfit(why))?;
        let mut losses = losses.into_iter();
        for (i, (memory, kept)) in of_losses.into_iter().zip(&progress.losses).enumerate() {
            let term = &mut self.state.terms[i];
            let loaded = term.optimizer.load_state(memory, &self.device);
            let state = losses.next().unwrap_or_default();
            let resumed = term.session.resume(state, kept.step, kept.ready);
            loaded.map_err(|why| self.unfit(why))?;
            resumed.map_err(|e| self.unfit(e.to_string()))?;
        }
        let state = &mut self.state;
        (state.epoch, state.batch, state.step) = (progress.epoch, progress.batch, progress.step);
        state.skipped = progress.skipped;
        state.best =
            progress.best.map(|b| Best { epoch: b.epoch, recall: b.recall.0, since: b.since });
        state.log.load_state(progress.log);
        let ended = state.batch == is;
        state.saved = Some(if ended { (state.epoch + 1, 0) } else { (state.epoch, state.batch) });
        Ok(())
    }

    fn unfit(&self, why: String) -> TrainError {
        TrainError::Resume { path: self.checkpoint.clone(), why }
    }

    pub(super) fn batches_per_epoch(&self) -> usize {
        self.steps / self.recipe.epochs.max(1)
    }

    /// Whether the recipe wants a checkpoint after this step.
    pub(super) fn checkpoint_due(&self) -> bool {
        let every = self.recipe.checkpoint_steps;
        every > 0 && self.state.step.is_multiple_of(every)
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
