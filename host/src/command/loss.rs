//! `retort loss`: the losses there are, what they need, and their values on given tensors.

use crate::command::parts::range;
use crate::command::{Common, check};
use crate::experiment::settings::{assignments, limits};
use crate::failure::{Failure, Result};
use crate::loss::case::Layout;
use crate::loss::evaluation::Evaluation;
use crate::loss::probe::{Probed, probe};
use crate::loss::tensors;
use crate::plugin::registry::{Found, Registry};
use crate::terminal::output::Table;
use crate::terminal::{clean, output};
use burn::tensor::FloatDType;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use retort_core::{Inputs, Line, Session, Setup};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Actions of `retort loss`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the losses: those built in, or those of a pack.
    #[command(after_help = concat!(native_code!(), "\n\nExample:\n  retort loss list"))]
    List {
        /// A pack (.wasm, .so) instead of the one built in.
        pack: Option<PathBuf>,
    },
    /// Show a loss: its definition, hyperparameters, paper, and the inputs it needs.
    #[command(
        after_help = concat!(native_code!(), "\n\nExamples:\n  retort loss info rkd\n  retort loss info my_pack.wasm#my_loss")
    )]
    Info {
        /// A name, or `FILE#NAME`.
        name: String,
        /// Show the loss's source file too.
        #[arg(long)]
        source: bool,
    },
    /// Compute a loss on given tensors.
    #[command(
        after_help = concat!("The input file holds `target` [n, d], and as the loss needs them `source` [n, d'], \
                      `labels` [n],\n`ids` [n], `sample_labels` [samples], `target_features.0` …, \
                      `source_features.0` …, `param.<name>`,\n`buffer.<name>`, and `random.0` … in \
                      place of the step's random draws.\n\n", native_code!(), "\n\nExamples:\n  retort loss eval relaxed_contrastive --example\n  retort loss eval relaxed_contrastive --input batch.safetensors --set sigma=0.5 --json")
    )]
    Eval(Eval),
    /// Check what correct losses have: gradients, order, finite numbers on awkward batches, and more.
    #[command(
        after_help = concat!("Exits with 1 if a property fails, and says what to do about it. One that can't hold by definition is exempt if the loss \
                      says so:\n#[exempt(order = \"the first sample of a class is its anchor\")], above its struct in hyper!.\n\n\
                      ", native_code!(), "\n\nExamples:\n  retort loss check rkd\n  retort loss check --all\n  retort loss check my_pack.wasm --junit check.xml\n  retort loss check my_pack.wasm#my_loss --html card.html")
    )]
    Check(check::Check),
}

/// Arguments of `retort loss eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// A name, or `FILE#NAME`.
    name: String,
    /// The tensors.
    #[arg(long, value_name = "FILE.safetensors", required_unless_present = "example")]
    input: Option<PathBuf>,
    /// Write a small batch that suits the loss, and compute it on that [default: batch.safetensors].
    #[arg(long, value_name = "FILE.safetensors", num_args = 0..=1, conflicts_with = "input",
          default_missing_value = "batch.safetensors")]
    example: Option<PathBuf>,
    /// A hyperparameter.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write the gradients of everything differentiable and the buffers after the step.
    #[arg(long, value_name = "OUT.safetensors")]
    grad: Option<PathBuf>,
    /// Print the step's operations in their order, with shapes and the loss's source lines.
    #[arg(long)]
    trace: bool,
    /// Classes of the training set [default: highest label + 1].
    #[arg(long, value_parser = count())]
    classes: Option<usize>,
    /// Samples of the training set [default: length of `sample_labels`, or highest id + 1].
    #[arg(long, value_parser = count())]
    samples: Option<usize>,
    /// Views of each sample in the batch [default: 1, or those of the example].
    #[arg(long, value_parser = count())]
    views: Option<usize>,
    /// Epoch, from 0.
    #[arg(long, default_value_t = 0)]
    epoch: usize,
    /// Share of the training that is done, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    progress: f64,
    /// Element type to compute in.
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Seed of first values and random draws that the file doesn't give.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A limit of the step, such as `seconds=60`.
    #[arg(long = "limit", value_name = "KEY=VALUE")]
    limit: Vec<String>,
}

fn count() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=tensors::MOST as u64)
}

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 64 bits; on the CPU only.
    F64,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    match command {
        Command::List { pack } => list(pack.as_deref(), common),
        Command::Info { name, source } => info(name, *source, common),
        Command::Eval(eval) => evaluate(eval, common),
        Command::Check(args) => check::run(args, common),
    }
}

