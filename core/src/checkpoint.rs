//! Checkpoints: one safetensors file with the network under PyTorch's names, the state of its
//! losses under `loss.<number>.`, what else a training needs to go on under `training.`, and in its
//! metadata what is needed to build the network again. One file, so that no part can be of another
//! step than the rest.

use crate::backbone::{Backbone, NetworkConfig, NetworkError};
use crate::fs::{WriteError, atomic_write};
use burn::store::{
    BurnToPyTorchAdapter, ModuleSnapshot as _, ModuleStore as _, PyTorchToBurnAdapter,
    SafetensorsStore,
};
use burn::tensor::{DType, Device, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// The format's number.
const FORMAT: u32 = 1;

/// What the names of [`Training::tensors`] begin with in the file.
const TRAINING: &str = "training.";

/// What the file's metadata holds, as JSON under `retort`.
#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    network: NetworkConfig,
    image_size: usize,
    notes: BTreeMap<String, String>,
    /// [`Training::progress`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<serde_json::Value>,
}

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
    #[error("{path} doesn't fit its network: {why}", path = path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Missing, unexpected and wrong-shaped tensors: the first ten and counts.
        why: String,
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
}

/// What a training needs beside its network and losses to go on as if it had never stopped.
#[derive(Clone, Debug)]
pub struct Training {
    /// Numbers.
    pub progress: serde_json::Value,
    /// The optimisers' memories, and the like.
    pub tensors: BTreeMap<String, TensorData>,
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
    save_with(path, backbone, network, image_size, losses, notes, None)
}

/// The same, with what its training needs to go on.
pub fn save_with(
    path: &Path,
    backbone: &Backbone,
    network: &NetworkConfig,
    image_size: usize,
    losses: &[BTreeMap<String, TensorData>],
    notes: &BTreeMap<String, String>,
    training: Option<&Training>,
) -> Result<(), CheckpointError> {
    let collect = |e: &dyn std::fmt::Display| CheckpointError::Collect(e.to_string());
    let weights = state_dict(backbone)?;
    let mut tensors = Vec::new();
    for (name, data) in &weights {
        tensors.push((name.clone(), view(data).map_err(|e| collect(&e))?));
    }
    for (number, state) in losses.iter().enumerate() {
        for (name, data) in state {
            tensors.push((format!("loss.{number}.{name}"), view(data).map_err(|e| collect(&e))?));
        }
    }
    for (name, data) in training.iter().flat_map(|t| &t.tensors) {
        tensors.push((format!("{TRAINING}{name}"), view(data).map_err(|e| collect(&e))?));
    }
    // One entry, because the order of several would differ from run to run.
    let about = About {
        format: FORMAT,
        network: network.clone(),
        image_size,
        notes: notes.clone(),
        training: training.map(|t| t.progress.clone()),
    };
    let about = serde_json::to_string(&about).map_err(|e| collect(&e))?;
    let metadata = HashMap::from([("retort".to_owned(), about)]);
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|e| collect(&e))?;
    Ok(atomic_write(path, &bytes)?)
}

fn view(data: &TensorData) -> Result<TensorView<'_>, safetensors::SafeTensorError> {
    let dtype = match data.dtype() {
        DType::F64 => Dtype::F64,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        _ => Dtype::F32,
    };
    TensorView::new(dtype, data.shape().to_vec(), data.as_bytes())
}

/// A network's parameters and running statistics, under PyTorch's names and in its layouts.
pub fn state_dict(backbone: &Backbone) -> Result<BTreeMap<String, TensorData>, CheckpointError> {
    let collect = |e: &dyn std::fmt::Display| CheckpointError::Collect(e.to_string());
    let mut store = SafetensorsStore::from_bytes(None)
        .with_to_adapter(BurnToPyTorchAdapter)
        .skip_enum_variants(true);
    backbone.save_into(&mut store).map_err(|e| collect(&e))?;
    let bytes = store.get_bytes().map_err(|e| collect(&e))?;
    let weights = SafeTensors::deserialize(&bytes).map_err(|e| collect(&e))?;
    let mut out = BTreeMap::new();
    for (name, view) in weights.iter() {
        let dtype = match view.dtype() {
            Dtype::F64 => DType::F64,
            Dtype::I64 => DType::I64,
            _ => DType::F32,
        };
        let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
        out.insert(name.to_owned(), data);
    }
    Ok(out)
}

