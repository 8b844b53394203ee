//! Flags that set a training's recipe. The relaxed losses' authors' names for them work as well.

use crate::experiment::Experiment;
use crate::failure::{Failure, Result};
use crate::reference::{self, Preset};
use crate::{clean, output};
use clap::builder::BoolishValueParser;
use clap::{Arg, Args, ValueEnum};
use retort_core::{Method, Schedule};
use serde_json::json;
use std::path::PathBuf;

/// The flags. Switches take 1 and 0, true and false.
#[derive(Args, Debug)]
#[command(next_help_heading = "Recipe")]
pub struct Recipe {
    /// What is taken where nothing else is said [default: paper for cub, cars and sop, else small].
    #[arg(long, conflicts_with = "file")]
    pub preset: Option<Preset>,
    /// The network.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Whether embeddings have unit length.
    #[arg(long, visible_alias = "target-norm", value_name = "SWITCH",
        value_parser = BoolishValueParser::new())]
    pub l2_norm: Option<bool>,
    /// Whether batch norms keep their statistics, scales and shifts.
    #[arg(long, visible_alias = "frozen-batch-norm", value_name = "SWITCH",
        value_parser = BoolishValueParser::new())]
    pub bn_freeze: Option<bool>,
    /// First epochs in which only the embedding layer and the losses' parameters learn.
    #[arg(long, visible_alias = "new-only-epochs", value_name = "N")]
    pub warm: Option<usize>,
    /// Let frozen batch norms' scales and shifts learn after these epochs, as the authors' code does.
    #[arg(long)]
    pub thaw_batch_norm: bool,
    /// How parameters are updated.
    #[arg(long, value_enum)]
    pub optimizer: Option<Optimizer>,
    /// ε beside the root in AdamW, Adam and RMSprop.
    #[arg(long)]
    pub epsilon: Option<f64>,
    /// Weight decay.
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// How the learning rate falls.
    #[arg(long, value_enum)]
    pub schedule: Option<Falling>,
    /// Epochs between two falls of the learning rate; sets the schedule step.
    #[arg(long, value_name = "N")]
    pub lr_decay_step: Option<usize>,
    /// Factor of the learning rate at each fall; sets the schedule step.
    #[arg(long, value_name = "GAMMA")]
    pub lr_decay_gamma: Option<f64>,
    /// Factor of the learning rate for the losses' parameters.
    #[arg(long, value_name = "FACTOR")]
    pub loss_lr_factor: Option<f64>,
    /// Factor of the learning rate for the embedding layer.
    #[arg(long, value_name = "FACTOR")]
    pub embedding_lr_factor: Option<f64>,
    /// Clamp gradients to plus and minus this.
    #[arg(long)]
    pub clip_value: Option<f64>,
    /// Evaluate and save an average of the weights that keeps this share at each step.
    #[arg(long, value_name = "SHARE")]
    pub ema_decay: Option<f64>,
    /// End after this many evaluations without a better Recall; evaluates every epoch, if nothing else
    /// is set.
    #[arg(long, value_name = "N")]
    pub patience: Option<usize>,
    /// Parts that a batch goes through the networks in, for batches that memory can't hold; the losses
    /// see all of it.
    #[arg(long, value_name = "N")]
    pub chunks: Option<usize>,
    /// Threads that load pictures.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// σ of the relaxed losses.
    #[arg(long)]
    pub sigma: Option<f64>,
    /// δ of the relaxed losses.
    #[arg(long)]
    pub delta: Option<f64>,
    /// α of Proxy-Anchor.
    #[arg(long)]
    pub alpha: Option<f64>,
    /// Margin of Proxy-Anchor.
    #[arg(long, visible_alias = "mrg")]
    pub margin: Option<f64>,
    /// The GPU with this number, -1 for all of them; without a GPU, what --device says.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub gpu_id: Option<i64>,
    /// Further devices that share each batch's work.
    #[arg(long, value_name = "DEVICE", value_delimiter = ',')]
    pub also_on: Vec<String>,
    /// Folder in which the run's folder is made [default: runs].
    #[arg(long, visible_alias = "LOG_DIR", value_name = "DIR", conflicts_with = "out")]
    pub runs: Option<PathBuf>,
    /// Added to the name of the run's folder.
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "out")]
    pub remark: String,
    /// Whether to save the network: a run always does; taken for the authors' command lines.
    #[arg(long, value_name = "SWITCH", value_parser = BoolishValueParser::new())]
    pub save: Option<bool>,
    /// Print what would be trained, as an experiment file (or JSON with --json), and end.
    #[arg(long, visible_alias = "dry-run")]
    pub print_config: bool,
}

