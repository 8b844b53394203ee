//! The training loop.

use crate::backbone::{Backbone, NetworkConfig, Output};
use crate::checkpoint::{self, CheckpointError};
use crate::error::LossError;
use crate::metric::{Embeddings, RecallError, recall_at};
use crate::recipe::{OnUndefined, Recipe};
use crate::session::{Feature, Inputs, Session};
use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_datasets::{
    BalancedSampler, Batch, DataError, Dataset, Identity, Loader, RandomSampler, Sampler,
    Transform, evaluation_batches,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Why a training ended early. The last checkpoint stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe, a network or a data set is misconfigured.
    #[error("{0}")]
    Setup(String),
    /// A loss can't run on this training's batches.
    #[error("at set-up: {0}")]
    Probe(Box<LossError>),
    /// A picture could not be had, or the data doesn't fit the recipe.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A loss failed.
    #[error("epoch {epoch}, step {step}: {source}{kept}")]
    Loss {
        /// Epoch, from 1.
        epoch: usize,
        /// Step in the epoch, from 1.
        step: usize,
        /// Why.
        source: Box<LossError>,
        /// Where the last good checkpoint is.
        kept: Kept,
    },
    /// A value is NaN or infinite.
    #[error(
        "epoch {epoch}, step {step}: {what} is {value}; the training has diverged: try a smaller learning rate{kept}"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Step in the epoch, from 1.
        step: usize,
        /// What isn't finite.
        what: String,
        /// Its value.
        value: f64,
        /// Where the last good checkpoint is.
        kept: Kept,
    },
    /// The checkpoint could not be written.
    #[error(transparent)]
    Checkpoint(Box<CheckpointError>),
    /// The embeddings can't be evaluated.
    #[error(transparent)]
    Recall(#[from] RecallError),
    /// The run folder could not be written.
    #[error(transparent)]
    Write(#[from] crate::fs::WriteError),
}

impl From<CheckpointError> for TrainError {
    fn from(e: CheckpointError) -> Self {
        TrainError::Checkpoint(Box::new(e))
    }
}

/// The last good checkpoint, for messages.
#[derive(Debug)]
pub struct Kept(Option<(PathBuf, usize)>);

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some((path, epoch)) => {
                write!(f, ". {} holds the network after epoch {epoch}", path.display())
            }
            None => f.write_str(". There is no checkpoint of this run yet"),
        }
    }
}

/// One loss of a training.
#[derive(Debug)]
pub struct Term {
    /// Its name in reports.
    pub name: String,
    /// Its factor in the sum.
    pub weight: f64,
    /// The loss.
    pub session: Session,
}

/// What a training is made of.
pub struct Trainer {
    /// The network that learns, on an autodiff device.
    pub target: Backbone,
    /// How it was built.
    pub network: NetworkConfig,
    /// The network that teaches.
    pub source: Option<Backbone>,
    /// The losses.
    pub terms: Vec<Term>,
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
    /// Where checkpoints go.
    pub checkpoint: PathBuf,
    /// Times that a loss was left out of a step because it isn't defined on its batch; starts at 0.
    pub skipped: usize,
}

/// What is known at a log point.
#[derive(Clone, Debug)]
pub struct StepReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Steps done, over all epochs.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Weighted sum of the losses, mean since the last log point.
    pub loss: f64,
    /// Each loss and what it reports, at this step.
    pub terms: BTreeMap<String, f64>,
    /// Learning rate.
    pub lr: f64,
    /// Images per second since the last log point.
    pub images_per_second: f64,
}

/// What is known at the end of an epoch.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean loss of the epoch.
    pub loss: f64,
    /// Recall@K, if the epoch was evaluated.
    pub recall: Option<BTreeMap<usize, f64>>,
}

/// How a training ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Steps done.
    pub steps: usize,
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// Recall@K of the last checkpoint; none if the training was interrupted.
    pub recall: Option<BTreeMap<usize, f64>>,
    /// Seconds in all.
    pub seconds: f64,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
    /// Times that a loss was left out of a step (`on_undefined = "skip"`).
    pub skipped: usize,
}

