//! A training with its folder: resolved configuration, plugins, metrics, checkpoints, summary.

pub mod claim;
pub mod course;
pub mod difference;
pub mod folder;
pub mod hardware;
pub mod info;
pub mod kept;
pub mod line;
pub mod listing;
pub mod lock;
pub mod outcome;
pub mod portrait;
pub mod record;
pub mod tensorboard;

use crate::command::misfit;
use crate::command::open::{open_digested, remark};
use crate::experiment::{Experiment, Pictures, SelectOn, damaged, left_out};
use crate::experiment::{bounds, measurable, older};
use crate::failure::{Failure, Result};
use crate::plugin::Pack;
use crate::plugin::registry::Registry;
use crate::run::claim::{Claim, is_there, remove_torn};
use crate::run::course::Lines;
use crate::run::difference::{Difference, differing};
use crate::run::folder::{CHECKPOINT, CONFIG, INFO, METRICS, Run, SUMMARY};
use crate::run::hardware::Hardware;
use crate::run::info::{Identity, Info, LossFile, Resumption, SourceFile};
use crate::run::line::{Line, Recall};
use crate::run::lock::Lock;
use crate::run::outcome::{Chosen, Outcome};
use crate::run::record::Record;
use crate::terminal::progress::Progress;
use crate::terminal::{clean, output};
use burn::tensor::Device;
use retort_core::backbone::Backbone;
use retort_core::checkpoint::{self, OpenOptions};
use retort_core::device::DeviceInfo;
use retort_core::fs::atomic_write;
use retort_core::trainer::{
    self as training, Feed, Optimizer, Replica, Summary, Term, TrainError, Trainer, checkpoint_in,
    evaluate, parameter_count,
};
use retort_core::{LossError, Session, Setup};
use retort_datasets::{self as datasets, Split};
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// A finished training.
#[derive(Debug)]
pub struct Finished {
    /// Its folder.
    pub folder: PathBuf,
    /// How it ended.
    pub summary: Summary,
    /// Its best epoch; none if the training didn't come to its end.
    pub best: Option<Chosen>,
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
    pub device: Device,
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
            TrainError::Source(_) => Failure::usage(e),
            // The loss asks for what this training doesn't have.
            TrainError::Probe(ref why) if matches!(**why, LossError::Step { .. }) => {
                Failure::usage(e)
            }
            TrainError::Data(e) => e.into(),
            other => Failure::new(other),
        }
    }
}

/// Takes a folder for a run. One that the user named must be new or empty; otherwise the name gets a
/// number until it is free.
pub fn folder(named: Option<&Path>, parent: &Path, name: &str) -> Result<Claim> {
    if let Some(dir) = named {
        return Claim::new(dir);
    }
    // Losses and data sets are named by files.
    let name = &file_name(name);
    for number in 1.. {
        let dir = match number {
            1 => parent.join(name),
            n => parent.join(format!("{name}-{n}")),
        };
        if is_there(&dir) {
            continue;
        }
        match Claim::new(&dir) {
            Err(_) if is_there(&dir) => {} // another training was faster
            claim => return claim,
        }
    }
    unreachable!("some number is free")
}

/// A name as a part of a path: letters, digits and `-_.+`, not the first of which is a dot, at most 120;
/// anything else becomes an underscore.
fn file_name(name: &str) -> String {
    let safe = |(i, c): (usize, char)| {
        let fits = c.is_alphanumeric() || "-_+".contains(c) || (c == '.' && i > 0);
        if fits { c } else { '_' }
    };
    name.chars().take(120).enumerate().map(safe).collect()
}

/// Trains as the experiment says, into a folder of its own. `role` is `source` or `target`.
pub fn train(
    mut experiment: Experiment,
    mut claim: Claim,
    role: &str,
    label: &str,
    place: &mut Place,
) -> Result<Finished> {
    let folder = claim.dir().to_owned();
    kept::check(&experiment, place.registry)?;
    let prepared = prepare(&mut experiment, &folder, true, place)?;
    let config = toml::to_string(&experiment)
        .map_err(|e| Failure::new(format!("can't write the configuration as TOML: {e}")))?;
    claim.write(Path::new(CONFIG), config.as_bytes())?;
    let info = Info {
        role: Some(role.to_owned()),
        begun: Some(rfc3339()),
        seed: Some(experiment.seed),
        device: (&place.info).into(),
        hardware: Hardware::here(),
        directory: std::env::current_dir().ok(),
        identity: identity(&experiment, &prepared)?,
        resumed: Vec::new(),
    };
    claim.write(Path::new(INFO), as_text(&info).as_bytes())?;
    kept::keep(&folder, &prepared.packs, Some(&mut claim))?;
    claim.add(&[METRICS, tensorboard::FILE]);
    carry_out(&experiment, &folder, label, prepared, 0, place, Some(&mut claim))
}

