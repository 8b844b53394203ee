//! `retort train`: a source network, or a target with or without one.

use crate::command::flags::experiment::{
    self as flags, Authors, Given, Settings, Source, with_default,
};
use crate::command::flags::hyper::Hyper;
use crate::command::{Common, stop_flag};
use crate::experiment::reference::{self, Preset};
use crate::experiment::{Experiment, bounds};
use crate::failure::{Failure, Result};
use crate::plugin::registry::{Registry, short_name};
use crate::run::folder::Run;
use crate::run::{self, Finished, Place};
use crate::terminal::{clean, output, progress};
use burn::tensor::Device;
use clap::{Args, Subcommand};
use retort_core::device::{self, DeviceChoice, DeviceInfo};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Which network to train.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a source network with a metric-learning loss.
    #[command(
        mut_args = |arg| with_default(arg, "source"),
        after_help = concat!(native_code!(), "\n\nExample:\n  retort train source --dataset glyphs --loss proxy_anchor --embedding 512")
    )]
    Source(Train),
    /// Train a target network, with a source to learn from if the loss wants one.
    #[command(
        mut_args = |arg| with_default(arg, "target"),
        after_help = concat!(native_code!(), "\n\nExamples:\n  retort train target --dataset glyphs --source runs/source --loss relaxed_contrastive --embedding 64\n  retort train target experiment.toml --set train.epochs=5 --set sigma=0.5")
    )]
    Target(Target),
    /// Go on with a run that was stopped or killed, to the same end as if it never had been.
    #[command(after_help = concat!(native_code!(), "\n\nExample:\n  retort train resume runs/target-glyphs-rkd"))]
    Resume(Resume),
}

/// Flags of `retort train resume`.
#[derive(Args, Debug)]
pub struct Resume {
    /// The run's folder.
    run: PathBuf,
    /// Go on although plugins, settings or the source have changed since the run began.
    #[arg(long)]
    allow_changed: bool,
}

/// Flags of both; they go before the experiment file's settings.
#[derive(Args, Debug)]
pub struct Train {
    /// An experiment file.
    file: Option<PathBuf>,
    /// A loss, built in or `FILE#NAME`; may be given several times. Its hyperparameters may follow it as
    /// flags: `--loss rkd --weight-angle 2`.
    #[arg(long = "loss", value_name = "NAME")]
    losses: Vec<String>,
    /// What is taken where nothing else is said [default: paper for cub, cars and sop, else small].
    #[arg(long, conflicts_with = "file")]
    preset: Option<Preset>,
    #[command(flatten)]
    settings: Settings,
    /// A key of the experiment file, or a hyperparameter of the last loss.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show a dashboard: loss, its terms, recall, images per second, memory, time left.
    #[arg(long)]
    tui: bool,
    /// The run's folder, new or empty [default: a new one in `runs`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print what would be trained, as an experiment file (or JSON with --json), and end.
    #[arg(long, visible_alias = "dry-run")]
    print_config: bool,
    #[command(flatten)]
    authors: Authors,
    #[command(flatten)]
    hyper: Hyper,
}

/// Flags of `retort train target`.
#[derive(Args, Debug)]
pub struct Target {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    train: Train,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    let (role, train, target) = match command {
        Command::Resume(args) => return resume(args, common),
        Command::Source(train) => ("source", train, None),
        Command::Target(target) => ("target", &target.train, Some(target)),
    };
    let mut experiment = resolve(role, train, target)?;
    if train.print_config {
        return print(experiment, train, common);
    }
    let mut registry = Registry::new(experiment.limits.clone())?;
    for loss in &mut experiment.loss {
        loss.name = registry.whole_name(&loss.name)?;
    }
    train.hyper.check(&experiment, &mut registry)?;
    let (device, info) = device(train, common)?;
    let stop = stop_flag()?;
    if train.tui {
        progress::use_dashboard();
    }
    let loss = experiment.loss.iter().map(|l| short_name(&l.name));
    let loss = loss.collect::<Vec<_>>().join("+");
    let remark = &train.authors.remark;
    let remark = if remark.is_empty() { String::new() } else { format!("-{remark}") };
    let name = format!("{role}-{}-{loss}{remark}", experiment.data.name);
    let mut place = Place { registry: &mut registry, device, info, stop, quiet: false };
    let runs = train.authors.runs.as_deref().unwrap_or(Path::new("runs"));
    let claim = run::folder(train.out.as_deref(), runs, &name)?;
    let done = run::train(experiment, claim, role, &format!("{role} ({loss})"), &mut place)?;
    report(&done, role, common)
}

