//! `retort train`: a source network, or a target with or without one.

use crate::command::hyper::Hyper;
use crate::command::recipe::{Recipe, put, put_all, put_some, with_default};
use crate::command::{Common, stop_flag};
use crate::experiment::{Experiment, SelectOn};
use crate::failure::{Failure, Result};
use crate::folder::Run;
use crate::plugin::registry::{Registry, short_name};
use crate::reference::{self, Preset};
use crate::run::{self, Finished, Place};
use crate::{bounds, clean, output, progress};
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
    /// Data set.
    #[arg(long)]
    dataset: Option<String>,
    /// Folder with the data set's files.
    #[arg(long, visible_alias = "DATA_DIR", value_name = "DIR", value_parser = super::folder_there())]
    data_root: Option<PathBuf>,
    /// Memory for decoded pictures, such as 8GiB.
    #[arg(long, value_name = "BYTES")]
    cache: Option<String>,
    /// A loss, built in or `FILE#NAME`; may be given several times. Its hyperparameters may follow it as
    /// flags: `--loss rkd --weight-angle 2`.
    #[arg(long = "loss", value_name = "NAME")]
    losses: Vec<String>,
    /// Weights to start from, such as ImageNet's: a checkpoint of any origin, of the same network.
    #[arg(long, value_name = "CHECKPOINT")]
    pretrained: Option<PathBuf>,
    /// What stands before the network's keys in --pretrained, such as 'student.' [default: found].
    #[arg(long, value_name = "PREFIX")]
    pretrained_prefix: Option<String>,
    /// Keys of --pretrained to leave out, such as 'projector.*'; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pretrained_ignore: Vec<String>,
    /// Another name for a layer of --pretrained, such as 'head=embedding'; may be given several times.
    #[arg(long, value_name = "THEIRS=OURS")]
    pretrained_map: Vec<String>,
    /// Keys that --pretrained may lack [default: 'embedding.*', if it has no layer like that].
    #[arg(long, value_name = "PATTERN")]
    pretrained_allow_missing: Vec<String>,
    /// Dimensions of the embedding.
    #[arg(long, visible_alias = "embedding-size")]
    embedding: Option<usize>,
    /// Channels of the network's first block.
    #[arg(long)]
    width: Option<usize>,
    /// Epochs.
    #[arg(long)]
    epochs: Option<usize>,
    /// Samples in a batch.
    #[arg(long, visible_alias = "batch-size")]
    batch: Option<usize>,
    /// Samples of each class in a batch; 0 draws without regard to class.
    #[arg(long, visible_alias = "IPC", value_name = "N")]
    images_per_class: Option<usize>,
    /// Augmented copies of each sample in a batch.
    #[arg(long, visible_alias = "view")]
    views: Option<usize>,
    /// Learning rate.
    #[arg(long)]
    lr: Option<f64>,
    /// Seed.
    #[arg(long)]
    seed: Option<u64>,
    /// On which classes the best epoch is chosen; evaluates every epoch, if nothing else is set.
    #[arg(long, value_name = "SPLIT")]
    select_on: Option<SelectOn>,
    /// A key of the experiment file, or a hyperparameter of the last loss.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Show a dashboard: loss, its terms, recall, images per second, memory, time left.
    #[arg(long)]
    tui: bool,
    /// The run's folder, new or empty [default: a new one in `runs`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    recipe: Recipe,
    #[command(flatten)]
    hyper: Hyper,
}