/// Goes on with a run from its last checkpoint, to the same end as if it had never stopped.
/// `allow_changed` goes on although it can't be the same any more.
pub fn resume(folder: &Path, allow_changed: bool, place: &mut Place) -> Result<Finished> {
    let _lock = Lock::take(folder)?;
    let mut run = Run::open(folder)?;
    let file = folder.join(CHECKPOINT);
    let mut prepared = prepare(&mut run.config, folder, !file.exists(), place)?;
    let now = identity(&run.config, &prepared)?;
    let mut was = run.info.identity.clone();
    // Older files are read as they are meant: keys may have come in since, or moved.
    if let Ok(mut experiment) =
        serde_json::from_value::<Experiment>(older::renewed(was.config.clone()))
    {
        // Options that have come in since have had their defaults.
        let _ = experiment.resolve();
        was.config = json!(without_digests(&experiment));
    }
    let changes = differing(&json!(was), &json!(now));
    if !changes.is_empty() && !allow_changed {
        return Err(Failure::usage(changed(folder, &changes)));
    }
    if run.has_ended() && changes.is_empty() {
        return Err(Failure::usage(format!(
            "{} is complete, after {} epochs: there is nothing to go on with",
            folder.display(),
            run.course.epochs
        )));
    }
    remove_torn(folder)?;
    if file.exists() {
        let loaded = checkpoint::load(&file, &prepared.trainer.device).map_err(Failure::new)?;
        prepared.trainer.resume(loaded)?;
    }
    let step = prepared.trainer.state.step as u64;
    let device = (&place.info).into();
    run.info.resumed.push(Resumption { at: rfc3339(), after_step: step, device, changed: changes });
    kept::keep(folder, &prepared.packs, None)?;
    run.info.identity = now;
    write_text(&folder.join(INFO), &as_text(&run.info))?;
    // From here on the run is under way again.
    match std::fs::remove_file(folder.join(SUMMARY)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::file("delete", &folder.join(SUMMARY), e));
        }
        _ => {}
    }
    if !place.quiet {
        let run = folder.display().to_string();
        output::say(format_args!("{} goes on after step {step}", clean::line(&run)));
    }
    let label = format!("{} ({})", run.role(), run.losses());
    carry_out(&run.config, folder, &label, prepared, step, place, None)
}

/// What a run's numbers depend on beside the device.
fn identity(experiment: &Experiment, prepared: &Prepared) -> Result<Identity> {
    Ok(Identity {
        retort: Some(env!("CARGO_PKG_VERSION").to_owned()),
        interface: Some(retort_sdk::abi::INTERFACE),
        plugins: prepared.plugins.clone(),
        source: prepared.source.clone(),
        config: serde_json::to_value(without_digests(experiment)).map_err(Failure::new)?,
    })
}

/// Without what `plugins` has as well, and older runs only there.
fn without_digests(experiment: &Experiment) -> Experiment {
    let mut experiment = experiment.clone();
    experiment.loss.iter_mut().for_each(|loss| loss.digest = None);
    experiment
}

fn changed(folder: &Path, changes: &[Difference]) -> String {
    const SHOWN: usize = 10;
    let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
    let list = changes.iter().take(SHOWN);
    let list = list.map(|(key, was, is)| format!("{key} was {}, is {}", side(was), side(is)));
    let list = list.collect::<Vec<_>>().join("; ");
    let more = changes.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!(
        "{} can't go on as it began: {list}{more}. Change it back, or accept a run that nobody can \
         repeat, with --allow-changed",
        folder.display()
    )
}

fn rfc3339() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// A training before its first step.
struct Prepared {
    trainer: Trainer,
    /// The unseen classes.
    test: Pictures,
    /// Where the evaluations during the training are made.
    split: &'static str,
    packs: Vec<Pack>,
    plugins: Vec<LossFile>,
    source: Option<SourceFile>,
    losses: Vec<(String, String)>,
    parameters: usize,
}

