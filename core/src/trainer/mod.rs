//! The training loop.
//!
//! [`Trainer`] is what a training is made of and never changes; all that changes is in [`State`].
//! [`Trainer::run`] loads batches and calls [`begin_epoch`](Trainer::begin_epoch) and
//! [`step`](Trainer::step), which anybody may call with batches of their own.

mod average;
mod batch;
mod error;
mod evaluate;
mod exact;
mod log;
mod names;
mod optimizer;
mod parts;
mod probe;
mod report;
mod save;
mod step;
mod trace;
mod trainable;
mod writer;

pub use average::Average;
pub use batch::{Minibatch, Pictures, upload};
pub use error::{Kept, TrainError};
pub use evaluate::{
    Feed, checkpoint_in, embed, embed_numbered, evaluate, outputs, parameter_count,
};
use log::Bad;
pub use log::Log;
pub use optimizer::Optimizer;
pub use parts::Replica;
pub use report::{EpochReport, Observer, StepReport, Summary};
pub use save::Best;
pub use step::Step;
pub use trainable::Trainable;
use writer::Writer;

use crate::backbone::{Backbone, NetworkConfig};
use crate::loss::{LossError, Session, guarded};
use crate::recipe::Recipe;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use retort_datasets::{Batch, Dataset, Loader, SAMPLERS, Sampler, Samples, Transform};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What a training is made of.
pub struct Trainer {
    /// How the network that learns was built.
    pub network: NetworkConfig,
    /// The network that teaches.
    pub source: Option<Backbone>,
    /// The settings.
    pub recipe: Recipe,
    /// Training data.
    pub train: Arc<dyn Dataset>,
    /// Its augmentation.
    pub augmentation: Arc<dyn Transform>,
    /// Data of the evaluations during the training.
    pub test: Arc<dyn Dataset>,
    /// The K of Recall@K.
    pub ks: Vec<usize>,
    /// Width and height of the pictures.
    pub image_size: usize,
    /// Seed of batches and augmentation.
    pub seed: u64,
    /// An autodiff device.
    pub device: Device,
    /// Further devices that share each batch's work.
    pub replicas: Vec<Replica>,
    /// Where checkpoints go.
    pub checkpoint: PathBuf,
    /// Steps in all, for losses that ask how far the training is; [`run`](Self::run) counts them.
    pub steps: usize,
    /// All that changes.
    pub state: State,
}

/// All that changes in a training.
pub struct State {
    /// The network that learns, on an autodiff device.
    pub target: Backbone,
    /// Its average, if the recipe wants one.
    pub average: Option<Average>,
    /// The network's optimiser.
    pub optimizer: Optimizer,
    /// The losses, each with its parameters' optimiser.
    pub terms: Vec<Term>,
    /// Epochs done.
    pub epoch: usize,
    /// Batches done in this epoch.
    pub batch: usize,
    /// Steps done, over all epochs.
    pub step: usize,
    /// Times that a loss was left out of a step because it isn't defined on its batch.
    pub skipped: usize,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Losses since the last log point, and their sum over the epoch.
    pub log: Log,
    /// Where the last checkpoint was taken.
    saved: Option<(usize, usize)>,
    /// Checkpoints on their way to the disk.
    writer: Writer,
    /// Class of every training sample, for the losses that draw others.
    sample_labels: OnceLock<Arc<[i64]>>,
}

/// One loss of a training.
#[derive(Debug)]
pub struct Term {
    /// Its name in reports.
    pub name: String,
    /// Its factor in the sum.
    pub weight: f64,
    /// Factor of the learning rate for its parameters.
    pub lr_factor: f64,
    /// The loss.
    pub session: Session,
    /// Its parameters' optimiser.
    pub optimizer: Optimizer,
}

impl State {
    /// A training before its first step. The message names what the recipe has and isn't there.
    pub fn new(target: Backbone, terms: Vec<Term>, recipe: &Recipe) -> Result<Self, String> {
        let average = (recipe.ema_decay > 0.0).then(|| Average::new(recipe.ema_decay, &target));
        Ok(State {
            target,
            average,
            optimizer: Optimizer::new(recipe)?,
            terms,
            epoch: 0,
            batch: 0,
            step: 0,
            skipped: 0,
            best: None,
            log: Log::new(),
            saved: None,
            writer: Writer::default(),
            sample_labels: OnceLock::new(),
        })
    }
}

