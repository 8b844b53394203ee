//! `retort model`: the networks there are, and what each is made of.

use crate::command::{Common, parts};
use crate::experiment::settings::assignments;
use crate::failure::{Failure, Result};
use crate::terminal::output;
use clap::{Args, Subcommand};
use retort_core::backbone::{self, NetworkConfig};
use serde_json::{Value, json};

/// Actions of `retort model`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the networks.
    #[command(after_help = "Example:\n  retort model list")]
    List,
    /// Show a network's layers: names, output shapes, parameters and multiplications.
    #[command(
        after_help = "MACS counts multiplications, each with its addition, of convolutions, linear \
                      layers and attention, for one picture.\nNames are those of the checkpoint.\n\n\
                      Examples:\n  retort model info resnet50\n  retort model info vit_small --size 96 --embedding 128 --json"
    )]
    Info(Info),
}

/// Arguments of `retort model info`.
#[derive(Args, Debug)]
pub struct Info {
    /// A name of `retort model list`.
    name: String,
    /// Dimensions of the embedding.
    #[arg(long, default_value_t = NetworkConfig::default().embedding)]
    embedding: usize,
    /// Width and height of the pictures in pixels [default: what the network is made for].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    size: Option<u16>,
    /// An option of the network's own, such as width=16 for convnet.
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    set: Vec<String>,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    match command {
        Command::List => list(common),
        Command::Info(args) => return info(args, common),
    }
    Ok(())
}

fn list(common: &Common) {
    if common.json {
        let list = backbone::networks().map(|n| {
            json!({"name": n.name, "doc": n.doc, "paper": n.paper, "image_size": n.image_size,
                "grey": n.any_channels})
        });
        output::json(&json!({"networks": list.collect::<Vec<Value>>()}));
        return;
    }
    let mut table = output::table(["NETWORK", "WHAT IT IS", "PICTURES"]);
    for n in backbone::networks() {
        let size = format!("{0}x{0}", n.image_size);
        table.add_row([n.name, n.doc, &size]);
    }
    output::line(table);
}

fn info(args: &Info, common: &Common) -> Result<()> {
    let entry = backbone::find(&args.name).map_err(Failure::usage)?;
    let config = NetworkConfig {
        name: entry.name.to_owned(),
        embedding: args.embedding,
        own: assignments(&args.set)?,
        ..NetworkConfig::default()
    };
    let size = args.size.map_or(entry.image_size, usize::from);
    let summary = backbone::summary(&config, [size; 2]).map_err(Failure::usage)?;
    if common.json {
        let layers = summary.layers.iter().map(|l| {
            json!({"name": l.name, "kind": l.kind, "output": l.output,
                "parameters": l.parameters, "macs": l.macs})
        });
        output::json(&json!({"name": entry.name, "doc": entry.doc, "paper": entry.paper,
            "size": size, "options": (entry.options)(), "embedding": args.embedding, "layers": layers.collect::<Vec<Value>>(),
            "features": summary.features, "parameters": summary.parameters,
            "macs": summary.macs}));
        return Ok(());
    }
    output::line(format_args!("{}: {}\n{}\n", entry.name, entry.doc, entry.paper));
    let own = (entry.options)();
    if !own.is_empty() {
        output::line(format_args!("{}\n", parts::options(&own)));
    }
    let mut table = output::table(["LAYER", "KIND", "OUTPUT", "PARAMETERS", "MACS"]);
    for l in &summary.layers {
        let shape = shape(&l.output);
        table.add_row([
            l.name.clone(),
            l.kind.to_owned(),
            shape,
            grouped(l.parameters as u64),
            grouped(l.macs),
        ]);
    }
    for column in [3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
    }
    output::line(&table);
    let features: Vec<String> = summary.features.iter().map(|f| shape(f)).collect();
    let (parameters, macs) = summary.embedding();
    output::line(format_args!(
        "\nFeatures:   {}\nParameters: {} ({} without the embedding layer)\nMACs:       {} ({} without)",
        features.join(", "),
        grouped(summary.parameters as u64),
        grouped((summary.parameters - parameters) as u64),
        grouped(summary.macs),
        grouped(summary.macs - macs),
    ));
    Ok(())
}

/// `1x64x112x112`
fn shape(dims: &[usize]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// `25,557,032`
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
