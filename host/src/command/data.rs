//! `retort data`: what data sets there are, what is in them, and whether all of it can be read.

use crate::command::fetch::{self, Fetch, Kind};
use crate::command::{Common, parts};
use crate::experiment::Data;
use crate::failure::{Failure, Result};
use crate::terminal::output;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use retort_core::fs::atomic_write;
use retort_datasets::{
    DATASETS, Dataset, Entry, Finding, Found, Split, absent, check, contact_sheet, find,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to do with data sets.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the data sets, and which files each expects.
    #[command(after_help = "Example:\n  retort data list --json")]
    List,
    /// Count the classes and pictures of a data set, without reading the pictures.
    #[command(
        after_help = "Examples:\n  retort data info glyphs --preview glyphs.png\n  retort data info cub --data-root data"
    )]
    Info(Which),
    /// Read every picture: damaged ones, the same picture in two splits, sizes. Exit code 1 if
    /// something is wrong.
    #[command(after_help = "Example:\n  retort data check sop --data-root data --json")]
    Check(Check),
    /// Download a data set's published files, or take them from a folder; without a name, list them.
    #[command(
        after_help = "Examples:\n  retort data fetch\n  retort data fetch cub\n  retort data fetch sop --from ~/Downloads"
    )]
    Fetch(Fetch),
}

/// A data set.
#[derive(Args, Debug)]
pub struct Which {
    /// Its name.
    name: String,
    /// Folder with its files.
    #[arg(long, value_name = "DIR", value_parser = super::folder_there())]
    data_root: Option<PathBuf>,
    /// Write a sheet of pictures: a row for each of some classes, first as they are, then as a
    /// training sees them.
    #[arg(long, value_name = "FILE.png")]
    preview: Option<PathBuf>,
    /// A key of an experiment's `data`, such as train_classes=0.8.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Flags of the check.
#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    which: Which,
    /// Threads that read [default: one for each processor].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    match command {
        Command::List => {
            list(common);
            Ok(())
        }
        Command::Info(which) => info(which, common),
        Command::Check(args) => check_all(args, common),
        Command::Fetch(args) => fetch::run(args, Kind::Data, common),
    }
}

fn list(common: &Common) {
    if common.json {
        let all = DATASETS.iter().map(|entry| {
            json!({"name": entry.name, "doc": entry.doc, "files": entry.files,
                "channels": entry.channels, "size": entry.size, "splits": names(entry.splits)})
        });
        output::json(&json!({"datasets": all.collect::<Vec<_>>()}));
        return;
    }
    let mut table = output::table(["DATA SET", "WHAT IT HOLDS"]);
    for entry in DATASETS {
        table.add_row([entry.name, entry.doc]);
    }
    output::line(table);
}

fn names(splits: &[Split]) -> Vec<&'static str> {
    splits.iter().map(|split| split.name()).collect()
}

type Opened = Vec<(Split, Arc<dyn Dataset>)>;

/// All splits. Where queries and gallery are apart, they are what is tested.
fn open(which: &Which) -> Result<(&'static Entry, Data, Opened)> {
    let mut experiment = crate::experiment::Experiment::default();
    experiment.data.name.clone_from(&which.name);
    experiment.data.root.clone_from(&which.data_root);
    find(&which.name)?;
    let set: Vec<String> = which.set.iter().map(|text| format!("data.{text}")).collect();
    let data = crate::experiment::Experiment::read(None, experiment, &set)?.data;
    let entry = data.entry()?;
    let mut splits = data.splits()?;
    let apart = splits.contains(&Split::Query);
    splits.retain(|split| !(apart && *split == Split::Test));
    let opened = splits.into_iter().map(|split| Ok((split, data.open_as_listed(split)?)));
    let opened: Result<Opened> = opened.collect();
    Ok((entry, data, opened?))
}