impl Trainer {
    /// Trains to the end, or until `stop` is set; then the step is finished and saved.
    pub fn run(
        mut self,
        observer: &mut dyn Observer,
        stop: &'static AtomicBool,
    ) -> Result<Summary, TrainError> {
        let summary = self.epochs(observer, stop);
        let written = self.state.writer.finish();
        let summary = summary?;
        written.map(|()| summary)
    }

    fn epochs(
        &mut self,
        observer: &mut dyn Observer,
        stop: &'static AtomicBool,
    ) -> Result<Summary, TrainError> {
        self.recipe.check().map_err(TrainError::Setup)?;
        if self.state.terms.is_empty() {
            return Err(TrainError::Setup("a training needs a loss".to_owned()));
        }
        for net in self.source.iter().chain([&self.state.target]) {
            let checked = net.check([self.image_size; 2]);
            checked.map_err(|e| TrainError::Setup(e.to_string()))?;
        }
        let sampler = self.sampler()?;
        let per_epoch = sampler.batches_per_epoch();
        self.steps = per_epoch.saturating_mul(self.recipe.epochs);
        self.state.terms.iter_mut().for_each(|term| term.session.stop_on(stop));
        let start = Instant::now();
        let mut idle = false; // said once
        let mut last = EpochReport { epoch: 0, step: 0, loss: f64::NAN, recall: None };
        let loader = self.loader();
        for batch in loader.epoch(0, sampler.epoch(0).into_iter().take(1).collect()) {
            self.probe(&self.upload(batch?))?.iter().for_each(|text| observer.remark(text));
        }

        while self.state.epoch < self.recipe.epochs {
            self.begin_epoch();
            let epoch = self.state.epoch as u64;
            let begun = self.state.batch; // more than 0 in a training that goes on
            for batch in loader.epoch(epoch, sampler.epoch(epoch)).skip(begun) {
                let batch = self.upload(batch?);
                let (i, images) = (self.state.batch, batch.labels.len());
                let before = self.recipe.detect_anomaly.then(|| self.before());
                let outcome = match self.step(&batch) {
                    Err(TrainError::Loss { source, .. })
                        if matches!(*source, LossError::Stopped { .. }) =>
                    {
                        // Nothing of the step counts, and the batch norms have seen it: the run goes
                        // on from its last checkpoint.
                        let loss = self.state.log.epoch_mean();
                        return Ok(self.summary(loss, None, start, true));
                    }
                    outcome => outcome?,
                };
                if let Some(before) = before
                    && let Some(what) = self.anomaly(before, &batch, outcome.as_ref())
                {
                    let (epoch, step) = (self.state.epoch + 1, self.state.batch);
                    return Err(TrainError::Anomaly { epoch, step, what, kept: self.kept() });
                }
                if outcome.as_ref().is_some_and(|step| !step.learns) && !idle {
                    idle = true;
                    observer.remark(&format!(
                        "in the first epochs, in which only new parameters learn (train.new_only_epochs = {}), \
                         nothing that the losses see learns: they change nothing until then",
                        self.recipe.new_only_epochs
                    ));
                }
                self.state.log.add(i, images, outcome);
                let ended = self.state.batch == per_epoch;
                if ended || self.state.step.is_multiple_of(self.recipe.log_every) {
                    observer.step(&self.look()?)?;
                }
                let stopped = stop.load(Ordering::Relaxed);
                if stopped || ended || self.checkpoint_due() {
                    self.save(observer)?;
                }
                if stopped {
                    let loss = self.state.log.epoch_mean();
                    return Ok(self.summary(loss, None, start, true));
                }
            }
            let recall = self.evaluation_due().then(|| self.evaluate()).transpose()?;
            let loss = self.state.log.epoch_mean();
            last = EpochReport { epoch: self.state.epoch + 1, step: self.state.step, loss, recall };
            (self.state.epoch, self.state.batch) = (self.state.epoch + 1, 0);
            self.state.log.start_epoch();
            observer.epoch(&last)?;
            if self.out_of_patience() {
                break;
            }
        }
        let recall = match last.recall {
            None => Some(self.evaluate()?),
            some => some,
        };
        Ok(self.summary(last.loss, recall, start, false))
    }

