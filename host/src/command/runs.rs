//! `retort runs`: what trainings there are, and what became of them.

use crate::command::Common;
use crate::experiment::Experiment;
use crate::failure::{Failure, Result};
use crate::run::claim::is_unbegun;
use crate::run::difference::{Difference, differing};
use crate::run::folder::{self, Run};
use crate::run::listing::{self, Entry};
use crate::run::lock::Lock;
use crate::run::portrait::{self, moment};
use crate::terminal::output::Table;
use crate::terminal::{clean, output};
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What to do with runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the runs in a folder, and in the folders in it.
    #[command(after_help = "Examples:\n  retort runs list runs/demo-glyphs-0\n  \
                      retort runs list --where loss=rkd --where 'train.lr<0.01' --sort -recall")]
    List(List),
    /// Show one run: results and the course of its numbers, settings that aren't the defaults, versions.
    #[command(after_help = "Example:\n  retort runs show runs/target-glyphs-rkd")]
    Show(Show),
    /// Show what differs between two runs: settings, versions, results.
    #[command(
        after_help = "Example:\n  retort runs diff runs/target-glyphs-rkd runs/target-glyphs-rkd-2"
    )]
    Diff(Diff),
    /// Delete runs.
    #[command(after_help = "Example:\n  retort runs rm runs/target-glyphs-rkd-2 --yes")]
    Rm(Remove),
}

/// Flags of `retort runs list`.
#[derive(Args, Debug)]
pub struct List {
    /// The folder.
    #[arg(default_value = "runs", value_name = "DIR")]
    folder: PathBuf,
    /// Only runs of which this holds: a column (run, role, data, loss, recall, state, epochs, begun) or a setting, such
    /// as loss=rkd, state=failed, train.lr<0.01; with =, !=, <, <=, > or >=. May be given several times.
    #[arg(long = "where", value_name = "KEY=VALUE")]
    conditions: Vec<String>,
    /// By which column or setting to order them, from the least; with a minus before it, from the greatest.
    #[arg(long, value_name = "[-]KEY", allow_hyphen_values = true)]
    sort: Option<String>,
}

/// Flags of `retort runs show`.
#[derive(Args, Debug)]
pub struct Show {
    /// A run folder.
    run: PathBuf,
}

/// Flags of `retort runs diff`.
#[derive(Args, Debug)]
pub struct Diff {
    /// A run folder.
    a: PathBuf,
    /// Another one.
    b: PathBuf,
}

/// Flags of `retort runs rm`.
#[derive(Args, Debug)]
pub struct Remove {
    /// Run folders.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Really delete them.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    match command {
        Command::List(args) => list(args, common),
        Command::Show(args) => show(args, common),
        Command::Diff(args) => diff(args, common),
        Command::Rm(args) => remove(args, common),
    }
}

fn list(args: &List, common: &Common) -> Result<()> {
    let (mut entries, mut damaged) = (Vec::new(), Vec::new());
    for path in folder::find(&args.folder)? {
        match Run::open(&path) {
            Ok(run) => entries.push(Entry::new(run)),
            Err(e) => damaged.push((path, e.message)),
        }
    }
    if entries.is_empty() && damaged.is_empty() && !common.json {
        output::line(format_args!("no runs in {}", args.folder.display()));
        return Ok(());
    }
    // Without a run no setting has a name, and nothing is there to choose from.
    if !entries.is_empty() {
        entries = listing::choose(entries, &args.conditions, args.sort.as_deref())?;
    }
    let differing = listing::differing(&entries);
    if common.json {
        let runs = entries.iter().map(|entry| {
            let mut line = overview(&entry.run);
            let of = |(name, _): &(String, String)| {
                Some((name.clone(), json!(entry.settings.get(name)?)))
            };
            line["differs"] = Value::Object(differing.iter().filter_map(of).collect());
            line
        });
        let broken = damaged.iter().map(|(path, why)| json!({"run": path, "error": why}));
        output::json(&json!({"runs": runs.chain(broken).collect::<Vec<_>>()}));
        return Ok(());
    }
    if entries.is_empty() && damaged.is_empty() {
        output::line(format_args!("no run in {} is as --where wants it", args.folder.display()));
        return Ok(());
    }
    output::line(table(&entries, &differing, &args.folder));
    for (path, why) in damaged {
        let said = format!("{} can't be read: {why}", path.display());
        output::say(clean::line(&said));
    }
    Ok(())
}