/// Sees a training go by.
pub trait Observer {
    /// Called at every log point.
    fn step(&mut self, report: &StepReport) -> Result<(), TrainError>;
    /// Called after every epoch, when its checkpoint is on disk.
    fn epoch(&mut self, report: &EpochReport) -> Result<(), TrainError>;
}

impl Trainer {
    /// Trains to the end, or until `stop` is set; then the step is finished and saved.
    pub fn run(
        mut self,
        observer: &mut dyn Observer,
        stop: &AtomicBool,
    ) -> Result<Summary, TrainError> {
        self.recipe.check().map_err(TrainError::Setup)?;
        if self.terms.is_empty() {
            return Err(TrainError::Setup("a training needs a loss".to_owned()));
        }
        for net in self.source.iter().chain([&self.target]) {
            let checked = net.check([self.image_size; 2]);
            checked.map_err(|e| TrainError::Setup(e.to_string()))?;
        }
        let sampler = self.sampler()?;
        let per_epoch = sampler.batches_per_epoch();
        let steps = per_epoch * self.recipe.epochs;
        let mut optimizers = Optimizers::new(&self.recipe, self.terms.len());
        let start = Instant::now();
        let mut log = Log::new();
        let (mut done, mut last) = (0, EpochReport { epoch: 0, loss: f64::NAN, recall: None });
        self.probe(&sampler.epoch(0))?;

        for epoch in 0..self.recipe.epochs {
            let lr = self.recipe.lr_in(epoch);
            log.start_epoch();
            for (i, batch) in self.load(sampler.epoch(epoch as u64), epoch as u64).enumerate() {
                let batch = batch?;
                let at = (epoch, i);
                let progress = done as f64 / steps as f64;
                let outcome = self.step(&batch, at, progress, lr, &mut optimizers)?;
                done += 1;
                log.add(i, batch.labels.len(), outcome);
                let stopped = stop.load(Ordering::Relaxed);
                if done % self.recipe.log_every == 0 || i + 1 == per_epoch || stopped {
                    let (loss, terms, rate) =
                        log.read().map_err(|bad| self.diverged(epoch, bad))?;
                    observer.step(&StepReport {
                        epoch: epoch + 1,
                        step: done,
                        steps,
                        loss,
                        terms,
                        lr,
                        images_per_second: rate,
                    })?;
                }
                if stopped {
                    self.save(epoch, i, done)?;
                    return Ok(Summary {
                        steps: done,
                        loss: log.epoch_mean(),
                        recall: None,
                        seconds: start.elapsed().as_secs_f64(),
                        interrupted: true,
                        skipped: self.skipped,
                    });
                }
            }
            self.save(epoch, per_epoch - 1, done)?;
            let every = self.recipe.evaluate_every;
            let due = epoch + 1 == self.recipe.epochs || (every > 0 && (epoch + 1) % every == 0);
            let recall = due.then(|| self.evaluate()).transpose()?;
            last = EpochReport { epoch: epoch + 1, loss: log.epoch_mean(), recall };
            observer.epoch(&last)?;
        }
        Ok(Summary {
            steps: done,
            loss: last.loss,
            recall: last.recall,
            seconds: start.elapsed().as_secs_f64(),
            interrupted: false,
            skipped: self.skipped,
        })
    }

