//! `retort demo`: the main job in one command. Trains a source network, then a much smaller target
//! three times from the same start: without transfer, with a loss from a WASM component, and with a
//! loss from a native library.

use crate::command::{Common, stop_flag};
use crate::experiment::bounds;
use crate::experiment::{Experiment, LossConfig};
use crate::failure::{Failure, Result};
use crate::plugin::build::{self, Built};
use crate::plugin::embedded;
use crate::plugin::registry::Registry;
use crate::report as page;
use crate::run::{self, Finished, Place};
use crate::terminal::{output, progress};
use clap::Args;
use retort_core::backbone::NetworkConfig;
use retort_datasets::Split;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  retort demo\n  retort demo --dataset omniglot --data-root data/omniglot --seed 1"
)]
pub struct Demo {
    /// Data set.
    #[arg(long, default_value = "glyphs")]
    dataset: String,
    /// Folder with the data set's files.
    #[arg(long, value_name = "DIR", value_parser = super::folder_there())]
    data_root: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder for the four runs, new or empty [default: a new one in `runs`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Show dashboards: loss, its terms, recall, images per second, memory, time left.
    #[arg(long)]
    tui: bool,
    /// A key of the experiments, such as train.epochs=2.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// One row of the table.
struct Row {
    role: &'static str,
    embedding: usize,
    done: Finished,
}

/// Runs the command.
pub fn run(args: &Demo, common: &Common) -> Result<()> {
    let base = base(args)?;
    // Wrong settings and data are told before anything is built.
    for role in ["source", "target"] {
        let experiment = experiment(&base, role, "proxy_anchor", &args.set)?;
        bounds::check(&experiment)?;
        experiment.data.open(Split::Train)?;
    }
    let (device, info) = common.device()?;
    let stop = stop_flag()?;
    if args.tui {
        progress::use_dashboard();
    }
    let name = format!("demo-{}-{}", args.dataset, args.seed);
    // Held to the end; unless something was put into the folder, it goes away with the claim.
    let claim = run::folder(args.out.as_deref(), Path::new("runs"), &name)?;
    demo(args, common, &base, claim.dir(), &mut |registry| Place {
        registry,
        device: device.clone(),
        info: info.clone(),
        stop,
        quiet: false,
    })
}

/// The experiment that the four trainings vary.
fn base(args: &Demo) -> Result<Experiment> {
    let mut base = Experiment { seed: args.seed, ..Experiment::default() };
    base.data.name.clone_from(&args.dataset);
    base.data.root.clone_from(&args.data_root);
    base.data.entry()?;
    Ok(base)
}

fn demo(
    args: &Demo,
    common: &Common,
    base: &Experiment,
    folder: &Path,
    place: &mut dyn for<'b> FnMut(&'b mut Registry) -> Place<'b>,
) -> Result<()> {
    let mut registry = Registry::new(base.limits.clone())?;
    let built = packs(&folder.join("plugins"))?;
    let loss = |file: &Option<PathBuf>, name: &str| match file {
        Some(file) => format!("{}#{name}", file.display()),
        None => name.to_owned(),
    };
    let (wasm, native) = (loss(&built.wasm, "relaxed_contrastive"), loss(&built.native, "rkd"));

    let mut rows = Vec::new();
    let source_folder = folder.join("source");
    let trainings: [(&str, &str, &'static str, &'static str); 4] = [
        ("source", "proxy_anchor", "source", "-"),
        ("target", "proxy_anchor", "target", "none"),
        ("target-relaxed_contrastive", &wasm, "target", "relaxed_contrastive"),
        ("target-rkd", &native, "target", "rkd"),
    ];
    for (name, loss, role, transfer) in trainings {
        let mut experiment = experiment(base, role, loss, &args.set)?;
        if transfer != "-" && transfer != "none" {
            experiment.source = Some(source_folder.clone());
        }
        let embedding = experiment.network.embedding;
        let claim = run::folder(Some(&folder.join(name)), folder, name)?;
        let label = match transfer {
            "-" => "source".to_owned(),
            "none" => "target without transfer".to_owned(),
            loss => format!("target with {loss}"),
        };
        let done = run::train(experiment, claim, role, &label, &mut place(&mut registry))?;
        if done.summary.interrupted {
            let what = format!("stopped; what was trained so far is in {}", folder.display());
            return Err(Failure::ended(what, 130));
        }
        rows.push(Row { role, embedding, done });
    }
    let html = folder.join("report.html");
    let device = place(&mut registry).device;
    let options =
        page::Options { paths: vec![folder.to_owned()], data_root: None, samples: 1500, device };
    let bar = progress::spinner();
    page::write(&html, &options, &|what| bar.set_message(what.to_owned()))?;
    bar.finish_and_clear();
    report(args, common, folder, &rows, &html);
    Ok(())
}

/// The built-in losses as plugins: the component that is in the program, and a native library where there
/// is a clone and a cargo to build it. A form that can't be had is left out, and its loss is the built-in.
fn packs(out: &Path) -> Result<Built> {
    let wasm = embedded::component(out)?;
    let source = embedded::clone().filter(|_| build::has_cargo());
    let Some(source) = source else {
        let lacks = if wasm.is_some() { "no native library" } else { "no plugins" };
        output::say(format_args!(
            "{lacks} without cargo and a clone of retort: those losses are the ones built in, which \
             compute the same"
        ));
        return Ok(Built { native: None, wasm });
    };
    output::say(match wasm {
        Some(_) => "building the pack of losses as a native library",
        None => "building the pack of losses as a WASM component and as a native library",
    });
    let options = build::Options {
        native: true,
        wasm: wasm.is_none(),
        cargo: build::Cargo { profile: "dev".to_owned(), install: true, out: Some(out.to_owned()) },
    };
    let built = build::build(&source, &options)?;
    Ok(Built { native: built.native, wasm: wasm.or(built.wasm) })
}

/// One training, as the command line changes it.
fn experiment(base: &Experiment, role: &str, loss: &str, set: &[String]) -> Result<Experiment> {
    let mut experiment = base.clone();
    experiment.loss = vec![LossConfig::new(loss)];
    recipe(&mut experiment, role);
    Experiment::read(None, experiment, set)
}

/// Sizes and settings of the four trainings, the same for both data sets; all targets alike.
fn recipe(experiment: &mut Experiment, role: &str) {
    let (network, train) = (&mut experiment.network, &mut experiment.train);
    (train.batch, train.images_per_class) = (96, 4);
    if role == "source" {
        *network = NetworkConfig { embedding: 512, ..network.clone().with("width", 24) };
        (train.epochs, train.lr, train.loss_lr_factor) = (12, 2e-3, 10.0);
    } else {
        *network = NetworkConfig { embedding: 64, ..network.clone().with("width", 8) };
        (train.epochs, train.lr, train.loss_lr_factor) = (10, 1e-2, 5.0);
    }
}

fn report(args: &Demo, common: &Common, folder: &Path, rows: &[Row], html: &Path) {
    if common.json {
        let networks: Vec<Value> = rows
            .iter()
            .map(|row| {
                let (loss, origin) = row.done.losses.first().cloned().unwrap_or_default();
                json!({"role": row.role, "loss": loss, "origin": origin,
                    "recall": row.done.summary.recall, "parameters": row.done.parameters,
                    "embedding_bytes": 4 * row.embedding, "seconds": row.done.summary.seconds,
                    "run": row.done.folder})
            })
            .collect();
        let out = json!({"dataset": args.dataset, "seed": args.seed, "networks": networks,
            "report": html});
        output::json(&out);
        return;
    }
    let header =
        ["NETWORK", "LOSS", "PLUGIN", "R@1", "R@2", "R@4", "R@8", "PARAMETERS", "BYTES", "TIME"];
    let mut table = output::table(header);
    for row in rows {
        let (loss, origin) = row.done.losses.first().cloned().unwrap_or_default();
        let recall = row.done.summary.recall.clone().unwrap_or_default();
        let mut cells = vec![row.role.to_owned(), loss, origin];
        cells.extend(recall.values().map(|r| format!("{:.1}", 100.0 * r)));
        cells.push(row.done.parameters.to_string());
        cells.push((4 * row.embedding).to_string());
        cells.push(format!("{:.0} s", row.done.summary.seconds));
        table.add_row(cells);
    }
    output::line(format_args!(
        "Recall@K in % on the unseen classes of {}; BYTES is one embedding's size.\n\n{table}\n\n\
         The second row learnt from the labels alone; those below it from the source's embeddings.\n\
         Runs: {}\nReport: {} (curves, neighbours, projections; open it in a browser)\nTry: retort evaluate {}",
        args.dataset,
        folder.display(),
        html.display(),
        folder.join("target-relaxed_contrastive").display()
    ));
}