/// Goes on with a run.
fn resume(args: &Resume, common: &Common) -> Result<()> {
    let mut run = Run::open(&args.run)?;
    // Its relative paths count from where it was begun.
    if let Some(begun) = run.info.directory.clone()
        && begun.is_dir()
        && std::env::current_dir().is_ok_and(|here| here != begun)
    {
        let whole = |e| Failure::file("find", &args.run, e);
        run.path = std::fs::canonicalize(&args.run).map_err(whole)?;
        let enter = std::env::set_current_dir(&begun);
        enter.map_err(|e| Failure::file("go to the folder where the run was begun,", &begun, e))?;
    }
    // On the device it was begun on, unless another one is named.
    let begun = run.info.device.id.as_ref().and_then(|id| id.parse().ok());
    let choice = if common.device == DeviceChoice::Auto { begun } else { None };
    let (device, info) = device::resolve(choice.unwrap_or(common.device)).map_err(|e| {
        Failure::new(format!("{e}; name a device to go on with another one, such as --device cpu"))
    })?;
    if let Some(was) = &run.info.device.name
        && *was != info.name
    {
        output::say(format_args!(
            "begun on {}, goes on on {}: last digits may differ",
            clean::line(was),
            info.name
        ));
    }
    let mut registry = Registry::new(run.config.limits.clone())?;
    let stop = stop_flag()?;
    let role = run.role().to_owned();
    let mut place = Place { registry: &mut registry, device, info, stop, quiet: false };
    let done = run::resume(&run.path, args.allow_changed, &mut place)?;
    report(&done, &role, common)
}

/// Says how a training ended.
fn report(done: &Finished, role: &str, common: &Common) -> Result<()> {
    if done.summary.interrupted {
        let (steps, run) = (done.summary.steps, done.folder.display());
        let what = format!("stopped after {steps} steps; `retort train resume {run}` goes on");
        return Err(Failure::ended(what, 130));
    }
    if done.summary.skipped > 0 {
        output::say(format_args!(
            "{} times a loss was left out of a step because it isn't defined on its batch \
             (on_undefined = \"skip\")",
            done.summary.skipped
        ));
    }
    if common.json {
        output::json(
            &json!({"role": role, "run": done.folder, "recall": done.summary.recall, "best": done.best,
            "loss": output::number(done.summary.loss), "parameters": done.parameters,
            "skipped": done.summary.skipped, "seconds": done.summary.seconds}),
        );
    } else {
        let recall = done.summary.recall.iter().flatten();
        let recall: Vec<_> =
            recall.map(|(k, r)| format!("Recall@{k} {:.1} %", 100.0 * r)).collect();
        output::line(format_args!("{}\n{}", done.folder.display(), recall.join("  ")));
        if let Some(best) = best_in_words(done) {
            output::line(best);
        }
    }
    Ok(())
}

/// The best epoch and how it was chosen, where it isn't just the last one.
fn best_in_words(done: &Finished) -> Option<String> {
    let best = done.best.as_ref()?;
    let (epoch, (k, recall)) = (best.epoch, best.first_recall()?);
    let chosen = match best.on() {
        "test" if epoch == done.summary.epochs => return None,
        "test" => {
            "chosen on these same test classes, as the field's code does: an optimistic number \
                   (--select-on validation chooses without them)"
        }
        _ => "chosen on held-out training classes",
    };
    Some(format!("best: epoch {epoch}, Recall@{k} {:.1} %, {chosen}", 100.0 * recall))
}

/// The device: of the authors' flag, if there is such a GPU, else of ours.
fn device(train: &Train, common: &Common) -> Result<(Device, DeviceInfo)> {
    let Some(number) = train.authors.gpu_id else { return common.device() };
    if common.device != DeviceChoice::Auto {
        return common.device();
    }
    // For all GPUs, the first one.
    let id = format!("gpu:{number}");
    let wanted = |d: &DeviceInfo| d.is_real_gpu() && (number < 0 || d.id == id);
    if let Some(gpu) = device::list().into_iter().find(wanted) {
        let choice = gpu.id.parse::<DeviceChoice>().map_err(Failure::new)?;
        return device::resolve(choice).map_err(Failure::new);
    }
    let (device, info) = common.device()?;
    output::say(format_args!(
        "there is no such GPU for --gpu-id {number}; training on {}",
        info.id
    ));
    Ok((device, info))
}

