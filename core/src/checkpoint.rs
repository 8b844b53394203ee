//! Checkpoints: retort's own (`own.rs`), and with [`open`] what PyTorch and others wrote.

mod advice;
mod digest;
mod file;
mod fit;
mod folder;
mod guess;
mod kind;
mod misfit;
mod own;
mod position;
mod pytorch;
mod select;

pub use digest::digest;
pub use file::{Container, Weights, dtype_name};
pub use fit::shown;
pub use folder::{files_of, weights_in};
pub use guess::NoNetwork;
pub use misfit::{Choice, Misfit, Remedy};
pub use own::{encode, export, load, load_state_dict, save, state_dict};
pub use select::Selection;

use crate::backbone::{Backbone, NetworkConfig, NetworkError, find};
use crate::fs::WriteError;
use advice::{advice, layers, unread};
use burn::tensor::{Device, TensorData};
use fit::Origin;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Numbers of a network that may start afresh beside a file's: an embedding layer of the most dimensions
/// on the widest network.
const MOST_AFRESH: u64 = 1 << 27;

/// Why a checkpoint can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file can't be read.
    #[error("can't read the checkpoint {path}: {why}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The tensors aren't the network's.
    #[error("{path} doesn't fit its network: {misfit}", path = path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Why, and what would make them so.
        misfit: Box<Misfit>,
    },
    /// The network can't be built.
    #[error("{path}: {source}", path = path.display())]
    Network {
        /// The file.
        path: PathBuf,
        /// Why.
        source: NetworkError,
    },
    /// The file can't be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The weights can't be taken from the network.
    #[error("can't collect the network's weights: {0}")]
    Collect(String),
}

impl CheckpointError {
    fn mismatch(path: &Path, misfit: impl Into<Misfit>) -> Self {
        CheckpointError::Mismatch { path: path.to_owned(), misfit: Box::new(misfit.into()) }
    }

    /// Readers quote what they read: a file's own words come in one line, and not without end.
    fn unreadable(path: &Path, why: &str) -> Self {
        const MOST: usize = 600;
        let mut text = String::new();
        for c in why.chars() {
            if text.len() > MOST {
                text.push('…');
                break;
            }
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        CheckpointError::Read { path: path.to_owned(), why: text }
    }
}

/// What is in a checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    /// The network, on the device it was loaded to.
    pub backbone: Backbone,
    /// How it was built.
    pub network: NetworkConfig,
    /// Width and height of the pictures it was trained on.
    pub image_size: usize,
    /// State of each of its losses, by number: `param.…`, `buffer.…`.
    pub losses: Vec<BTreeMap<String, TensorData>>,
    /// What the trainer noted beside them: epoch, seed, and so on.
    pub notes: BTreeMap<String, String>,
    /// What else its training needs to go on, if the file has it.
    pub training: Option<Training>,
    /// What was done to make a file of other origin fit, and its user should know of.
    pub remarks: Vec<String>,
}

/// What a training needs beside its network and losses to go on as if it had never stopped.
#[derive(Clone, Debug)]
pub struct Training {
    /// Numbers.
    pub progress: serde_json::Value,
    /// The optimisers' memories, and the like.
    pub tensors: BTreeMap<String, TensorData>,
}

/// How to open a file that doesn't say itself which network it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// The network's name; else its keys and shapes tell.
    pub model: Option<String>,
    /// Dimensions of the embedding; else those of `embedding.weight`.
    pub embedding: Option<usize>,
    /// Whether embeddings are normalised to unit length; else as the file says, or yes.
    pub l2_norm: Option<bool>,
    /// Width and height of its pictures; else as the file says, or what the network is made for.
    pub image_size: Option<usize>,
    /// Which of its keys are the network's.
    pub select: Selection,
    /// Keys that the file may lack, where `*` stands for anything; their layers start afresh.
    pub allow_missing: Vec<String>,
    /// Seed of those.
    pub seed: u64,
}