    /// One step: forward, losses, one backward pass, one update of everything that learns.
    fn step(
        &mut self,
        batch: &Batch,
        (epoch, step): (usize, usize),
        progress: f64,
        lr: f64,
        optimizers: &mut Optimizers,
    ) -> Result<Option<Step>, TrainError> {
        let images = upload(batch, &self.device);
        let source = self.source.as_ref().map(|net| teach(net, images.clone()));
        let target = self.target.forward(images);
        let inputs = self.inputs(batch, target, source, epoch, progress);

        let (mut total, mut reported) = (None, Vec::new());
        for i in 0..self.terms.len() {
            let term = &mut self.terms[i];
            let outcome = match term.session.step(&inputs) {
                Ok(outcome) => outcome,
                Err(LossError::Undefined { .. })
                    if self.recipe.on_undefined == OnUndefined::Skip =>
                {
                    self.skipped += 1;
                    continue;
                }
                Err(source) => {
                    self.terms.iter_mut().for_each(|t| t.session.discard());
                    let kept = self.kept(epoch);
                    let source = Box::new(source);
                    return Err(TrainError::Loss {
                        epoch: epoch + 1,
                        step: step + 1,
                        source,
                        kept,
                    });
                }
            };
            let term = &self.terms[i];
            reported.push((term.name.clone(), outcome.value.clone().detach()));
            let inner = outcome.terms.into_iter();
            reported.extend(inner.map(|(name, x)| (format!("{}.{name}", term.name), x)));
            let value = outcome.value * term.weight;
            total = Some(match total {
                None => value,
                Some(sum) => sum + value,
            });
        }
        drop(inputs);
        let Some(total) = total else {
            self.terms.iter_mut().for_each(|term| term.session.commit());
            return Ok(None);
        };

        let mut gradients = total.backward();
        let of_network = GradientsParams::from_module(&mut gradients, &self.target);
        self.target = optimizers.network.step(lr, self.target.clone(), of_network);
        for (term, optimizer) in self.terms.iter_mut().zip(&mut optimizers.losses) {
            let of_loss = GradientsParams::from_module(&mut gradients, term.session.parameters());
            let lr = lr * self.recipe.loss_lr_factor;
            term.session.update(|parameters| optimizer.step(lr, parameters, of_loss));
            term.session.commit();
        }
        Ok(Some((total.detach(), reported)))
    }

    fn inputs(
        &self,
        batch: &Batch,
        target: Output,
        source: Option<Output>,
        epoch: usize,
        progress: f64,
    ) -> Inputs {
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
            sample_labels: self.train.labels().iter().map(|&label| label as i64).collect(),
            views: batch.views,
            epoch,
            progress,
            ..Inputs::new(target.embedding)
        }
    }

    /// Lets every loss ask for its parameters once, on the first batch, before anything is trained.
    fn probe(&mut self, batches: &[Vec<usize>]) -> Result<(), TrainError> {
        let first = batches.iter().take(1).cloned().collect();
        for batch in self.load(first, 0) {
            let batch = batch?;
            let images = upload(&batch, &self.device);
            let source = self.source.as_ref().map(|net| teach(net, images.clone()));
            let target = teach(&self.target, images);
            let inputs = self.inputs(&batch, target, source, 0, 0.0);
            for term in &mut self.terms {
                match term.session.probe(&inputs) {
                    Err(LossError::Undefined { .. })
                        if self.recipe.on_undefined == OnUndefined::Skip => {}
                    probed => probed.map_err(|e| TrainError::Probe(Box::new(e)))?,
                }
            }
        }
        Ok(())
    }

    fn sampler(&self) -> Result<Box<dyn Sampler>, DataError> {
        let (labels, recipe) = (self.train.labels(), &self.recipe);
        Ok(match recipe.images_per_class {
            0 => Box::new(RandomSampler::new(labels.len(), recipe.batch, self.seed)?),
            ipc => Box::new(BalancedSampler::new(labels, recipe.batch, ipc, self.seed)?),
        })
    }

    fn load(&self, batches: Vec<Vec<usize>>, epoch: u64) -> Loader {
        Loader::new(
            self.train.clone(),
            self.augmentation.clone(),
            batches,
            self.recipe.views,
            self.recipe.workers,
            self.seed,
            epoch,
            self.network.channels,
        )
    }

    fn evaluate(&self) -> Result<BTreeMap<usize, f64>, TrainError> {
        evaluate(&self.target, &self.test, self.network.channels, &self.ks, &self.device)
    }

    /// Writes a checkpoint, if the network is still sound.
    fn save(&self, epoch: usize, step: usize, done: usize) -> Result<(), TrainError> {
        // `valid` takes in the batch norms' latest running statistics; the module itself is one
        // update behind them.
        let target = self.target.valid();
        let mut sum = ParameterSum { sum: None };
        target.visit(&mut sum);
        let sum = sum.sum.map_or(0.0, |s| s.into_scalar::<f64>());
        if !sum.is_finite() {
            return Err(self.diverged(epoch, (step, "a weight of the network".to_owned(), sum)));
        }
        let states: Vec<_> = self.terms.iter().map(|t| t.session.state()).collect();
        let notes = BTreeMap::from([
            ("epoch".to_owned(), (epoch + 1).to_string()),
            ("step".to_owned(), done.to_string()),
            ("seed".to_owned(), self.seed.to_string()),
        ]);
        checkpoint::save(
            &self.checkpoint,
            &target,
            &self.network,
            self.image_size,
            &states,
            &notes,
        )?;
        Ok(())
    }

    fn diverged(&self, epoch: usize, (step, what, value): (usize, String, f64)) -> TrainError {
        TrainError::Diverged {
            epoch: epoch + 1,
            step: step + 1,
            what,
            value,
            kept: self.kept(epoch),
        }
    }

    fn kept(&self, epoch: usize) -> Kept {
        Kept((epoch > 0 && self.checkpoint.is_file()).then(|| (self.checkpoint.clone(), epoch)))
    }
}

