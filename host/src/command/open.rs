//! Flags of every command that takes a checkpoint of any origin.

use crate::command::misfit::{self, Words};
use crate::failure::{Failure, Result};
use crate::terminal::{clean, output};
use burn::tensor::Device;
use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args};
use retort_core::checkpoint::{self, Checkpoint, OpenOptions, Selection, Weights};
use retort_core::trainer::checkpoint_in;
use std::path::{Path, PathBuf};

fn pixels() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(8..=1024)
}

/// What a checkpoint that retort didn't write doesn't say itself.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Checkpoints of other origin")]
pub struct Open {
    /// The network in it [default: the one whose keys and shapes it has].
    #[arg(long, value_name = "NETWORK")]
    model: Option<String>,
    /// Dimensions of its embedding [default: those of embedding.weight].
    #[arg(long, value_name = "N")]
    embedding: Option<usize>,
    /// Whether its embeddings are normalised to unit length [default: true].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    l2_norm: Option<bool>,
    /// Width and height of its pictures [default: 224; 32 for convnet].
    #[arg(long, visible_alias = "size", value_name = "PIXELS", value_parser = pixels())]
    image_size: Option<usize>,
    /// Keys that it may lack, such as 'embedding.*': those layers start afresh.
    #[arg(long, value_name = "PATTERN")]
    allow_missing: Vec<String>,
    /// Seed of layers that start afresh.
    #[arg(long, value_name = "N", default_value_t = 0)]
    init_seed: u64,
}

/// Which of a checkpoint's keys are the network's, where it doesn't show.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Checkpoints of other origin")]
pub struct Pick {
    /// What stands before the network's keys, such as 'student.' [default: found].
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Keys to leave out, such as 'projector.*'; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    /// Another name for a layer of it, such as 'head=embedding'; may be given several times.
    #[arg(long, value_name = "THEIRS=OURS")]
    map: Vec<String>,
}

impl Pick {
    /// The same for [`open`](retort_core::checkpoint::open).
    pub fn selection(&self) -> Selection {
        let Pick { prefix, ignore, map } = self.clone();
        Selection { prefix, ignore, map }
    }
}

/// All of these flags.
#[derive(Args, Clone, Debug, Default)]
pub struct Foreign {
    #[command(flatten)]
    open: Open,
    #[command(flatten)]
    pick: Pick,
}

impl Foreign {
    /// Opens a run's checkpoint, or one of any origin, onto a device.
    pub fn checkpoint(&self, path: &Path, device: &Device) -> Result<Checkpoint> {
        open(path, &self.options(), device, &misfit::IMPORT)
    }

    /// The same, with the digest of the bytes that it was read from.
    pub fn digested(&self, path: &Path, device: &Device) -> Result<(Checkpoint, String)> {
        open_digested(path, &self.options(), device, &misfit::IMPORT)
    }

    fn options(&self) -> OpenOptions {
        OpenOptions { select: self.pick.selection(), ..self.open.options() }
    }
}

impl Open {
    /// Opens a run's checkpoint, or one of any origin, onto a device.
    pub fn checkpoint(&self, path: &Path, device: &Device) -> Result<Checkpoint> {
        open(path, &self.options(), device, &misfit::OPENED)
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            model: self.model.clone(),
            embedding: self.embedding,
            l2_norm: self.l2_norm,
            image_size: self.image_size,
            select: Selection::default(),
            allow_missing: self.allow_missing.clone(),
            seed: self.init_seed,
        }
    }
}

fn open(path: &Path, options: &OpenOptions, device: &Device, words: &Words) -> Result<Checkpoint> {
    let (path, weights) = read(path, options, words)?;
    built(&path, weights, options, device, words)
}

/// Opens a run's checkpoint, or one of any origin, and gives the digest of the bytes that it was read from.
pub fn open_digested(
    path: &Path,
    options: &OpenOptions,
    device: &Device,
    words: &Words,
) -> Result<(Checkpoint, String)> {
    let (path, weights) = read(path, options, words)?;
    let digest = weights.digest().map_err(|e| Failure::file("read", &path, e))?;
    Ok((built(&path, weights, options, device, words)?, digest))
}

fn read(path: &Path, options: &OpenOptions, words: &Words) -> Result<(PathBuf, Weights)> {
    let path = checkpoint_in(path);
    let weights = Weights::read_as(&path, &options.select, options.model.as_deref());
    let weights = weights.map_err(|e| misfit::failure(e, words))?;
    Ok((path, weights))
}

fn built(
    path: &Path,
    weights: Weights,
    options: &OpenOptions,
    device: &Device,
    words: &Words,
) -> Result<Checkpoint> {
    let loaded = checkpoint::open_weights(path, weights, options, device);
    let loaded = loaded.map_err(|e| misfit::failure(e, words))?;
    remark(path, &loaded.remarks);
    Ok(loaded)
}

/// Says what was done to make a checkpoint fit.
pub fn remark(path: &Path, remarks: &[String]) {
    let path = path.display().to_string();
    for text in remarks {
        output::say(format_args!("{}: {text}", clean::line(&path)));
    }
}