/// Opens a checkpoint of any origin onto a device: PyTorch's `.pth` (any age of container; a state
/// dictionary bare or wrapped; ImageNet heads, counters of batches and dimensions of 1 don't matter),
/// `.safetensors`, retort's own.
pub fn open(
    path: &Path,
    options: &OpenOptions,
    device: &Device,
) -> Result<Checkpoint, CheckpointError> {
    let weights = Weights::read_as(path, &options.select, options.model.as_deref())?;
    open_weights(path, weights, options, device)
}

/// The same of a file that was read, such as for its [digest](Weights::digest).
pub fn open_weights(
    path: &Path,
    weights: Weights,
    options: &OpenOptions,
    device: &Device,
) -> Result<Checkpoint, CheckpointError> {
    let unknown = |source| CheckpointError::Network { path: path.to_owned(), source };
    let mismatch = |misfit: Misfit| CheckpointError::mismatch(path, misfit);
    if let Some(name) = &options.model {
        find(name).map_err(unknown)?;
    }
    let guessed = weights.network();
    if weights.container == Container::Retort {
        return own(path, weights, options, device);
    }
    let mut network = match (&options.model, guessed) {
        (_, Err(NoNetwork::Several(all))) => {
            let why = NoNetwork::Several(all).to_string();
            return Err(mismatch(Misfit::new(why).or(Remedy::Prefix)));
        }
        (None, Ok(network)) => network,
        (None, Err(why @ NoNetwork::Unknown)) => {
            let unread = unread(&weights);
            return Err(mismatch(Misfit::new(format!("{why}{unread}")).or(Remedy::Model(None))));
        }
        (None, Err(why)) => return Err(mismatch(Misfit::new(why.to_string()))),
        (Some(name), Ok(network)) => NetworkConfig { name: name.clone(), ..network },
        (Some(name), Err(_)) => NetworkConfig { name: name.clone(), ..NetworkConfig::default() },
    };
    network.forget_foreign();
    network.embedding = options.embedding.unwrap_or(network.embedding);
    network.l2_norm = options.l2_norm.unwrap_or(true);
    let (backbone, remarks) =
        filled(path, &weights, &network, &options.allow_missing, options.seed, device)?;
    let entry = find(&network.name).map_err(unknown)?;
    let image_size = options.image_size.unwrap_or(entry.image_size);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let notes = BTreeMap::from([
        ("container".to_owned(), weights.container.to_string()),
        ("imported_from".to_owned(), name),
    ]);
    let losses = Vec::new();
    Ok(Checkpoint { backbone, network, image_size, losses, notes, training: None, remarks })
}

/// retort's own, with what the options say in place of what it says.
fn own(
    path: &Path,
    weights: Weights,
    options: &OpenOptions,
    device: &Device,
) -> Result<Checkpoint, CheckpointError> {
    let mut checkpoint = own::checkpoint(path, weights, device)?;
    let (has, size) = (&checkpoint.network.name, checkpoint.network.embedding);
    let wrong = match (&options.model, options.embedding) {
        (Some(name), _) if name != has => {
            Some((format!("it holds {has}, not {name}"), Choice::Model))
        }
        (_, Some(n)) if n != size => {
            Some((format!("it embeds in {size} dimensions, not {n}"), Choice::Embedding))
        }
        _ => None,
    };
    if let Some((fault, choice)) = wrong {
        let misfit = Misfit::new(fault).or(Remedy::Unsaid(vec![choice]));
        return Err(CheckpointError::mismatch(path, misfit));
    }
    checkpoint.image_size = options.image_size.unwrap_or(checkpoint.image_size);
    if let Some(l2_norm) = options.l2_norm
        && l2_norm != checkpoint.network.l2_norm
    {
        checkpoint.network.l2_norm = l2_norm;
        let state = state_dict(&checkpoint.backbone)?;
        checkpoint.backbone = Backbone::blank(&checkpoint.network, device)
            .map_err(|source| CheckpointError::Network { path: path.to_owned(), source })?;
        load_state_dict(&mut checkpoint.backbone, &state)
            .map_err(|why| CheckpointError::mismatch(path, why))?;
    }
    Ok(checkpoint)
}

