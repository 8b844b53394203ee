//! retort's own checkpoints: one safetensors file with the network under PyTorch's names, the state of its
//! losses under `loss.<number>.`, what else a training needs to go on under `training.`, and in its metadata
//! what is needed to build the network again. One file, so that no part can be of another step than the rest.

use super::file::{Container, Weights, dtype_name};
use super::fit::{self, Origin};
use super::{Checkpoint, CheckpointError, Training};
use crate::backbone::{Backbone, NetworkConfig};
use crate::fs::atomic_write;
use crate::tensors;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot as _, bridge};
use burn::tensor::{DType, Device, TensorData};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The format's number.
const FORMAT: u32 = 1;

/// What the names of [`Training::tensors`] begin with in the file.
const TRAINING: &str = "training.";

/// The greatest number of a loss.
const MOST_LOSSES: usize = 1000;

/// Width and height of the pictures that a network may be said to be for.
const LARGEST_PICTURE: usize = 4096;

/// What the file's metadata holds, as JSON under `retort`.
#[derive(Serialize, Deserialize)]
pub(super) struct About {
    format: u32,
    pub network: NetworkConfig,
    image_size: usize,
    notes: BTreeMap<String, String>,
    /// [`Training::progress`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<serde_json::Value>,
}

/// Whether a tensor is beside the network: the losses' state, and what else the training needs to go on.
pub(super) fn is_beside(name: &str) -> bool {
    name.starts_with("loss.") || name.starts_with(TRAINING)
}

/// Writes a checkpoint, whole or not at all.
pub fn save(
    path: &Path,
    backbone: &Backbone,
    network: &NetworkConfig,
    image_size: usize,
    losses: &[BTreeMap<String, TensorData>],
    notes: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let bytes = encode(backbone, network, image_size, losses, notes, None)?;
    Ok(atomic_write(path, &bytes)?)
}

/// A checkpoint's bytes, with what its training needs to go on.
pub fn encode(
    backbone: &Backbone,
    network: &NetworkConfig,
    image_size: usize,
    losses: &[BTreeMap<String, TensorData>],
    notes: &BTreeMap<String, String>,
    training: Option<&Training>,
) -> Result<Vec<u8>, CheckpointError> {
    let weights = state_dict(backbone)?;
    let mut all: Vec<(String, &TensorData)> =
        weights.iter().map(|(name, data)| (name.clone(), data)).collect();
    for (number, state) in losses.iter().enumerate() {
        all.extend(state.iter().map(|(name, data)| (format!("loss.{number}.{name}"), data)));
    }
    let memory = training.iter().flat_map(|t| &t.tensors);
    all.extend(memory.map(|(name, data)| (format!("{TRAINING}{name}"), data)));
    // One entry, because the order of several would differ from run to run.
    let about = About {
        format: FORMAT,
        network: network.clone(),
        image_size,
        notes: notes.clone(),
        training: training.map(|t| t.progress.clone()),
    };
    let about =
        serde_json::to_string(&about).map_err(|e| CheckpointError::Collect(e.to_string()))?;
    let metadata = BTreeMap::from([("retort".to_owned(), about)]);
    tensors::write(all, Some(metadata)).map_err(CheckpointError::Collect)
}

/// A network's parameters and running statistics, under PyTorch's names and in its layouts.
pub fn state_dict(backbone: &Backbone) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    let tensors = backbone.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let read = |tensor| {
        let data = bridge::to_data(&tensor).map_err(|e| CheckpointError::Collect(e.to_string()))?;
        Ok((tensor.name, data))
    };
    tensors.into_iter().map(read).collect()
}

/// Writes the network alone, as plain safetensors with PyTorch's names behind the prefix; the number
/// of tensors.
pub fn export(path: &Path, backbone: &Backbone, prefix: &str) -> Result<usize, CheckpointError> {
    let state = state_dict(backbone)?;
    let named = state.iter().map(|(name, data)| (format!("{prefix}{name}"), data));
    // What other libraries look for to know whose layouts these are.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = tensors::write(named, Some(metadata)).map_err(CheckpointError::Collect)?;
    atomic_write(path, &bytes)?;
    Ok(state.len())
}