/// `AdamW` for the network and one for each loss's parameters.
struct Optimizers {
    network: ModuleOptimizer,
    losses: Vec<ModuleOptimizer>,
}

impl Optimizers {
    fn new(recipe: &Recipe, losses: usize) -> Self {
        let clip = recipe.clip_value > 0.0;
        let clip = clip.then_some(GradientClippingConfig::Value(recipe.clip_value as f32));
        let config = AdamWConfig::new()
            .with_epsilon(1e-8)
            .with_weight_decay(recipe.weight_decay as f32)
            .with_grad_clipping(clip);
        let losses = (0..losses).map(|_| config.init()).collect();
        Optimizers { network: config.init(), losses }
    }
}

/// A step's weighted loss, and what each loss reported; none if no loss was defined on its batch.
type Step = (Tensor<1>, Vec<(String, Tensor<1>)>);

/// Losses on the device, between two log points.
struct Log {
    pending: Vec<(usize, Tensor<1>)>,
    terms: Vec<(String, Tensor<1>)>,
    images: usize,
    since: Instant,
    sum: f64,
    count: usize,
}

impl Log {
    fn new() -> Self {
        let since = Instant::now();
        Log { pending: Vec::new(), terms: Vec::new(), images: 0, since, sum: 0.0, count: 0 }
    }

    fn start_epoch(&mut self) {
        (self.sum, self.count) = (0.0, 0);
    }

    fn add(&mut self, step: usize, images: usize, outcome: Option<Step>) {
        if let Some((loss, terms)) = outcome {
            self.pending.push((step, loss));
            self.terms = terms;
        }
        self.images += images;
    }

    /// Mean loss, terms and images per second since the last call; or the first step whose loss
    /// isn't finite.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn read(&mut self) -> Result<(f64, BTreeMap<String, f64>, f64), (usize, String, f64)> {
        let terms: BTreeMap<String, f64> = std::mem::take(&mut self.terms)
            .into_iter()
            .map(|(name, x)| (name, x.into_scalar::<f64>()))
            .collect();
        let (mut sum, count) = (0.0, self.pending.len());
        for (step, loss) in self.pending.drain(..) {
            let loss = loss.into_scalar::<f64>();
            if !loss.is_finite() {
                let bad = terms.iter().find(|(_, v)| !v.is_finite());
                let what =
                    bad.map_or("the loss".to_owned(), |(name, _)| format!("the loss {name}"));
                return Err((step, what, loss));
            }
            sum += loss;
        }
        self.sum += sum;
        self.count += count;
        let rate = self.images as f64 / self.since.elapsed().as_secs_f64().max(1e-9);
        (self.images, self.since) = (0, Instant::now());
        let mean = if count == 0 { f64::NAN } else { sum / count as f64 };
        Ok((mean, terms, rate))
    }

    fn epoch_mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }
}