/// A network to train on from a file's weights, such as ImageNet's, and what its user should know of that.
/// An embedding layer that the file lacks starts with the seed's values: a classifier's file has none, and
/// its user said how large this one is. One that the file may have under another name is asked for.
pub fn start(
    path: &Path,
    network: &NetworkConfig,
    options: &OpenOptions,
    device: &Device,
) -> Result<(Backbone, Vec<String>), CheckpointError> {
    let weights = Weights::read_as(path, &options.select, Some(&network.name))?;
    let mut allow_missing = options.allow_missing.clone();
    let lacks = !weights.tensors.contains_key("embedding.weight");
    if lacks && allow_missing.is_empty() {
        let unbuilt = |source| CheckpointError::Network { path: path.to_owned(), source };
        let blank = Backbone::blank(network, device).map_err(unbuilt)?;
        let alike = layers(&weights, fit::features(&blank));
        let alike = alike.into_iter().find(|(_, size)| *size == network.embedding);
        if let Some((layer, outputs)) = alike {
            let fault = format!(
                "it has no layer called embedding, but {} has {outputs} dimensions as well",
                fit::shown(&layer)
            );
            let map = Remedy::Map { layer, outputs };
            let misfit = Misfit::new(fault).or(map).or(Remedy::FreshEmbedding);
            return Err(CheckpointError::mismatch(path, misfit));
        }
        allow_missing.push("embedding.*".to_owned());
    }
    let (backbone, mut remarks) =
        filled(path, &weights, network, &allow_missing, options.seed, device)?;
    if lacks {
        remarks.push("it has no embedding layer, which starts afresh".to_owned());
    }
    Ok((backbone, remarks))
}

/// A new network with a file's weights, and what was done to make them fit.
fn filled(
    path: &Path,
    weights: &Weights,
    network: &NetworkConfig,
    allow_missing: &[String],
    seed: u64,
    device: &Device,
) -> Result<(Backbone, Vec<String>), CheckpointError> {
    let unbuilt = |source| CheckpointError::Network { path: path.to_owned(), source };
    // Without weights it takes no memory, however large the file or the options say it is.
    let mut backbone = Backbone::blank(network, device).map_err(unbuilt)?;
    let unfit = match fit::fit(&backbone, &weights.tensors, Origin::Foreign(allow_missing)) {
        Err(unfit) => unfit,
        Ok(mut fitting) => {
            let numbers = fitting.afresh;
            let remarks = std::mem::take(&mut fitting.remarks);
            if numbers > MOST_AFRESH {
                let fault = format!(
                    "{numbers} numbers of {} would start afresh, and no more than {MOST_AFRESH} may",
                    network.name
                );
                let misfit = Misfit::new(fault).or(Remedy::FewerFresh);
                return Err(CheckpointError::mismatch(path, misfit));
            }
            if numbers > 0 {
                backbone = Backbone::new(network, seed, device).map_err(unbuilt)?;
            }
            match fit::apply(&mut backbone, fitting) {
                Ok(()) => return Ok((backbone, remarks)),
                Err(unfit) => unfit,
            }
        }
    };
    let fault = unfit.text();
    if !unfit.unreadable.is_empty() {
        let why = format!("{fault}; use another copy of it");
        return Err(CheckpointError::unreadable(path, &why));
    }
    let NetworkConfig { name, embedding, .. } = network;
    let Misfit { fault: more, remedies } =
        advice(&unfit, network, weights, fit::features(&backbone));
    let fault = format!("for {name} with an embedding of {embedding}, {fault}{more}");
    Err(CheckpointError::mismatch(path, Misfit { fault, remedies }))
}
