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
    EpochReport, Observer, StepReport, Summary, Term, TrainError, Trainer, checkpoint_in,
    parameter_count,
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
    experiment.network.set_channels(entry.channels).map_err(Failure::usage)?;
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
            dtype: burn::tensor::FloatDType::F32,
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
        terms.push(Term { name, weight: config.weight, session });
    }
    let source = match &experiment.source {
        None => None,
        Some(path) => {
            let loaded =
                checkpoint::load(&checkpoint_in(path), &place.device).map_err(Failure::new)?;
            // Both see the same batch: a target that can see grey sees colour if its source does.
            let channels = &mut experiment.network.channels;
            *channels = loaded.network.channels.max(*channels);
            check_pictures(&loaded, &experiment, path)?;
            Some(loaded.backbone)
        }
    };
    let target = Backbone::new(&experiment.network, experiment.seed, &place.device)
        .map_err(Failure::usage)?;
    let parameters = parameter_count(&target);
    write_setup(folder, &experiment, &plugins, &place.info)?;

    let trainer = Trainer {
        target,
        network: experiment.network.clone(),
        source,
        terms,
        recipe: experiment.train.clone(),
        train: experiment.data.open(Split::Train)?,
        augmentation: (entry.augmentation)(),
        test: experiment.data.open(Split::Test)?,
        ks: experiment.recall_at.clone(),
        image_size: experiment.data.size,
        seed: experiment.seed,
        device: place.device.clone(),
        checkpoint: folder.join("checkpoint.safetensors"),
        skipped: 0,
    };
    let mut record =
        Record::new(folder, Progress::new(label, experiment.train.epochs, place.quiet))?;
    let result = trainer.run(&mut record, place.stop);
    record.progress.end();
    let summary = result?;
    let file = folder.join("summary.json");
    let text = json!({
        "interrupted": summary.interrupted, "skipped": summary.skipped, "steps": summary.steps, "loss": summary.loss,
        "recall": recall_json(&summary), "seconds": summary.seconds, "parameters": parameters,
    });
    write_text(&file, &format!("{text:#}\n"))?;
    Ok(Finished { folder: folder.to_owned(), summary, parameters, losses })
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
