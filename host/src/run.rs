//! A training with its folder: resolved configuration, plugins, metrics, checkpoint, summary.

use crate::experiment::Experiment;
use crate::failure::{Failure, Result};
use crate::plugin::registry::Registry;
use crate::progress::Progress;
use retort_core::backbone::Backbone;
use retort_core::checkpoint;
use retort_core::device::DeviceInfo;
use retort_core::fs::{WriteError, atomic_write};
use retort_core::trainer::{
    EpochReport, Observer, Optimizer, Replica, State, StepReport, Summary, Term, TrainError,
    Trainer, checkpoint_in, parameter_count,
};
use retort_core::{LossError, Session, Setup};
use retort_datasets::Split;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A finished training.
#[derive(Debug)]
pub struct Finished {
    /// Its folder.
    pub folder: PathBuf,
    /// How it ended.
    pub summary: Summary,
    /// Scalars that were trained, without the losses'.
    pub parameters: usize,
    /// Names and origins of its losses.
    pub losses: Vec<(String, String)>,
}

/// Where a training runs, and what it may load.
#[derive(Debug)]
pub struct Place<'a> {
    /// Packs.
    pub registry: &'a mut Registry,
    /// The device.
    pub device: burn::tensor::Device,
    /// What it is.
    pub info: DeviceInfo,
    /// Set when the user asks to stop.
    pub stop: &'static AtomicBool,
    /// Whether to draw progress bars.
    pub quiet: bool,
}

impl From<TrainError> for Failure {
    fn from(e: TrainError) -> Self {
        match e {
            TrainError::Setup(why) => Failure::usage(why),
            // The loss asks for what this training doesn't have.
            TrainError::Probe(ref why) if matches!(**why, LossError::Step { .. }) => {
                Failure::usage(e)
            }
            TrainError::Data(e) => e.into(),
            other => Failure::new(other),
        }
    }
}

/// A new folder for a run. One that the user named must be new or empty; otherwise the name gets a
/// number until it is free.
pub fn folder(named: Option<&Path>, parent: &Path, name: &str) -> Result<PathBuf> {
    let make = |dir: &Path| {
        std::fs::create_dir_all(dir).map_err(|e| Failure::file("make the run folder", dir, e))
    };
    if let Some(dir) = named {
        make(dir)?;
        let mut entries =
            std::fs::read_dir(dir).map_err(|e| Failure::file("read the folder", dir, e))?;
        if entries.next().is_some() {
            return Err(Failure::usage(format!(
                "{} isn't empty; a run never overwrites another: name a new folder with --out",
                dir.display()
            )));
        }
        return Ok(dir.to_owned());
    }
    make(parent)?;
    for number in 1.. {
        let dir = match number {
            1 => parent.join(name),
            n => parent.join(format!("{name}-{n}")),
        };
        match std::fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Failure::file("make the run folder", &dir, e)),
        }
    }
    unreachable!("some number is free")
}

/// Trains as the experiment says, into an empty folder.
pub fn train(
    mut experiment: Experiment,
    folder: &Path,
    label: &str,
    place: &mut Place,
) -> Result<Finished> {
    let entry = experiment.data.entry()?;
    experiment.network.channels =
        if experiment.network.name == "convnet" { entry.channels } else { 3 };
    experiment.train.check().map_err(|e| Failure::usage(format!("train: {e}")))?;
    if experiment.loss.is_empty() {
        return Err(Failure::usage("a training needs a loss: --loss NAME; see `retort loss list`"));
    }

    let (mut terms, mut plugins, mut losses) = (Vec::new(), Vec::new(), Vec::new());
    for config in &mut experiment.loss {
        let found = place.registry.find(&config.name)?;
        config.hyper = found.resolve(&config.hyper)?;
        let name = found.definition.name.clone();
        let code = found.create(&config.hyper, &experiment.limits)?;
        let setup = Setup {
            device: place.device.clone(),
            dtype: experiment.train.precision.dtype(),
            seed: experiment.seed,
            limits: experiment.limits.clone(),
        };
        let session = Session::new(&name, code, setup);
        // The same loss twice, with other hyperparameters, is told apart in reports.
        let twins = terms.iter().filter(|t: &&Term| t.session.name() == name).count();
        let name = if twins == 0 { name } else { format!("{name}_{}", twins + 1) };
        plugins.push(json!({"loss": config.name, "origin": found.pack.origin.to_string(),
            "digest": found.pack.digest, "interface": found.pack.description.interface,
            "sdk": found.pack.description.sdk}));
        losses.push((name.clone(), found.pack.origin.to_string()));
        let lr_factor = config.lr_factor.unwrap_or(experiment.train.loss_lr_factor);
        let optimizer = Optimizer::new(&experiment.train);
        terms.push(Term { name, weight: config.weight, lr_factor, session, optimizer });
    }
    let source = match &experiment.source {
        None => None,
        Some(path) => {
            let loaded =
                checkpoint::load(&checkpoint_in(path), &place.device).map_err(Failure::new)?;
            check_pictures(&loaded, &experiment, path)?;
            let source = normed(loaded, experiment.source_norm, &place.device)?;
            Some(source.cast(experiment.train.precision.dtype()))
        }
    };
    let mut replicas = Vec::new();
    for name in &experiment.also_on {
        let choice = name.parse().map_err(Failure::usage)?;
        let (device, _) = retort_core::device::resolve(choice).map_err(Failure::new)?;
        replicas.push(Replica::new(device, source.as_ref()));
    }
    let target = Backbone::new(&experiment.network, experiment.seed, &place.device)
        .map_err(Failure::usage)?
        .cast(experiment.train.precision.dtype());
    let parameters = parameter_count(&target);
    write_setup(folder, &experiment, &plugins, &place.info)?;

    let trainer = Trainer {
        state: State::new(target, terms, &experiment.train),
        network: experiment.network.clone(),
        source,
        recipe: experiment.train.clone(),
        train: experiment.data.open(Split::Train)?,
        augmentation: (entry.augmentation)(),
        test: experiment.data.open(Split::Test)?,
        ks: experiment.recall_at.clone(),
        image_size: experiment.data.size,
        seed: experiment.seed,
        device: place.device.clone(),
        replicas,
        checkpoint: folder.join("checkpoint.safetensors"),
        steps: 0,
    };
    let mut record =
        Record::new(folder, Progress::new(label, experiment.train.epochs, place.quiet))?;
    let result = trainer.run(&mut record, place.stop);
    record.progress.end();
    let summary = result?;
    let file = folder.join("summary.json");
    let text = json!({
        "interrupted": summary.interrupted, "skipped": summary.skipped, "steps": summary.steps,
        "epochs": summary.epochs, "loss": summary.loss,
        "recall": recall_json(&summary), "seconds": summary.seconds, "parameters": parameters,
    });
    write_text(&file, &format!("{text:#}\n"))?;
    Ok(Finished { folder: folder.to_owned(), summary, parameters, losses })
}