/// Makes a training of an experiment, and resolves what the experiment leaves open.
/// Without `weights`, which a checkpoint brings, the network starts afresh.
fn prepare(
    experiment: &mut Experiment,
    folder: &Path,
    weights: bool,
    place: &mut Place,
) -> Result<Prepared> {
    bounds::check(experiment)?;
    experiment.resolve()?;
    let entry = experiment.data.entry()?;
    experiment.network.set_channels(entry.channels).map_err(Failure::usage)?;
    experiment.data.size = experiment.data.size()?;
    check_selection(experiment)?;
    if experiment.loss.is_empty() {
        return Err(Failure::usage("a training needs a loss: --loss NAME; see `retort loss list`"));
    }

    // Wrong data is told before anything is loaded or built.
    let (test, train, validation) = open_splits(experiment)?;

    let device = place.device.clone();
    if let Some(half) = experiment.train.precision.half()
        && !device.supports_dtype(half)
    {
        return Err(Failure::usage(format!(
            "train.precision: {} can't compute in {half:?}; take \"f32\", or the other of \"mixed_f16\" and \
             \"mixed_bf16\"",
            place.info.name
        )));
    }
    let Losses { terms, packs, plugins, names: losses } = make_losses(experiment, place)?;
    let (source, source_digest) = match &experiment.source {
        None => (None, None),
        Some(path) => {
            let file = checkpoint_in(path);
            let options = OpenOptions {
                model: experiment.source_model.clone(),
                l2_norm: experiment.source_norm,
                ..experiment.source_keys.options()
            };
            let (loaded, digest) = open_digested(&file, &options, &device, &misfit::SOURCE)?;
            // Both see the same batch: a target that can see grey sees colour if its source does.
            let channels = &mut experiment.network.channels;
            *channels = loaded.network.channels.max(*channels);
            check_pictures(&loaded, experiment, path)?;
            let source = loaded.backbone.cast(experiment.train.precision.dtype());
            let source = match experiment.train.precision.half() {
                Some(half) => source.halved(half),
                None => source,
            };
            (Some(source), Some(SourceFile { digest }))
        }
    };
    let mut replicas = Vec::new();
    for name in &experiment.also_on {
        let choice = name.parse().map_err(Failure::usage)?;
        let (device, _) = retort_core::device::resolve(choice).map_err(Failure::new)?;
        replicas.push(Replica::new(device, source.as_ref()));
    }
    let target = new_target(experiment, weights, &device)?;
    let target = target.cast(experiment.train.precision.dtype());
    let parameters = parameter_count(&target);
    let split = if validation.is_some() { "validation" } else { "test" };
    let (size, chosen) = (experiment.data.size, &experiment.train.augmentation);
    let augmentation = match chosen.as_slice() {
        [] => (entry.augmentation)(size),
        chosen => datasets::augmentation(chosen, size, (entry.evaluation)(size))
            .map_err(Failure::usage)?,
    };
    let trainer = Trainer {
        state: training::State::new(target, terms, &experiment.train).map_err(Failure::usage)?,
        network: experiment.network.clone(),
        source,
        recipe: experiment.train.clone(),
        train,
        augmentation,
        test: validation.unwrap_or_else(|| test.clone()),
        ks: experiment.recall_at.clone(),
        image_size: experiment.data.size,
        seed: experiment.seed,
        device,
        replicas,
        checkpoint: folder.join(CHECKPOINT),
        steps: 0,
    };
    Ok(Prepared { trainer, test, split, packs, plugins, source: source_digest, losses, parameters })
}

/// The losses of a training, and what its files say of them.
#[derive(Default)]
struct Losses {
    terms: Vec<Term>,
    packs: Vec<Pack>,
    plugins: Vec<LossFile>,
    names: Vec<(String, String)>,
}

/// Makes an experiment's losses; resolves their hyperparameters, and writes down their digests.
fn make_losses(experiment: &mut Experiment, place: &mut Place) -> Result<Losses> {
    let mut out = Losses::default();
    for config in &mut experiment.loss {
        let found = place.registry.find(&config.name)?;
        config.hyper = found.resolve(&config.hyper)?;
        kept::note(config, &found.pack);
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
        let twins = out.terms.iter().filter(|t: &&Term| t.session.name() == name).count();
        let name = if twins == 0 { name } else { format!("{name}_{}", twins + 1) };
        let origin = found.pack.origin.to_string();
        out.plugins.push(LossFile {
            loss: config.name.clone(),
            origin: origin.clone(),
            digest: found.pack.digest.clone(),
            interface: Some(found.pack.description.interface),
            sdk: Some(found.pack.description.sdk.clone()),
        });
        out.names.push((name.clone(), origin));
        out.packs.push(found.pack);
        let lr_factor = config.lr_factor.unwrap_or(experiment.train.loss_lr_factor);
        let optimizer = Optimizer::new(&experiment.train).map_err(Failure::usage)?;
        out.terms.push(Term { name, weight: config.weight, lr_factor, session, optimizer });
    }
    Ok(out)
}