/// Flags of `retort train target`.
#[derive(Args, Debug)]
pub struct Target {
    /// Run folder of the source network, or its checkpoint, of any origin.
    #[arg(long, visible_alias = "source-ckpt", value_name = "RUN|CHECKPOINT")]
    source: Option<PathBuf>,
    /// The source's network, if its keys don't tell.
    #[arg(long, value_name = "NETWORK")]
    source_model: Option<String>,
    /// What stands before the source's keys, such as 'student.' [default: found].
    #[arg(long, value_name = "PREFIX")]
    source_prefix: Option<String>,
    /// Keys of the source to leave out, such as 'projector.*'; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    source_ignore: Vec<String>,
    /// Another name for a layer of the source, such as 'head=embedding'; may be given several times.
    #[arg(long, value_name = "THEIRS=OURS")]
    source_map: Vec<String>,
    /// Whether the source's embeddings have unit length [default: as it was trained].
    #[arg(long, value_name = "SWITCH", value_parser = clap::builder::BoolishValueParser::new())]
    source_norm: Option<bool>,
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
    if train.recipe.print_config {
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
    let remark = &train.recipe.remark;
    let remark = if remark.is_empty() { String::new() } else { format!("-{remark}") };
    let name = format!("{role}-{}-{loss}{remark}", experiment.data.name);
    let mut place = Place { registry: &mut registry, device, info, stop, quiet: false };
    let runs = train.recipe.runs.as_deref().unwrap_or(Path::new("runs"));
    let claim = run::folder(train.out.as_deref(), runs, &name)?;
    let done = run::train(experiment, claim, role, &format!("{role} ({loss})"), &mut place)?;
    report(&done, role, common)
}

/// Goes on with a run.
fn resume(args: &Resume, common: &Common) -> Result<()> {
    let mut run = Run::open(&args.run)?;
    // Its relative paths count from where it was begun.
    if let Some(begun) = run.info["directory"].as_str().map(PathBuf::from)
        && begun.is_dir()
        && std::env::current_dir().is_ok_and(|here| here != begun)
    {
        let whole = |e| Failure::file("find", &args.run, e);
        run.path = std::fs::canonicalize(&args.run).map_err(whole)?;
        let enter = std::env::set_current_dir(&begun);
        enter.map_err(|e| Failure::file("go to the folder where the run was begun,", &begun, e))?;
    }
    // On the device it was begun on, unless another one is named.
    let begun = run.info["device"]["id"].as_str().and_then(|id| id.parse().ok());
    let choice = if common.device == DeviceChoice::Auto { begun } else { None };
    let (device, info) = device::resolve(choice.unwrap_or(common.device)).map_err(|e| {
        Failure::new(format!("{e}; name a device to go on with another one, such as --device cpu"))
    })?;
    if let Some(was) = run.info["device"]["name"].as_str()
        && was != info.name
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
    let recall = run::recall_json(&done.summary);
    if common.json {
        output::json(
            &json!({"role": role, "run": done.folder, "recall": recall, "best": done.best,
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
    let best = &done.best;
    let epoch = best["epoch"].as_u64()?;
    let (k, recall) =
        best["recall"].as_object()?.iter().min_by_key(|(k, _)| k.parse::<u64>().ok())?;
    let chosen = match best["selected_on"].as_str()? {
        "test" if epoch == done.summary.epochs as u64 => return None,
        "test" => {
            "chosen on these same test classes, as the field's code does: an optimistic number \
                   (--select-on validation chooses without them)"
        }
        _ => "chosen on held-out training classes",
    };
    let percent = 100.0 * recall.as_f64()?;
    Some(format!("best: epoch {epoch}, Recall@{k} {percent:.1} %, {chosen}"))
}

/// The device: of the authors' flag, if there is such a GPU, else of ours.
fn device(train: &Train, common: &Common) -> Result<(Device, DeviceInfo)> {
    let Some(number) = train.recipe.gpu_id else { return common.device() };
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
    if common.json {
        output::json(&serde_json::to_value(&experiment).map_err(Failure::new)?);
    } else {
        output::line(toml::to_string(&experiment).map_err(Failure::new)?);
    }
    Ok(())
}

/// Refuses flags that mean nothing to what would be trained.
fn meaningless(train: &Train, target: Option<&Target>, experiment: &Experiment) -> Result<()> {
    let of_source = |target: &Target| {
        let model = target.source_model.as_ref().map(|_| "--source-model");
        model.or(target.source_norm.map(|_| "--source-norm"))
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
            train.data_root.as_ref().map(|_| "--data-root"),
            generated,
            format!("{data} needs no files: it is generated"),
        ),
        (
            train.width.as_ref().map(|_| "--width"),
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
    let recipe = &train.recipe;
    recipe.check()?;
    let dataset = train.dataset.as_deref().map(reference::dataset);
    let mut experiment = if let Some(file) = &train.file {
        Experiment::read(Some(file), Experiment::default(), &[])?
    } else {
        let name = dataset.clone().unwrap_or(Experiment::default().data.name);
        let preset = recipe.preset.unwrap_or(Preset::of(&name));
        let mut experiment = preset.experiment(&name, role);
        // Where the authors' scripts look.
        if preset == Preset::Paper && Path::new("data").is_dir() {
            experiment.data.root = Some("data".into());
        }
        experiment
    };
    put(&mut experiment.data.name, dataset.as_ref());
    put(&mut experiment.network.embedding, train.embedding.as_ref());
    put(&mut experiment.network.width, train.width.as_ref());
    put(&mut experiment.train.epochs, train.epochs.as_ref());
    put(&mut experiment.train.batch, train.batch.as_ref());
    put(&mut experiment.train.images_per_class, train.images_per_class.as_ref());
    put(&mut experiment.train.views, train.views.as_ref());
    put(&mut experiment.train.lr, train.lr.as_ref());
    put(&mut experiment.seed, train.seed.as_ref());
    put_some(&mut experiment.data.root, train.data_root.as_ref());
    if let Some(target) = target {
        put_some(&mut experiment.source, target.source.as_ref());
        put_some(&mut experiment.source_model, target.source_model.as_ref());
        put_some(&mut experiment.source_norm, target.source_norm.as_ref());
        let keys = &mut experiment.source_keys;
        put_some(&mut keys.prefix, target.source_prefix.as_ref());
        put_all(&mut keys.ignore, &target.source_ignore);
        put_all(&mut keys.map, &target.source_map);
    }
    put_some(&mut experiment.pretrained, train.pretrained.as_ref());
    let keys = &mut experiment.pretrained_keys;
    put_some(&mut keys.prefix, train.pretrained_prefix.as_ref());
    put_all(&mut keys.ignore, &train.pretrained_ignore);
    put_all(&mut keys.map, &train.pretrained_map);
    put_all(&mut keys.allow_missing, &train.pretrained_allow_missing);
    put_some(&mut experiment.data.cache, train.cache.as_ref());
    if let Some(split) = train.select_on {
        experiment.select_on = split;
        let (data, recipe) = (&mut experiment.data, &mut experiment.train);
        if recipe.evaluate_every == 0 {
            recipe.evaluate_every = 1;
        }
        if split == SelectOn::Validation && data.validation_classes == 0.0 {
            data.validation_classes = 0.2;
        }
    }
    recipe.apply(&mut experiment);
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
    recipe.apply_hyper(&mut experiment, authors)?;
    meaningless(train, target, &experiment)?;
    // The authors' way to ask for all GPUs; the first one is the training's own.
    if recipe.gpu_id == Some(-1) && experiment.also_on.is_empty() {
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