/// [`Method`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Optimizer {
    #[value(name = "adamw")]
    AdamW,
    Adam,
    Sgd,
    #[value(name = "rmsprop")]
    RmsProp,
}

/// [`Schedule`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Falling {
    Cosine,
    Step,
    Constant,
}

impl Recipe {
    /// Puts the flags that were given into an experiment.
    pub fn apply(&self, experiment: &mut Experiment) {
        put(&mut experiment.network.name, self.model.as_ref());
        put(&mut experiment.network.l2_norm, self.l2_norm.as_ref());
        put(&mut experiment.network.frozen_batch_norm, self.bn_freeze.as_ref());
        if !self.also_on.is_empty() {
            experiment.also_on.clone_from(&self.also_on);
        }
        let recipe = &mut experiment.train;
        put(&mut recipe.new_only_epochs, self.warm.as_ref());
        recipe.thaw_batch_norm |= self.thaw_batch_norm;
        put(&mut recipe.optimizer, self.optimizer.map(Method::from).as_ref());
        put(&mut recipe.epsilon, self.epsilon.as_ref());
        put(&mut recipe.weight_decay, self.weight_decay.as_ref());
        if self.lr_decay_step.is_some() || self.lr_decay_gamma.is_some() {
            recipe.schedule = Schedule::Step;
        }
        put(&mut recipe.schedule, self.schedule.map(Schedule::from).as_ref());
        put(&mut recipe.lr_decay_step, self.lr_decay_step.as_ref());
        put(&mut recipe.lr_decay_gamma, self.lr_decay_gamma.as_ref());
        put(&mut recipe.loss_lr_factor, self.loss_lr_factor.as_ref());
        put(&mut recipe.embedding_lr_factor, self.embedding_lr_factor.as_ref());
        put(&mut recipe.clip_value, self.clip_value.as_ref());
        put(&mut recipe.ema_decay, self.ema_decay.as_ref());
        if self.patience.is_some() && recipe.evaluate_every == 0 {
            recipe.evaluate_every = 1;
        }
        put(&mut recipe.patience, self.patience.as_ref());
        put(&mut recipe.chunks, self.chunks.as_ref());
        put(&mut recipe.workers, self.workers.as_ref());
    }