/// Refuses a K that no query of a split has, before it is found after the last epoch.
fn check_recall(ks: &[usize], split: &str, pictures: usize) -> Result<()> {
    let others = pictures.saturating_sub(1);
    match ks.iter().max() {
        Some(k) if *k > others => Err(Failure::usage(format!(
            "recall_at has K = {k}, but the {split} split has {pictures} pictures, {others} beside the query: \
             set recall_at to a K of at most {others}, such as --set recall_at=[1]"
        ))),
        _ => Ok(()),
    }
}

/// The network to train before its first step: from a file's weights, if there are some and they are
/// wanted, else afresh.
fn new_target(experiment: &Experiment, weights: bool, device: &Device) -> Result<Backbone> {
    let (network, seed) = (&experiment.network, experiment.seed);
    let Some(path) = experiment.pretrained.as_ref().filter(|_| weights) else {
        return Backbone::new(network, seed, device).map_err(Failure::usage);
    };
    let file = checkpoint_in(path);
    let options = OpenOptions { seed, ..experiment.pretrained_keys.options() };
    let (target, remarks) = checkpoint::start(&file, network, &options, device)
        .map_err(|e| misfit::failure(e, &misfit::PRETRAINED))?;
    remark(&file, &remarks);
    Ok(target)
}

/// The unseen classes, those to train on, and those held out of them. Refuses some to measure on that tell
/// nothing, or are too few for a K of the experiment's.
fn open_splits(experiment: &Experiment) -> Result<(Pictures, Pictures, Option<Pictures>)> {
    let data = &experiment.data;
    let test = data.open(Split::Test)?;
    measurable::check(&test, None, &data.name)?;
    let (train, validation) = data.open_train()?;
    if let Some(validation) = &validation {
        measurable::check(validation, None, "the validation classes")?;
    }
    let evaluated = validation.iter().map(|data| ("validation", data)).chain([("test", &test)]);
    for (name, data) in evaluated {
        check_recall(&experiment.recall_at, name, data.len())?;
    }
    Ok((test, train, validation))
}

/// Refuses a choice of the best epoch that can't be made.
fn check_selection(experiment: &Experiment) -> Result<()> {
    let share = experiment.data.validation_classes;
    match experiment.select_on {
        SelectOn::Validation if share == 0.0 => Err(Failure::usage(
            "select_on = \"validation\" needs classes to validate on: set \
             data.validation_classes = 0.2, or another share of the training classes",
        )),
        SelectOn::Test if share != 0.0 => Err(Failure::usage(format!(
            "data.validation_classes = {share} holds classes out, but select_on = \"test\" doesn't \
             look at them: set select_on = \"validation\", or validation_classes = 0"
        ))),
        _ => Ok(()),
    }
}

/// Trains, and writes down how it ended. The claim to a new run's folder is kept, unless nothing was
/// trained.
fn carry_out(
    experiment: &Experiment,
    folder: &Path,
    label: &str,
    prepared: Prepared,
    step: u64,
    place: &mut Place,
    claim: Option<&mut Claim>,
) -> Result<Finished> {
    let Prepared { trainer, test, split, losses, parameters, .. } = prepared;
    let (train, best_file) = (trainer.train.clone(), trainer.best_checkpoint());
    let training = Training { train, test, split, best_file, losses, parameters };
    let progress = Progress::new(label, experiment.train.epochs, place.quiet);
    let mut record = Record::new(folder, step, split, progress)?;
    let result = trainer.run(&mut record, place.stop);
    record.end();
    let early = matches!(
        result,
        Err(TrainError::Setup(_)
            | TrainError::Source(_)
            | TrainError::Probe(_)
            | TrainError::Data(_))
    );
    let nothing = early && record.is_empty() && !folder.join(CHECKPOINT).exists();
    if let Some(claim) = claim.filter(|_| !nothing) {
        claim.keep();
    }
    let ended = match result {
        Ok(summary) => end(experiment, folder, training, summary, &record, place),
        Err(e) => Err(failed(e, experiment, folder, place)),
    };
    if let Err(failure) = &ended
        && !nothing
    {
        let outcome = Outcome {
            interrupted: true,
            failed: Some(failure.message.clone()),
            seconds: Some(record.seconds()),
            parameters: Some(parameters),
            ..Outcome::default()
        };
        // What failed is told in any case.
        let _ = write_text(&folder.join(SUMMARY), &as_text(&outcome));
    }
    ended
}