/// The checkpoint's network, its embeddings normalised or not.
fn normed(
    loaded: checkpoint::Checkpoint,
    l2_norm: Option<bool>,
    device: &burn::tensor::Device,
) -> Result<Backbone> {
    let checkpoint::Checkpoint { backbone, mut network, .. } = loaded;
    match l2_norm {
        Some(l2_norm) if l2_norm != network.l2_norm => network.l2_norm = l2_norm,
        _ => return Ok(backbone),
    }
    let mut other = Backbone::new(&network, 0, device).map_err(Failure::usage)?;
    let weights = checkpoint::state_dict(&backbone).map_err(Failure::new)?;
    checkpoint::load_state_dict(&mut other, &weights).map_err(Failure::new)?;
    Ok(other)
}

/// Refuses a source network that can't see this experiment's pictures.
fn check_pictures(
    source: &checkpoint::Checkpoint,
    experiment: &Experiment,
    path: &Path,
) -> Result<()> {
    let (has, needs) = (source.network.channels, experiment.network.channels);
    if has == needs {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the source {} was trained on pictures with {has} channels, but {} has {needs}",
        path.display(),
        experiment.data.name
    )))
}

/// Recall@K with the K as keys.
pub fn recall_json(summary: &Summary) -> Value {
    let recall = summary.recall.iter().flatten();
    Value::Object(recall.map(|(k, r)| (k.to_string(), json!(r))).collect())
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    atomic_write(path, text.as_bytes()).map_err(Failure::new)
}

fn write_setup(
    folder: &Path,
    experiment: &Experiment,
    plugins: &[Value],
    info: &DeviceInfo,
) -> Result<()> {
    let config = toml::to_string(experiment)
        .map_err(|e| Failure::new(format!("can't write the configuration as TOML: {e}")))?;
    write_text(&folder.join("config.toml"), &config)?;
    let run = json!({
        "retort": env!("CARGO_PKG_VERSION"), "interface": retort_sdk::abi::INTERFACE,
        "seed": experiment.seed, "plugins": plugins,
        "device": {"id": info.id, "name": info.name, "kind": info.kind.to_string(),
            "api": info.api, "driver": info.driver},
    });
    write_text(&folder.join("run.json"), &format!("{run:#}\n"))
}

/// Writes metrics as they come, one JSON object a line, and draws the progress.
struct Record {
    path: PathBuf,
    file: std::fs::File,
    progress: Progress,
}

impl Record {
    fn new(folder: &Path, progress: Progress) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        let file =
            std::fs::File::create_new(&path).map_err(|e| Failure::file("write", &path, e))?;
        Ok(Record { path, file, progress })
    }

    fn line(&mut self, value: &Value) -> std::result::Result<(), TrainError> {
        let written = self.file.write_all(format!("{value}\n").as_bytes());
        let fail = |source| TrainError::Write(WriteError { path: self.path.clone(), source });
        written.and_then(|()| self.file.flush()).map_err(fail)
    }
}

impl Observer for Record {
    fn step(&mut self, r: &StepReport) -> std::result::Result<(), TrainError> {
        self.progress.step(r);
        self.line(&json!({"epoch": r.epoch, "step": r.step, "loss": r.loss, "terms": r.terms,
            "lr": r.lr, "images_per_second": r.images_per_second}))
    }

    fn epoch(&mut self, r: &EpochReport) -> std::result::Result<(), TrainError> {
        self.progress.epoch(r);
        self.line(&json!({"epoch": r.epoch, "mean_loss": r.loss, "recall": r.recall}))
    }
}