/// Prints what would be trained, all hyperparameters resolved.
fn print(mut experiment: Experiment, train: &Train, common: &Common) -> Result<()> {
    bounds::check(&experiment)?;
    let mut registry = Registry::new(experiment.limits.clone())?;
    train.hyper.check(&experiment, &mut registry)?;
    for loss in &mut experiment.loss {
        loss.name = registry.whole_name(&loss.name)?;
        loss.hyper = registry.find(&loss.name)?.resolve(&loss.hyper)?;
    }
    experiment.resolve()?;
    if common.json {
        output::json(&serde_json::to_value(&experiment).map_err(Failure::new)?);
    } else {
        output::line(toml::to_string(&experiment).map_err(Failure::new)?);
    }
    Ok(())
}

/// Refuses flags that mean nothing to what would be trained.
fn meaningless(train: &Train, target: Option<&Target>, experiment: &Experiment) -> Result<()> {
    let given = &train.settings.0;
    let said = |given: &Given, key: &str, flag: &'static str| given.of(key).map(|_| flag);
    let of_source = |target: &Target| {
        let model = said(&target.source.0, "source_model", "--source-model");
        model.or(said(&target.source.0, "source_norm", "--source-norm"))
    };
    let (data, network) = (&experiment.data.name, &experiment.network.name);
    let generated = !experiment.data.entry()?.needs_root;
    let flags = [
        (
            target.and_then(of_source),
            experiment.source.is_none(),
            "there is no --source".to_owned(),
        ),
        (
            said(given, "data.root", "--data-root"),
            generated,
            format!("{data} needs no files: it is generated"),
        ),
        (
            said(given, "network.width", "--width"),
            network != "convnet",
            format!("{network} has its own width"),
        ),
    ];
    for (flag, nothing, why) in flags {
        if let Some(flag) = flag.filter(|_| nothing) {
            return Err(Failure::usage(format!("{flag} means nothing here: {why}")));
        }
    }
    Ok(())
}

fn resolve(role: &str, train: &Train, target: Option<&Target>) -> Result<Experiment> {
    let mut given = train.settings.0.clone();
    given.rename("data.name", reference::dataset);
    let mut experiment = if let Some(file) = &train.file {
        Experiment::read(Some(file), Experiment::default(), &[])?
    } else {
        let usual = Experiment::default().data.name;
        let name = given.text("data.name").unwrap_or(&usual).to_owned();
        let preset = train.preset.unwrap_or(Preset::of(&name));
        let mut experiment = preset.experiment(&name, role);
        // Where the authors' scripts look.
        if preset == Preset::Paper && Path::new("data").is_dir() {
            experiment.data.root = Some("data".into());
        }
        experiment
    };
    experiment = flags::apply(&given, experiment)?;
    if let Some(target) = target {
        experiment = target.source.0.apply(experiment)?;
    }
    if !train.losses.is_empty() {
        let mut places = Vec::new();
        experiment.loss.clear();
        for name in &train.losses {
            places.push(experiment.loss.len());
            experiment.loss.extend(reference::losses(name));
        }
        train.hyper.apply(&mut experiment, &places)?;
    }
    let authors = train.losses.iter().any(|name| reference::is_authors(name));
    train.authors.apply_hyper(&mut experiment, authors)?;
    meaningless(train, target, &experiment)?;
    // The authors' way to ask for all GPUs; the first one is the training's own.
    if train.authors.gpu_id == Some(-1) && experiment.also_on.is_empty() {
        let real = device::list().into_iter().filter(DeviceInfo::is_real_gpu);
        experiment.also_on = real.skip(1).map(|d| d.id).collect();
    }
    let experiment = Experiment::read(None, experiment, &train.set)?;
    let idle = [
        ("source", experiment.source.is_none() && !experiment.source_keys.is_empty()),
        ("pretrained", experiment.pretrained.is_none() && !experiment.pretrained_keys.is_empty()),
    ];
    for (name, idle) in idle {
        if idle {
            return Err(Failure::usage(format!(
                "{name}_keys (--{name}-prefix, --{name}-ignore, --{name}-map) are those of a checkpoint: \
                 name it with --{name}"
            )));
        }
    }
    Ok(experiment)
}