/// Sets a network's parameters and running statistics: all of them, and no others. The message lists
/// missing, unexpected and wrong-shaped keys: the first ten and counts.
pub fn load_state_dict(
    backbone: &mut Backbone,
    state: &BTreeMap<String, TensorData>,
) -> Result<(), String> {
    let tensor = |(name, data): (&String, &TensorData)| {
        (name.clone(), bridge::from_data(data.clone(), name.clone(), None))
    };
    let tensors = state.iter().map(tensor).collect();
    let fitting = fit::fit(backbone, &tensors, Origin::Own).map_err(|unfit| unfit.text())?;
    fit::apply(backbone, fitting).map_err(|unfit| unfit.text())
}

/// Reads a checkpoint of retort's own onto a device.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let weights = Weights::read(path)?;
    if weights.container != Container::Retort {
        let why = "its metadata has no entry `retort`: it wasn't written by retort";
        return Err(CheckpointError::unreadable(path, why));
    }
    checkpoint(path, weights, device)
}

/// What is in a file that retort wrote.
pub(super) fn checkpoint(
    path: &Path,
    weights: Weights,
    device: &Device,
) -> Result<Checkpoint, CheckpointError> {
    let read = |why: String| CheckpointError::unreadable(path, &why);
    let about = weights.about.as_deref().unwrap_or_default();
    let about: About = serde_json::from_str(about)
        .map_err(|e| read(format!("its metadata is damaged, or of a newer retort: {e}")))?;
    if about.format != FORMAT {
        let found = about.format;
        return Err(read(format!("it has format {found}, and this retort reads format {FORMAT}")));
    }
    let About { mut network, image_size, notes, training, .. } = about;
    network.forget_foreign();
    if !(1..=LARGEST_PICTURE).contains(&image_size) {
        return Err(read(format!(
            "it says that its pictures are {image_size} pixels wide, not 1 to {LARGEST_PICTURE}"
        )));
    }

    let mut losses: Vec<BTreeMap<String, TensorData>> = Vec::new();
    let mut of_training = BTreeMap::new();
    for (name, tensor) in weights.beside {
        // What trainings write.
        if !matches!(tensor.dtype, DType::F64 | DType::F32 | DType::I64 | DType::I32) {
            return Err(read(format!("{name} has type {}", dtype_name(tensor.dtype))));
        }
        let data = bridge::to_data(&tensor).map_err(|e| read(format!("{name}: {e}")))?;
        if let Some(rest) = name.strip_prefix(TRAINING) {
            of_training.insert(rest.to_owned(), data);
            continue;
        }
        let of_loss = name.strip_prefix("loss.").and_then(|rest| rest.split_once('.'));
        let (number, rest) = of_loss.ok_or_else(|| read(format!("{name} has no number")))?;
        let number: usize = number.parse().map_err(|_| read(format!("{name} has no number")))?;
        if number > MOST_LOSSES {
            return Err(read(format!("{name} has number {number}, beyond any run's losses")));
        }
        losses.resize_with(losses.len().max(number + 1), BTreeMap::new);
        losses[number].insert(rest.to_owned(), data);
    }
    // Without weights it takes no memory, however large its metadata say it is.
    let mut backbone = Backbone::blank(&network, device)
        .map_err(|source| CheckpointError::Network { path: path.to_owned(), source })?;
    let fitting = fit::fit(&backbone, &weights.tensors, Origin::Own)
        .map_err(|unfit| CheckpointError::mismatch(path, unfit.text()))?;
    fit::apply(&mut backbone, fitting)
        .map_err(|unfit| CheckpointError::mismatch(path, unfit.text()))?;
    let training = training.map(|progress| Training { progress, tensors: of_training });
    Ok(Checkpoint { backbone, network, image_size, losses, notes, training, remarks: Vec::new() })
}