fn table(entries: &[Entry], differing: &[(String, String)], folder: &Path) -> Table {
    let mut header = vec!["RUN", "ROLE", "DATA", "LOSS"];
    if !differing.is_empty() {
        header.push("DIFFERS IN");
    }
    header.extend(["BEST R@1", "EPOCHS", "BEGUN", "STATE"]);
    let mut table = output::table([""; 0]);
    table.set_header(header);
    for entry in entries {
        let run = &entry.run;
        let name = run.path.strip_prefix(folder).unwrap_or(&run.path);
        let name = if name.as_os_str().is_empty() { &run.path } else { name };
        let mut row = vec![
            name.display().to_string(),
            run.role().to_owned(),
            run.config.data.name.clone(),
            run.losses(),
        ];
        if !differing.is_empty() {
            let own = differing
                .iter()
                .filter_map(|(name, short)| Some(format!("{short}={}", entry.settings.get(name)?)));
            row.push(cut(&own.collect::<Vec<_>>().join(" ")));
        }
        let state = match run.failed() {
            Some(why) => cut(&format!("failed: {why}")),
            None => run.state.to_string(),
        };
        row.extend([
            run.best().map_or("-".to_owned(), in_words),
            format!("{}/{}", run.course.epochs, run.config.train.epochs),
            moment(run.info.begun.as_deref()),
            state,
        ]);
        table.add_row(row);
    }
    table
}

/// A text short enough for a column; `show` and `--json` have all of it.
fn cut(text: &str) -> String {
    const MOST: usize = 72;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Recall in percent; the test classes' goes without saying.
fn in_words((_, recall, split): (usize, f64, &str)) -> String {
    let split = if split == "test" { String::new() } else { format!(" ({split})") };
    format!("{:.1}{split}", 100.0 * recall)
}

/// What a list says of a run.
fn overview(run: &Run) -> Value {
    let best = run.best();
    let best = best.map(|(epoch, r, split)| json!({"epoch": epoch, "recall": r, "split": split}));
    json!({"run": run.path, "role": run.role(), "dataset": run.config.data.name,
        "loss": run.losses(), "best": best, "state": run.state.to_string(),
        "failed": run.failed(), "epochs": run.course.epochs, "of": run.config.train.epochs,
        "begun": run.info.begun})
}

fn show(args: &Show, common: &Common) -> Result<()> {
    let run = Run::open(&args.run)?;
    if common.json {
        let mut out = overview(&run);
        out["config"] = serde_json::to_value(&run.config).map_err(Failure::new)?;
        out["info"] = json!(run.info);
        out["summary"] = json!(run.summary);
        out["metrics"] = json!(run.course.lines);
        output::json(&out);
        return Ok(());
    }
    let path = run.path.display().to_string();
    let (role, losses) = (run.role(), run.losses());
    let what = format!("{path}: a {role} on {} by {losses}", run.config.data.name);
    output::line(clean::line(&what));
    let mut results = portrait::results(&run);
    for (key, values) in [("loss", run.course.losses()), ("Recall@1", run.course.recalls())] {
        if let (Some(first), Some(last)) = (values.first(), values.last()) {
            let curve = sparkline(&values);
            let ends = [first, last].map(|x| output::short(*x));
            results.push((key.to_owned(), format!("{} {curve} {}", ends[0], ends[1])));
        }
    }
    section("RESULTS", results);
    let settings = portrait::settings(&run.config);
    let usual = portrait::settings(&Experiment::default());
    let apart = |(key, value): &(&String, &String)| usual.get(*key) != Some(*value);
    let own = settings.iter().filter(apart).map(|(key, value)| (key.clone(), value.clone()));
    section("SETTINGS", own.collect());
    section("MADE WITH", portrait::made_with(&run));
    let config = run.path.join(folder::CONFIG).display().to_string();
    let all = format!("All other settings are the defaults; {config} has every one.");
    output::line(format_args!("\n{}", clean::line(&all)));
    Ok(())
}

/// Lines under a heading.
fn section(title: &str, lines: Vec<(String, String)>) {
    let mut table = output::table([title, ""]);
    for (key, value) in lines {
        table.add_row([key, value]);
    }
    output::line(format_args!("\n{table}"));
}

/// What a run was made with, and what came out.
fn facts(run: &Run) -> Value {
    let (info, made) = (&run.info, &run.info.identity);
    json!({"retort": made.retort, "interface": made.interface, "role": info.role, "begun": info.begun,
        "device": info.device, "hardware": info.hardware, "plugins": made.plugins,
        "source": made.source, "resumed": info.resumed.len(), "summary": run.summary})
}

/// A curve of at most 60 characters; each stands for the mean of its share of the values.
fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let width = finite.len().min(60);
    let means: Vec<f64> = (0..width)
        .map(|i| &finite[i * finite.len() / width..(i + 1) * finite.len() / width])
        .map(|part| part.iter().sum::<f64>() / part.len() as f64)
        .collect();
    let least = means.iter().copied().fold(f64::INFINITY, f64::min);
    let most = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bar = |x: f64| {
        // Halves, because the difference may be beyond any number.
        let share = (x / 2.0 - least / 2.0) / (most / 2.0 - least / 2.0);
        let share = if most > least { share } else { 0.5 };
        BARS[((share * 8.0) as usize).min(7)]
    };
    means.into_iter().map(bar).collect()
}

