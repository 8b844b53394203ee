//! The last checkpoint, from which a training goes on: all of its state, bit for bit.

use super::super::exact::Exact;
use super::super::log::Losses;
use super::super::{TrainError, Trainer};
use super::Best;
use crate::checkpoint::{self, Checkpoint, Training};
use burn::module::Module as _;
use burn::tensor::TensorData;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All of [`State`](crate::trainer::State) that isn't in a tensor. Batches and random draws are functions of seed, epoch and
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
    /// What the training needs to go on, as it is now.
    pub(super) fn training(&self) -> Result<Training, TrainError> {
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

    pub(in crate::trainer) fn batches_per_epoch(&self) -> usize {
        self.steps / self.recipe.epochs.max(1)
    }

    /// Whether the recipe wants one after this step.
    pub(in crate::trainer) fn checkpoint_due(&self) -> bool {
        let every = self.recipe.checkpoint_steps;
        every > 0 && self.state.step.is_multiple_of(every)
    }
}