/// Why a training failed: of one that diverged also where, which takes its steps since the last checkpoint once
/// more.
fn failed(e: TrainError, experiment: &Experiment, folder: &Path, place: &mut Place) -> Failure {
    let (epoch, step) = match (&e, &experiment.source) {
        (TrainError::Diverged { epoch, step, .. }, _) => (*epoch, *step),
        (TrainError::Source(why), Some(path)) => {
            return Failure::usage(format!("the source {} can't teach: {why}", path.display()));
        }
        _ => return e.into(),
    };
    let mut failure = Failure::from(e);
    if !place.quiet {
        output::say(
            "the training has diverged; repeating its steps since the last checkpoint, to find where",
        );
    }
    if let Ok(Some(first)) = trace(experiment.clone(), folder, (epoch, step), place) {
        let _ = write!(failure.message, ". The first that isn't finite: {first}");
    }
    failure
}

fn trace(
    mut experiment: Experiment,
    folder: &Path,
    (epoch, step): (usize, usize),
    place: &mut Place,
) -> Result<Option<String>> {
    let file = folder.join(CHECKPOINT);
    let mut trainer = prepare(&mut experiment, folder, !file.exists(), place)?.trainer;
    if file.exists() {
        trainer.resume(checkpoint::load(&file, &trainer.device).map_err(Failure::new)?)?;
    }
    Ok(trainer.trace(epoch, step, place.stop)?)
}

/// What is left of a training that was begun, but for its trainer.
struct Training {
    train: Pictures,
    test: Pictures,
    split: &'static str,
    best_file: PathBuf,
    losses: Vec<(String, String)>,
    parameters: usize,
}

/// Writes down how a training ended that didn't fail.
fn end(
    experiment: &Experiment,
    folder: &Path,
    training: Training,
    mut summary: Summary,
    record: &Record,
    place: &Place,
) -> Result<Finished> {
    let Training { train, test, split, best_file, losses, parameters } = training;
    let (left_out, damaged) = (left_out(&[&train, &test]), damaged(&[&train, &test]));
    let mut best = None;
    if !summary.interrupted {
        let on_test = |file: &Path| -> Result<_> {
            let net = checkpoint::load(file, &place.device).map_err(Failure::new)?;
            let recipe = &experiment.train;
            let feed = Feed {
                channels: net.network.channels,
                batch: recipe.evaluation_batch,
                workers: recipe.workers,
            };
            Ok(evaluate(&net.backbone, &test, &feed, &experiment.recall_at, &place.device)?)
        };
        if split == "validation" {
            summary.recall = Some(on_test(&folder.join(CHECKPOINT))?);
        }
        if let Some(found) = summary.best {
            let recall = match split {
                "validation" => on_test(&best_file)?,
                _ => recall_of(folder, found.epoch)?,
            };
            best = Some(Chosen {
                epoch: found.epoch,
                recall,
                selected_by: Some(found.recall),
                selected_on: Some(split.to_owned()),
            });
        }
    }
    summary.seconds = record.seconds();
    let outcome = Outcome {
        best: best.clone(),
        epochs: Some(summary.epochs),
        failed: None,
        interrupted: summary.interrupted,
        loss: Some(summary.loss),
        parameters: Some(parameters),
        pictures_damaged: damaged,
        pictures_left_out: left_out,
        recall: summary.recall.clone(),
        seconds: Some(summary.seconds),
        skipped: summary.skipped,
        steps: Some(summary.steps),
    };
    write_text(&folder.join(SUMMARY), &as_text(&outcome))?;
    Ok(Finished { folder: folder.to_owned(), summary, best, parameters, losses })
}

/// An epoch's Recall@K, as the run's metrics have it.
fn recall_of(folder: &Path, epoch: usize) -> Result<Recall> {
    let mut recall = Recall::new();
    for line in Lines::open(folder)? {
        if let (_, Line::Epoch(line)) = line?
            && line.epoch == epoch
        {
            recall = line.recall.unwrap_or(recall);
        }
    }
    Ok(recall)
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

/// A record as its file has it.
fn as_text(record: &impl serde::Serialize) -> String {
    output::json_text(record) + "\n"
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    atomic_write(path, text.as_bytes()).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_runs_name_is_one_part_of_a_path() {
        for (name, expected) in [
            ("target-glyphs-rkd+pkt", "target-glyphs-rkd+pkt"),
            ("target-glyphs-packs/my.wasm", "target-glyphs-packs_my.wasm"),
            ("source-../../x-rkd", "source-.._.._x-rkd"),
            ("..", "_."),
            ("/tmp/x\u{1b}", "_tmp_x_"),
        ] {
            assert_eq!(file_name(name), expected);
        }
        assert_eq!(file_name(&"x".repeat(1000)).len(), 120);
    }
}