    fn summary(
        &self,
        loss: f64,
        recall: Option<BTreeMap<usize, f64>>,
        start: Instant,
        interrupted: bool,
    ) -> Summary {
        Summary {
            steps: self.state.step,
            loss,
            recall,
            seconds: start.elapsed().as_secs_f64(),
            interrupted,
            epochs: self.state.epoch,
            skipped: self.state.skipped,
            best: self.state.best,
        }
    }

    /// Reads the losses since the last log point, which waits for the device.
    fn look(&mut self) -> Result<StepReport, TrainError> {
        let means = self.read(Log::read)?;
        Ok(StepReport {
            epoch: self.state.epoch + 1,
            step: self.state.step,
            steps: self.steps,
            loss: means.loss,
            terms: means.terms,
            values: means.values,
            lr: self.lr(),
            images_per_second: means.images_per_second,
        })
    }

    /// Reads from the device what a log or a checkpoint needs: a step that failed there fails here.
    fn read<T>(&mut self, of: impl FnOnce(&mut Log) -> Result<T, Bad>) -> Result<T, TrainError> {
        let log = &mut self.state.log;
        let read = guarded(|| of(log)).map_err(|why| self.refused(self.state.batch, why))?;
        read.map_err(|bad| self.diverged(bad))
    }

    /// The backend failed in a step of this epoch, from 1, or when its results were read.
    fn refused(&self, step: usize, why: String) -> TrainError {
        TrainError::Backend { epoch: self.state.epoch + 1, step, why, kept: self.kept() }
    }

    fn evaluation_due(&self) -> bool {
        let (epoch, every) = (self.state.epoch + 1, self.recipe.evaluate_every);
        epoch == self.recipe.epochs || (every > 0 && epoch.is_multiple_of(every))
    }

    fn sampler(&self) -> Result<Box<dyn Sampler>, TrainError> {
        let recipe = &self.recipe;
        let found = recipe.sampler.find("sampler", SAMPLERS).map_err(TrainError::Setup)?;
        let samples = Samples {
            labels: self.train.labels(),
            super_labels: self.train.super_labels(),
            batch: recipe.batch,
            images_per_class: recipe.images_per_class,
            seed: self.seed,
        };
        let (part, options) = found;
        Ok((part.make)(&options, &samples)?)
    }

    fn upload(&self, batch: Batch) -> Minibatch {
        Minibatch::new(batch, &self.device, self.recipe.precision.dtype())
    }

    fn loader(&self) -> Loader {
        Loader {
            dataset: self.train.clone(),
            transform: self.augmentation.clone(),
            views: self.recipe.views,
            channels: self.network.channels,
            seed: self.seed,
            workers: self.recipe.workers,
        }
    }

    /// The network that is evaluated and saved: the average, if there is one. `valid` takes in the
    /// batch norms' latest running statistics; the module itself is one update behind them.
    pub fn result(&self) -> Backbone {
        match &self.state.average {
            Some(average) => average.network().clone(),
            None => self.state.target.valid(),
        }
    }

    /// How evaluations see their pictures.
    fn evaluation(&self) -> Feed {
        Feed {
            channels: self.network.channels,
            batch: self.recipe.evaluation_batch,
            workers: self.recipe.workers,
        }
    }

    /// Recall@K of the network, and whether it is the best so far.
    fn evaluate(&mut self) -> Result<BTreeMap<usize, f64>, TrainError> {
        let network = self.result();
        let recall = evaluate(&network, &self.test, &self.evaluation(), &self.ks, &self.device)?;
        self.save_if_best(&network, &recall)?;
        Ok(recall)
    }

    fn diverged(&self, (step, what, value): Bad) -> TrainError {
        let epoch = self.state.epoch + 1;
        TrainError::Diverged { epoch, step: step + 1, what, value, kept: self.kept() }
    }

    fn kept(&self) -> Kept {
        let landed = self.state.writer.finish().is_ok();
        Kept(self.state.saved.filter(|_| landed).map(|at| (self.checkpoint.clone(), at)))
    }
}

/// The type of a network's numbers.
pub(crate) fn dtype_of(net: &Backbone) -> FloatDType {
    struct First(Option<FloatDType>);
    impl ModuleVisitor for First {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.get_or_insert(param.val().dtype().into());
        }
    }
    let mut first = First(None);
    net.visit(&mut first);
    first.0.unwrap_or(FloatDType::F32)
}