fn list(path: Option<&Path>, common: &Common) -> Result<()> {
    let mut registry = Registry::new(limits(&[])?)?;
    let pack = match path {
        Some(path) => registry.pack(path)?,
        None => registry.builtin().clone(),
    };
    if common.json {
        let losses = pack.description.losses.iter();
        let losses: Vec<Value> = losses
            .map(|l| json!({"name": l.name, "summary": summary(&l.doc), "paper": l.paper}))
            .collect();
        output::json(&json!({"origin": pack.origin.to_string(), "digest": pack.digest,
            "interface": pack.description.interface, "losses": losses}));
        return Ok(());
    }
    let mut table = output::table(["LOSS", "WHAT IT DOES"]);
    for loss in &pack.description.losses {
        table.add_row([loss.name.clone(), summary(&loss.doc)]);
    }
    output::line(table);
    Ok(())
}

/// The first sentence of a doc.
fn summary(doc: &str) -> String {
    doc.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

fn info(name: &str, source: bool, common: &Common) -> Result<()> {
    let limits = limits(&[])?;
    let mut registry = Registry::new(limits.clone())?;
    let found = registry.find(name)?;
    let needs = needs(&found, &limits)?;
    let (loss, pack) = (&found.definition, &found.pack);
    if common.json {
        let mut out = json!({
            "name": loss.name, "doc": loss.doc, "paper": loss.paper, "hyperparameters": loss.hyper,
            "exempt": loss.exempt,
            "inputs": needs.inputs, "parameters": needs.parameters, "buffers": needs.buffers,
            "equal_widths": needs.layout.equal_widths, "views": needs.layout.views,
            "origin": pack.origin.to_string(), "digest": pack.digest,
            "interface": pack.description.interface, "sdk": pack.description.sdk,
        });
        if source {
            out["source"] = json!(loss.source);
        }
        output::json(&out);
        return Ok(());
    }
    output::line(format_args!("{}\n\n{}\n\nPaper: {}\n", loss.name, loss.doc, loss.paper));
    let mut table = output::table(["HYPERPARAMETER", "DEFAULT", "RANGE", "MEANING"]);
    for field in &loss.hyper {
        let default = field.default.to_string();
        table.add_row([field.name.clone(), default, range(field), field.doc.clone()]);
    }
    output::line(table);
    for (property, reason) in &loss.exempt {
        output::line(format_args!("\nExempt from {}: {reason}.", property.replace('_', " ")));
    }
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    output::line(format_args!(
        "\nInputs:     {}{}\nParameters: {}\nBuffers:    {}\nOrigin:     {} ({})\nInterface:  {} ({})",
        list(&needs.inputs),
        match needs.layout.words().join(", ") {
            words if words.is_empty() => words,
            words => format!(" ({words})"),
        },
        list(&needs.parameters),
        list(&needs.buffers),
        pack.origin,
        pack.digest,
        pack.description.interface,
        pack.description.sdk,
    ));
    if source {
        output::line(format_args!("\n{}", loss.source));
    }
    Ok(())
}

/// What a loss asks for when it runs once with its default hyperparameters.
struct Needs {
    inputs: Vec<String>,
    parameters: Vec<String>,
    buffers: Vec<String>,
    layout: Layout,
}

fn needs(found: &Found, limits: &retort_core::Limits) -> Result<Needs> {
    let Probed { layout, session, .. } = probe(found, &found.resolve(&Map::new())?, limits)?;
    let state = session.state();
    let buffers = state.keys().filter_map(|key| key.strip_prefix("buffer.")).map(str::to_owned);
    Ok(Needs {
        inputs: session.inputs_used().into_iter().collect(),
        parameters: session.parameter_names().to_vec(),
        buffers: buffers.collect(),
        layout,
    })
}

/// Whether a loss learns from a source network, as far as a batch tells that has everything. One that can't
/// be computed on it may.
pub fn uses_source(found: &Found, limits: &retort_core::Limits) -> bool {
    let of_source = |input: &String| input.starts_with("source");
    needs(found, limits).map_or(true, |needs| needs.inputs.iter().any(of_source))
}

/// Writes a batch to try a loss on to a file of its own: without those of the networks' outputs that it
/// doesn't ask for. Gives the views of each sample.
fn example(
    path: &Path,
    found: &Found,
    hyper: &Map<String, Value>,
    limits: &retort_core::Limits,
) -> Result<usize> {
    let Probed { layout, case, session } = probe(found, hyper, limits)?;
    let used = session.inputs_used();
    let mut tensors = case.tensors();
    tensors.retain(|name, _| match name.split('.').next().unwrap_or(name) {
        "target" => used.contains("target") || !used.contains("target_features"),
        output @ ("source" | "target_features" | "source_features") => used.contains(output),
        _ => true,
    });
    tensors::write_new(path, &tensors)?;
    let shapes = tensors.iter().map(|(name, data)| format!("{name} {:?}", data.shape().to_vec()));
    let views = if layout.views > 1 { format!(", {} views", layout.views) } else { String::new() };
    output::say(format_args!(
        "{}: {}{views}",
        path.display(),
        shapes.collect::<Vec<_>>().join(", ")
    ));
    Ok(layout.views)
}

fn evaluate(eval: &Eval, common: &Common) -> Result<()> {
    let limits = limits(&eval.limit)?;
    if !(0.0..=1.0).contains(&eval.progress) {
        return Err(Failure::usage(format!("--progress {} isn't 0 to 1", eval.progress)));
    }
    let mut registry = Registry::new(limits.clone())?;
    let found = registry.find(&eval.name)?;
    let hyper = found.resolve(&assignments(&eval.set)?)?;
    let (device, info) = common.device()?;
    let dtype = match eval.dtype {
        Dtype::F32 => FloatDType::F32,
        Dtype::F64 if info.is_cpu() => FloatDType::F64,
        Dtype::F64 => {
            return Err(Failure::usage("--dtype f64 works on the CPU only: add --device cpu"));
        }
    };
    let (input, views) = match (&eval.input, &eval.example) {
        (Some(input), _) => (input, 1),
        (None, Some(path)) => (path, example(path, &found, &hyper, &limits)?),
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let views = eval.views.unwrap_or(views);
    let file = tensors::read(input)?;
    let setup = Setup { device, dtype, seed: eval.seed, limits: limits.clone() };
    let mut session =
        Session::new(&found.definition.name, found.create(&hyper, &limits)?, setup.clone());
    session.load_state(file.state())?;
    let (labels, ids) = (file.labels()?, file.indices("ids")?);
    // A label that can't be a class's number says nothing about how many there are.
    let highest = |list: &[i64]| match list.iter().max() {
        Some(&most) if (0..tensors::MOST as i64).contains(&most) => most as usize + 1,
        _ => 0,
    };
    let inputs = Inputs {
        source: file.source(&setup)?,
        target_features: file.target_features(&setup)?,
        source_features: file.features("source_features", &setup)?,
        classes: eval.classes.unwrap_or_else(|| highest(&labels)),
        samples: eval.samples.unwrap_or_else(|| file.samples().unwrap_or_else(|| highest(&ids))),
        views,
        epoch: eval.epoch,
        progress: eval.progress,
        draws: file.draws()?,
        labels,
        ids,
        target: file.target(&setup)?,
        sample_labels: file.indices("sample_labels")?.into(),
        ..Inputs::default()
    };
    file.check_rows(inputs.rows())?;
    if !inputs.rows().is_multiple_of(views) {
        let rows = inputs.rows();
        return Err(Failure::usage(format!(
            "--views {views}: the batch's {rows} rows aren't {views} views of some samples"
        )));
    }
    file.check_ids(inputs.samples)?;
    file.check_samples(inputs.samples)?;
    let listing = if eval.trace { session.listing(&inputs)? } else { Vec::new() };
    let mut evaluation = Evaluation::run(&mut session, &inputs)?;
    let mut first = None;
    if !evaluation.value.is_finite() {
        first = session.trace(&inputs).map(|failure| failure.to_string());
        evaluation = Evaluation::run(&mut session, &inputs)?; // the trace has undone the step
    }
    file.check_state(&session)?;
    let (value, terms) = (evaluation.value, &evaluation.terms);

    if let Some(path) = &eval.grad {
        let mut out = evaluation.gradients(&session, &inputs)?;
        session.commit();
        let buffers = session.state().into_iter().filter(|(name, _)| name.starts_with("buffer."));
        out.extend(buffers);
        tensors::write(path, &out)?;
    }
    if common.json {
        let terms: Map<String, Value> =
            terms.iter().map(|(n, v)| (n.clone(), output::number(*v))).collect();
        output::json(&json!({
            "loss": found.definition.name, "value": output::number(value), "terms": terms,
            "hyperparameters": hyper, "origin": found.pack.origin.to_string(),
            "digest": found.pack.digest, "interface": found.pack.description.interface,
            "dtype": format!("{:?}", eval.dtype).to_lowercase(), "device": info.name,
            "first_not_finite": first,
            "operations": eval.trace.then(|| listing.iter().map(operation).collect::<Vec<_>>()),
        }));
    } else {
        if eval.trace {
            output::line(traced(&listing));
        }
        output::line(format_args!("{} = {value}", found.definition.name));
        if let Some(first) = first {
            output::line(format_args!("  the first that isn't finite: {}", clean::line(&first)));
        }
        for (name, value) in terms {
            output::line(format_args!("  {name} = {value}"));
        }
    }
    Ok(())
}

fn operation(line: &Line) -> Value {
    json!({"formula": line.formula, "shape": line.shape, "facts": line.facts, "at": line.at})
}

/// A step's operations.
fn traced(lines: &[Line]) -> Table {
    let mut table = output::table(["OPERATION", "SHAPE", "", "LINE"]);
    for line in lines {
        let (shape, at) = (format!("{:?}", line.shape), line.at.as_deref().unwrap_or_default());
        table.add_row([&line.formula, &shape, &line.facts, at]);
    }
    table
}