fn info(which: &Which, common: &Common) -> Result<()> {
    let (entry, data, splits) = open(which)?;
    let missing = splits.iter().flat_map(|(_, data)| absent(&**data));
    let missing: Vec<String> = missing.map(|file| file.display().to_string()).collect();
    if let Some(file) = &which.preview {
        preview(entry, &data, &splits, file)?;
    }
    if common.json {
        output::json(&json!({"name": entry.name, "doc": entry.doc, "channels": entry.channels,
            "size": data.size()?, "options": (entry.options)(), "root": which.data_root, "splits": counts_json(&splits),
            "missing": missing, "remarks": remarks(&splits), "preview": which.preview}));
    } else {
        output::line(format_args!("{}\n\n{}", entry.doc, counts_table(&splits)));
        let own = (entry.options)();
        if !own.is_empty() {
            output::line(format_args!("\n{}", parts::options(&own)));
        }
        if let Some(first) = missing.first() {
            let n = missing.len();
            output::line(format_args!("\n{n} listed pictures are missing; the first: {first}"));
        }
    }
    match missing.first() {
        Some(_) if !common.json => Err(Failure::new(format!(
            "{} pictures of {} are missing: unpack or fetch it again",
            missing.len(),
            entry.name
        ))),
        _ => Ok(()),
    }
}

/// What was left out or is odd, of all splits.
fn remarks(splits: &Opened) -> BTreeSet<String> {
    splits.iter().flat_map(|(_, data)| data.remarks()).collect()
}

/// Pictures, classes and super-classes of each split.
struct Counts {
    split: Split,
    samples: usize,
    classes: usize,
    super_classes: usize,
    fewest: usize,
    most: usize,
}

fn counts(splits: &Opened) -> impl Iterator<Item = Counts> {
    splits.iter().map(|(split, data)| {
        let mut of_class: BTreeMap<usize, usize> = BTreeMap::new();
        for label in data.labels() {
            *of_class.entry(*label).or_default() += 1;
        }
        let groups = data.super_labels().unwrap_or_default();
        let groups: BTreeSet<_> = groups.iter().collect();
        Counts {
            split: *split,
            samples: data.len(),
            classes: of_class.len(),
            super_classes: groups.len(),
            fewest: of_class.values().min().copied().unwrap_or(0),
            most: of_class.values().max().copied().unwrap_or(0),
        }
    })
}

fn counts_json(splits: &Opened) -> Value {
    let all = counts(splits).map(|c| {
        json!({"split": c.split.name(), "samples": c.samples, "classes": c.classes,
            "super_classes": c.super_classes, "fewest": c.fewest, "most": c.most})
    });
    all.collect()
}

fn counts_table(splits: &Opened) -> impl std::fmt::Display {
    let mut table = output::table([
        "SPLIT",
        "PICTURES",
        "CLASSES",
        "SUPER-CLASSES",
        "FEWEST IN A CLASS",
        "MOST",
    ]);
    for c in counts(splits) {
        let or_none = |n: usize| if n == 0 { "-".to_owned() } else { n.to_string() };
        table.add_row([
            c.split.name().to_owned(),
            c.samples.to_string(),
            c.classes.to_string(),
            or_none(c.super_classes),
            c.fewest.to_string(),
            c.most.to_string(),
        ]);
    }
    table
}

/// Pixels of a picture on the sheet.
const CELL: usize = 96;

fn preview(entry: &Entry, data: &Data, splits: &Opened, file: &Path) -> Result<()> {
    let Some((_, train)) = splits.first() else { return Ok(()) };
    let sheet = contact_sheet(&**train, &*(entry.augmentation)(data.size()?), CELL)?;
    let png = sheet.to_png().ok_or_else(|| Failure::new("there is no picture to show"))?;
    atomic_write(file, &png).map_err(Failure::new)
}