/// Sets a network's parameters and running statistics: all of them, and no others. The message lists
/// missing, unexpected and wrong-shaped keys: the first ten and counts.
pub fn load_state_dict(
    backbone: &mut Backbone,
    state: &BTreeMap<String, TensorData>,
) -> Result<(), String> {
    let views: Result<Vec<_>, _> =
        state.iter().map(|(name, data)| Ok((name.clone(), view(data)?))).collect();
    let bytes = views.and_then(|views| safetensors::serialize(views, None));
    apply(backbone, bytes.map_err(|e| e.to_string())?)
}

/// Reads a checkpoint onto a device.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let read = |why: String| CheckpointError::Read { path: path.to_owned(), why };
    let bytes = std::fs::read(path).map_err(|e| read(e.to_string()))?;
    let damaged = |e: safetensors::SafeTensorError| {
        read(format!("it isn't a whole safetensors file ({e}); use another copy of it"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let about = metadata.get("retort").ok_or_else(|| {
        read("its metadata has no entry `retort`: it wasn't written by retort".to_owned())
    })?;
    let about: About = serde_json::from_str(about)
        .map_err(|e| read(format!("its metadata is damaged, or of a newer retort: {e}")))?;
    if about.format != FORMAT {
        let found = about.format;
        return Err(read(format!("it has format {found}, and this retort reads format {FORMAT}")));
    }
    let About { network, image_size, notes, training, .. } = about;

    let mut losses: Vec<BTreeMap<String, TensorData>> = Vec::new();
    let (mut weights, mut of_training) = (Vec::new(), BTreeMap::new());
    for (name, view) in tensors.iter() {
        if let Some(rest) = name.strip_prefix(TRAINING) {
            of_training.insert(rest.to_owned(), data_of(name, &view).map_err(read)?);
            continue;
        }
        let Some((number, rest)) = name.strip_prefix("loss.").and_then(|r| r.split_once('.'))
        else {
            weights.push((name.to_owned(), view));
            continue;
        };
        let number: usize = number.parse().map_err(|_| read(format!("{name} has no number")))?;
        if number > 1000 {
            return Err(read(format!("{name} has number {number}, beyond any run's losses")));
        }
        losses.resize_with(losses.len().max(number + 1), BTreeMap::new);
        losses[number].insert(rest.to_owned(), data_of(name, &view).map_err(read)?);
    }
    let mut backbone = Backbone::new(&network, 0, device)
        .map_err(|source| CheckpointError::Network { path: path.to_owned(), source })?;
    let weights = safetensors::serialize(weights, None).map_err(damaged)?;
    apply(&mut backbone, weights)
        .map_err(|why| CheckpointError::Mismatch { path: path.to_owned(), why })?;
    let training = training.map(|progress| Training { progress, tensors: of_training });
    Ok(Checkpoint { backbone, network, image_size, losses, notes, training })
}

/// A tensor of the file, bit for bit.
fn data_of(name: &str, view: &TensorView) -> Result<TensorData, String> {
    let dtype = match view.dtype() {
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        other => return Err(format!("{name} has type {other:?}")),
    };
    Ok(TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype))
}

/// Loads weights; all of the network's, and no others.
fn apply(backbone: &mut Backbone, weights: Vec<u8>) -> Result<(), String> {
    let mut store = SafetensorsStore::from_bytes(Some(weights))
        .with_from_adapter(PyTorchToBurnAdapter)
        .skip_enum_variants(true)
        .validate(false)
        .allow_partial(true);
    let result = store.apply_to(backbone).map_err(|e| e.to_string())?;
    let list = |what: &str, names: Vec<String>| match names.len() {
        0 => None,
        n => {
            let first = names.into_iter().take(10).collect::<Vec<_>>().join(", ");
            Some(format!("{n} {what} ({first}{})", if n > 10 { ", …" } else { "" }))
        }
    };
    let problems = [
        list("missing", result.missing.into_iter().map(|(name, _)| name).collect()),
        list("unexpected", result.unused),
        list("wrong", result.errors.into_iter().map(|e| e.to_string()).collect()),
    ];
    match problems.into_iter().flatten().collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        some => Err(some.join("; ")),
    }
}