/// Sum of all floats of a module: not finite if one of them isn't.
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

/// A batch's pictures on the device, values 0 to 255.
fn upload(batch: &Batch, device: &Device) -> Tensor<4> {
    let pixels: Vec<f32> = batch.images.iter().map(|&p| f32::from(p)).collect();
    Tensor::from_data(TensorData::new(pixels, batch.shape), device)
}

/// A network's output in evaluation mode, as constants on the autodiff device.
fn teach(net: &Backbone, images: Tensor<4>) -> Output {
    let output = net.valid().forward(images.inner());
    Output {
        embedding: Tensor::from_inner(output.embedding),
        features: output
            .features
            .into_iter()
            .map(|feature| match feature {
                Feature::Map(map) => Feature::Map(Tensor::from_inner(map)),
                Feature::Vector(vector) => Feature::Vector(Tensor::from_inner(vector)),
            })
            .collect(),
    }
}

/// A network's outputs for a whole data set in order, in evaluation mode, in batches of `batch`, computed
/// in the network's own element type.
pub fn outputs<'a>(
    net: &'a Backbone,
    data: &Arc<dyn Dataset>,
    channels: usize,
    batch: usize,
    dtype: FloatDType,
    device: &'a Device,
) -> impl Iterator<Item = Result<(Batch, Output), TrainError>> + 'a {
    let batches = evaluation_batches(data.len(), batch);
    let loader = Loader::new(data.clone(), Arc::new(Identity), batches, 1, 1, 0, 0, channels);
    loader.map(move |batch| {
        let batch = batch?;
        let [_, _, height, width] = batch.shape;
        net.check([height, width]).map_err(|e| TrainError::Setup(e.to_string()))?;
        let output = net.forward(upload(&batch, device).cast(dtype));
        Ok((batch, output))
    })
}

/// Embeds a data set in evaluation mode.
pub fn embed(
    net: &Backbone,
    data: &Arc<dyn Dataset>,
    channels: usize,
    device: &Device,
) -> Result<Embeddings, TrainError> {
    let (net, device) = (net.valid(), device.clone().inner());
    let (mut rows, mut labels, mut dim) = (Vec::new(), Vec::new(), 0);
    for done in outputs(&net, data, channels, 64, FloatDType::F32, &device) {
        let (batch, Output { embedding, .. }) = done?;
        dim = embedding.dims()[1];
        rows.extend(embedding.into_data().iter::<f32>());
        labels.extend_from_slice(&batch.labels);
    }
    Ok(Embeddings { rows, dim, labels })
}

/// Recall@K of a network on a data set.
pub fn evaluate(
    net: &Backbone,
    data: &Arc<dyn Dataset>,
    channels: usize,
    ks: &[usize],
    device: &Device,
) -> Result<BTreeMap<usize, f64>, TrainError> {
    let embeddings = embed(net, data, channels, device)?;
    let recall = recall_at(&embeddings, ks)?;
    Ok(ks.iter().copied().zip(recall).collect())
}

/// Scalars of a network that are trained: weights and biases, not running statistics.
pub fn parameter_count(net: &Backbone) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().is_require_grad() {
                self.0 += param.val().dims().iter().product::<usize>();
            }
        }
    }
    let mut count = Count(0);
    net.visit(&mut count);
    count.0
}

/// The path of a run's checkpoint, or the checkpoint itself.
pub fn checkpoint_in(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("checkpoint.safetensors") } else { path.to_owned() }
}