fn diff(args: &Diff, common: &Common) -> Result<()> {
    let (a, b) = (Run::open(&args.a)?, Run::open(&args.b)?);
    let config = |run: &Run| serde_json::to_value(&run.config).map_err(Failure::new);
    let settings = differing(&config(&a)?, &config(&b)?);
    let results = differing(&facts(&a), &facts(&b));
    if common.json {
        let section = |rows: &[Difference]| -> Map<String, Value> {
            rows.iter().map(|(key, a, b)| (key.clone(), json!([a, b]))).collect()
        };
        output::json(&json!({"a": args.a, "b": args.b, "config": section(&settings),
            "run": section(&results)}));
        return Ok(());
    }
    let names = [&args.a, &args.b].map(|path| path.display().to_string());
    let mut table = output::table(["", names[0].as_str(), names[1].as_str()]);
    let of_settings = |run: &Run| portrait::settings(&run.config).into_iter().collect::<Vec<_>>();
    for (title, of) in [
        ("SETTINGS", &of_settings as &dyn Fn(&Run) -> Vec<(String, String)>),
        ("MADE WITH", &portrait::made_with),
        ("RESULTS", &portrait::results),
    ] {
        let rows = apart(&of(&a), &of(&b));
        if !rows.is_empty() {
            table.add_row([title, "", ""]);
            for row in rows {
                table.add_row(row);
            }
        }
    }
    if table.is_empty() {
        output::line("the runs don't differ");
    } else {
        output::line(table);
    }
    Ok(())
}

/// The lines of two runs that aren't the same in both; a dash where one has none.
fn apart(a: &[(String, String)], b: &[(String, String)]) -> Vec<[String; 3]> {
    let find = |lines: &[(String, String)], key: &str| {
        lines.iter().find(|line| line.0 == *key).map(|line| line.1.clone())
    };
    let mut keys: Vec<&String> = a.iter().chain(b).map(|line| &line.0).collect();
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|key| seen.insert(*key));
    let row = |key: &&String| [find(a, key), find(b, key)];
    let different = keys.into_iter().filter(|key| row(key)[0] != row(key)[1]);
    let shown = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
    different
        .map(|key| {
            let [a, b] = row(&key).map(shown);
            [key.clone(), a, b]
        })
        .collect()
}

fn remove(args: &Remove, common: &Common) -> Result<()> {
    for path in &args.runs {
        deletable(path)?;
    }
    if !args.yes {
        let list = args.runs.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Failure::usage(format!(
            "this would delete {list} with all checkpoints; add --yes to do it"
        )));
    }
    for path in &args.runs {
        // Nobody begins to train in it meanwhile.
        let _lock = Lock::take(path)?;
        std::fs::remove_dir_all(path).map_err(|e| Failure::file("delete", path, e))?;
    }
    if common.json {
        output::json(&json!({"deleted": args.runs}));
    } else {
        let lines = args.runs.iter().map(|path| format!("deleted {}", path.display()));
        lines.for_each(|line| output::line(clean::line(&line)));
    }
    Ok(())
}

/// Refuses what isn't a run, is at work, or holds others.
fn deletable(path: &Path) -> Result<()> {
    let (run, unbegun) = (folder::is_run(path), is_unbegun(path));
    if (run || unbegun) && Lock::is_taken(path) {
        return Err(Failure::usage(format!("{} is being trained; stop it first", path.display())));
    }
    // A run whose files are damaged may be deleted too.
    if !run && !unbegun {
        return Err(Failure::usage(folder::no_run(path)));
    }
    let entries = std::fs::read_dir(path).map_err(|e| Failure::file("read", path, e))?;
    for entry in entries.filter_map(std::result::Result::ok).filter(|e| e.path().is_dir()) {
        if let Some(inner) = folder::find(&entry.path())?.first() {
            return Err(Failure::usage(format!(
                "{} holds another run, {}; delete or move that first",
                path.display(),
                inner.display()
            )));
        }
    }
    Ok(())
}