    /// Puts the flags that are hyperparameters into the experiment's losses. One that means nothing to
    /// any is refused, unless the losses were named as the authors do, whose scripts take it.
    pub fn apply_hyper(&self, experiment: &mut Experiment, authors: bool) -> Result<()> {
        let flags = [
            ("sigma", self.sigma),
            ("delta", self.delta),
            ("alpha", self.alpha),
            ("margin", self.margin),
        ];
        for (flag, value) in flags {
            let Some(value) = value else { continue };
            if !reference::set_hyper(&mut experiment.loss, flag, value) {
                let names = experiment.loss.iter().map(|l| l.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                let why = format!("--{flag} means nothing to {names}");
                if !authors {
                    return Err(Failure::usage(format!(
                        "{why}; a loss's own hyperparameters stand after it, as in --loss triplet \
                         --margin 0.2"
                    )));
                }
                output::say(clean::line(&why));
            }
        }
        Ok(())
    }

    /// Refuses flags that contradict each other.
    pub fn check(&self) -> Result<()> {
        let step = |falling| matches!(falling, Falling::Step);
        let [every, factor] = [self.lr_decay_step.is_some(), self.lr_decay_gamma.is_some()];
        match self.schedule {
            Some(falling) if !step(falling) && (every || factor) => {
                let flag = if every { "step" } else { "gamma" };
                Err(Failure::usage(format!(
                    "--lr-decay-{flag} means nothing with that --schedule: it is of --schedule step"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl From<Optimizer> for Method {
    fn from(value: Optimizer) -> Self {
        match value {
            Optimizer::AdamW => Method::AdamW,
            Optimizer::Adam => Method::Adam,
            Optimizer::Sgd => Method::Sgd,
            Optimizer::RmsProp => Method::RmsProp,
        }
    }
}

impl From<Falling> for Schedule {
    fn from(value: Falling) -> Self {
        match value {
            Falling::Cosine => Schedule::Cosine,
            Falling::Step => Schedule::Step,
            Falling::Constant => Schedule::Constant,
        }
    }
}

/// Says in a flag's help what holds without it: the flag has no value then, as a file may have one.
pub(super) fn with_default(arg: Arg, role: &str) -> Arg {
    let of = |preset: Preset, dataset: &str| preset.experiment(dataset, role);
    let small = default_of(arg.get_id().as_str(), &of(Preset::Small, "glyphs"));
    let paper = default_of(arg.get_id().as_str(), &of(Preset::Paper, "cub"));
    let (Some(small), Some(paper)) = (small, paper) else { return arg };
    let said = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let said = said.trim_end_matches('.');
    let of_paper = if small == paper { String::new() } else { format!("; paper: {paper}") };
    arg.help(format!("{said} [default: {small}{of_paper}]"))
}

/// What an experiment has where a flag of this name would put something else.
fn default_of(flag: &str, experiment: &Experiment) -> Option<String> {
    let (data, network, train) = (&experiment.data, &experiment.network, &experiment.train);
    let loss = || experiment.loss.iter().map(|loss| loss.name.as_str()).collect::<Vec<_>>();
    let name = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Some(match flag {
        "dataset" => Experiment::default().data.name,
        "losses" => match loss().as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        },
        "embedding" => network.embedding.to_string(),
        "width" => network.width.to_string(),
        "model" => network.name.clone(),
        "l2_norm" => network.l2_norm.to_string(),
        "bn_freeze" => network.frozen_batch_norm.to_string(),
        "epochs" => train.epochs.to_string(),
        "batch" => train.batch.to_string(),
        "images_per_class" => train.images_per_class.to_string(),
        "views" => train.views.to_string(),
        "lr" => format!("{:e}", train.lr),
        "seed" => experiment.seed.to_string(),
        "select_on" => name(json!(experiment.select_on)),
        "cache" => data.cache.clone().unwrap_or_else(|| "none".to_owned()),
        "warm" => train.new_only_epochs.to_string(),
        "optimizer" => name(json!(train.optimizer)),
        "epsilon" => format!("{:e}", train.epsilon),
        "weight_decay" => format!("{:e}", train.weight_decay),
        "schedule" => name(json!(train.schedule)),
        "lr_decay_step" => train.lr_decay_step.to_string(),
        "lr_decay_gamma" => train.lr_decay_gamma.to_string(),
        "loss_lr_factor" => train.loss_lr_factor.to_string(),
        "embedding_lr_factor" => train.embedding_lr_factor.to_string(),
        "clip_value" if train.clip_value == 0.0 => "none".to_owned(),
        "clip_value" => train.clip_value.to_string(),
        "ema_decay" if train.ema_decay == 0.0 => "none".to_owned(),
        "patience" if train.patience == 0 => "none".to_owned(),
        "chunks" => train.chunks.to_string(),
        "workers" => train.workers.to_string(),
        _ => return None,
    })
}

/// What the command line says goes before what the file says.
pub(super) fn put<T: Clone>(place: &mut T, value: Option<&T>) {
    if let Some(value) = value {
        place.clone_from(value);
    }
}

/// The same for what the file may leave open.
pub(super) fn put_some<T: Clone>(place: &mut Option<T>, value: Option<&T>) {
    if value.is_some() {
        *place = value.cloned();
    }
}

/// The same for lists.
pub(super) fn put_all<T: Clone>(place: &mut Vec<T>, values: &[T]) {
    if !values.is_empty() {
        *place = values.to_vec();
    }
}