fn check_all(args: &Check, common: &Common) -> Result<()> {
    let (entry, data, splits) = open(&args.which)?;
    let total = splits.iter().map(|(_, data)| data.len() as u64).sum();
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(total)
    } else {
        ProgressBar::hidden()
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let borrowed: Vec<(Split, &dyn Dataset)> = splits.iter().map(|(s, d)| (*s, &**d)).collect();
    let found = check(&borrowed, args.workers.unwrap_or(processors), &|| bar.inc(1));
    bar.finish_and_clear();
    if let Some(file) = &args.which.preview {
        preview(entry, &data, &splits, file)?;
    }
    if common.json {
        output::json(&json!({"name": entry.name, "root": args.which.data_root,
            "splits": counts_json(&splits), "read": found.read, "grey": found.grey,
            "shorter_side": histogram(&found).into_iter().collect::<BTreeMap<_, _>>(),
            "remarks": remarks(&splits), "damaged": found.damaged,
            "broken": found.broken.iter().map(finding).collect::<Vec<_>>(),
            "in_two_splits": groups(&found.leaks), "twins": groups(&found.twins)}));
    } else {
        report(entry, &splits, &found);
    }
    if found.broken.is_empty() && found.leaks.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{}: {} pictures can't be read, {} are in more than one split",
        entry.name,
        found.broken.len(),
        found.leaks.len()
    )))
}

fn finding(f: &Finding) -> Value {
    json!({"split": f.split.name(), "id": f.id, "file": f.file, "problem": f.problem})
}

fn groups(groups: &[Vec<Finding>]) -> Value {
    let group = |group: &Vec<Finding>| -> Value {
        group.iter().map(|f| json!({"split": f.split.name(), "file": f.file})).collect()
    };
    groups.iter().map(group).collect()
}

/// How many pictures have a shorter side in each range, in pixels.
fn histogram(found: &Found) -> Vec<(String, usize)> {
    const BOUNDS: [usize; 8] = [1, 64, 128, 224, 256, 384, 512, 1024];
    let range = |i: usize| match BOUNDS.get(i + 1) {
        Some(next) => format!("{:04}-{:04}", BOUNDS[i], next - 1),
        None => format!("{:04} and more", BOUNDS[i]),
    };
    let mut counts = [0; BOUNDS.len()];
    for (&(width, height), n) in &found.sizes {
        let at = BOUNDS.iter().rposition(|&bound| width.min(height) >= bound);
        counts[at.unwrap_or(0)] += n;
    }
    let filled = counts.into_iter().enumerate().filter(|(_, n)| *n > 0);
    filled.map(|(i, n)| (range(i), n)).collect()
}

fn report(entry: &Entry, splits: &Opened, found: &Found) {
    let mut sizes = output::table(["SHORTER SIDE", "PICTURES", ""]);
    let histogram = histogram(found);
    let most = histogram.iter().map(|(_, n)| *n).max().unwrap_or(1);
    for (range, n) in histogram {
        sizes.add_row([range, n.to_string(), "█".repeat((40 * n).div_ceil(most))]);
    }
    output::line(format_args!(
        "{}\n\n{}\n\n{sizes}\n\n{} pictures can be read, {} of them grey, {} in spite of damage; {} can't; {} \
         are in more than one split; {} are twice in one",
        entry.doc,
        counts_table(splits),
        found.read,
        found.grey,
        found.damaged.len(),
        found.broken.len(),
        found.leaks.len(),
        found.twins.len(),
    ));
    for broken in found.broken.iter().take(20) {
        output::line(format_args!("broken ({}): {}", broken.split.name(), broken.problem));
    }
    for damaged in found.damaged.iter().take(20) {
        output::line(format_args!("damaged: {damaged}"));
    }
    for (what, groups) in [("in two splits", &found.leaks), ("twice", &found.twins)] {
        for group in groups.iter().take(10) {
            let files = group.iter().map(|f| format!("{} ({})", f.file, f.split.name()));
            output::line(format_args!("{what}: {}", files.collect::<Vec<_>>().join(", ")));
        }
    }
}
