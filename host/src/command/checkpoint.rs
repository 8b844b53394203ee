//! `retort checkpoint`: what is in a file of weights, and from one format to another.

use crate::command::Common;
use crate::command::fetch::{self, Fetch, Kind};
use crate::command::open::{Foreign, Open, Pick};
use crate::failure::{Failure, Result};
use crate::terminal::output;
use clap::{Args, Subcommand};
use retort_core::checkpoint::{self, NoNetwork, Weights, dtype_name};
use retort_core::trainer::{checkpoint_in, parameter_count};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a checkpoint of any origin holds: container, network, tensors.
    #[command(
        after_help = "Examples:\n  retort checkpoint info resnet50-0676ba61.pth\n  retort checkpoint info trained.pth --prefix student"
    )]
    Info(Info),
    /// Turn a checkpoint of any origin into retort's own.
    #[command(
        after_help = "Examples:\n  retort checkpoint import cub_bn_inception_512dim_Proxy_Anchor_ckpt.pth\n  retort checkpoint import resnet50-0676ba61.pth --embedding 512 --allow-missing 'embedding.*'\n  retort checkpoint import trained.pth --prefix student --map 'head=embedding' --ignore 'projector.*'"
    )]
    Import(Import),
    /// Write a network's weights as plain safetensors with PyTorch's names.
    #[command(
        after_help = "Example:\n  retort checkpoint export runs/source --out source.safetensors\n\nIn Python: model.load_state_dict(safetensors.torch.load_file(\"source.safetensors\"))"
    )]
    Export(Export),
    /// Download published weights.
    #[command(
        after_help = "Examples:\n  retort checkpoint fetch\n  retort checkpoint fetch resnet50\n  retort checkpoint fetch cub_bn_inception --from ~/Downloads"
    )]
    Fetch(Fetch),
}

/// Flags of `retort checkpoint info`.
#[derive(Args, Debug)]
pub struct Info {
    /// A `.pth`, a `.safetensors`, an index of several, a folder of Hugging Face, or a run folder.
    file: PathBuf,
    #[command(flatten)]
    pick: Pick,
}

/// Flags of `retort checkpoint import`.
#[derive(Args, Debug)]
pub struct Import {
    /// A `.pth`, a `.safetensors`, an index of several, or a folder of Hugging Face.
    file: PathBuf,
    #[command(flatten)]
    open: Foreign,
    /// The new file [default: FILE with the ending .safetensors].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Flags of `retort checkpoint export`.
#[derive(Args, Debug)]
pub struct Export {
    /// A run folder or a checkpoint of any origin.
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// The new file.
    #[arg(long)]
    out: PathBuf,
    /// What to put before every key, such as `model.`
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    open: Open,
}

/// Runs the command.
pub fn run(command: &Command, common: &Common) -> Result<()> {
    match command {
        Command::Info(args) => info(&checkpoint_in(&args.file), &args.pick, common),
        Command::Import(args) => import(args, common),
        Command::Export(args) => export(args, common),
        Command::Fetch(args) => fetch::run(args, Kind::Checkpoint, common),
    }
}

fn info(path: &Path, pick: &Pick, common: &Common) -> Result<()> {
    let weights = Weights::read_as(path, &pick.selection(), None)?;
    let network = weights.network();
    let numbers: usize = weights.tensors.values().map(|t| t.shape.iter().product::<usize>()).sum();
    if common.json {
        let tensors = |list: &std::collections::BTreeMap<String, _>| -> Value {
            let entry = |(key, t): (&String, &burn::store::burn_pack::Tensor)| json!({"key": key, "shape": t.shape.to_vec(), "dtype": dtype_name(t.dtype)});
            list.iter().map(entry).collect()
        };
        let (found, why) = match &network {
            Ok(network) => (json!(network), Value::Null),
            Err(why) => (Value::Null, json!(why.to_string())),
        };
        let several = match &network {
            Err(NoNetwork::Several(all)) => all.iter().map(several).collect(),
            _ => Value::Null,
        };
        output::json(&json!({"file": path, "bytes": weights.size,
            "container": weights.container.to_string(), "prefix": weights.prefix,
            "network": found, "no_network": why, "networks": several, "numbers": numbers,
            "unread": weights.unread,
            "tensors": tensors(&weights.tensors), "beside": tensors(&weights.beside)}));
        return Ok(());
    }
    let network = match network {
        Ok(network) if !weights.tensors.contains_key("embedding.weight") => {
            format!("{} without an embedding layer", network.name)
        }
        Ok(network) => format!("{} with an embedding of {}", network.name, network.embedding),
        Err(why @ NoNetwork::Several(_)) => format!("{why}; --prefix shows one"),
        Err(why) => why.to_string(),
    };
    let prefix = match weights.prefix.as_str() {
        "" => String::new(),
        prefix => format!(", every key behind {prefix}"),
    };
    let beside = match weights.beside.len() {
        0 => String::new(),
        n => format!("\n{n} tensors beside, which aren't the network's"),
    };
    let unread =
        weights.unread.iter().take(UNREAD).map(|(key, what)| format!("\n{key}: {what}, not read"));
    let unread: String = unread.collect();
    let mut table = output::table(["KEY", "SHAPE", "TYPE"]);
    for (key, tensor) in &weights.tensors {
        let shape = format!("{:?}", tensor.shape.to_vec());
        table.add_row([key.as_str(), &shape, dtype_name(tensor.dtype)]);
    }
    output::line(format_args!(
        "{}: {}{prefix}\n{network}\n{} tensors, {numbers} numbers, {} bytes{beside}{unread}\n{table}",
        path.display(),
        weights.container,
        weights.tensors.len(),
        weights.size
    ));
    Ok(())
}

/// Keys that aren't read, and are shown.
const UNREAD: usize = 10;

/// One of several networks.
fn several((prefix, name): &(String, String)) -> Value {
    json!({"prefix": prefix, "network": name})
}

fn import(args: &Import, common: &Common) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| args.file.with_extension("safetensors"));
    refuse_to_overwrite(&out)?;
    let device = common.device()?.0;
    let loaded = args.open.checkpoint(&args.file, &device)?;
    checkpoint::save(
        &out,
        &loaded.backbone,
        &loaded.network,
        loaded.image_size,
        &loaded.losses,
        &loaded.notes,
    )?;
    let parameters = parameter_count(&loaded.backbone);
    if common.json {
        output::json(&json!({"file": out, "network": loaded.network, "parameters": parameters,
            "image_size": loaded.image_size}));
    } else {
        output::line(format_args!(
            "{}: {} with an embedding of {}, {parameters} parameters, pictures of {} pixels",
            out.display(),
            loaded.network.name,
            loaded.network.embedding,
            loaded.image_size
        ));
    }
    Ok(())
}

fn export(args: &Export, common: &Common) -> Result<()> {
    refuse_to_overwrite(&args.out)?;
    let device = common.device()?.0;
    // Here --prefix is what the new keys get.
    let loaded = args.open.checkpoint(&args.checkpoint, &device)?;
    let tensors = checkpoint::export(&args.out, &loaded.backbone, &args.prefix)?;
    if common.json {
        output::json(&json!({"file": args.out, "tensors": tensors, "network": loaded.network}));
    } else {
        output::line(format_args!("{}: {tensors} tensors", args.out.display()));
    }
    Ok(())
}

fn refuse_to_overwrite(out: &Path) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    let path = out.display();
    Err(Failure::usage(format!("{path} is there already; name another file with --out")))
}
