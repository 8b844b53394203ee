//! Checkpoints. retort's own are one safetensors file with the network under PyTorch's names, the
//! state of its losses under `loss.<number>.`, what else a training needs to go on under `training.`,
//! and in its metadata what is needed to build the network again. One file, so that no part can be
//! of another step than the rest. [`open`] takes what PyTorch and others wrote, too.

mod file;
mod fit;
mod folder;
mod guess;
pub mod header;
mod kind;
mod position;
mod pytorch;
mod select;

pub use file::{Container, Weights, dtype_name};
pub use folder::{files_of, weights_in};
pub use guess::NoNetwork;
pub use select::Selection;

use crate::backbone::{Backbone, NetworkConfig, NetworkError, find};
use crate::fs::{WriteError, atomic_write, read_regular};
use burn::store::{
    BurnToPyTorchAdapter, ModuleSnapshot as _, ModuleStore as _, PyTorchToBurnAdapter,
    SafetensorsStore,
};
use burn::tensor::{DType, Device, TensorData};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The format's number.
const FORMAT: u32 = 1;

/// What the names of [`Training::tensors`] begin with in the file.
const TRAINING: &str = "training.";

/// Numbers of a network that may start afresh beside a file's: an embedding layer of the most dimensions
/// on the widest network.
const MOST_AFRESH: u64 = 1 << 27;

/// Width and height of the pictures that a network may be said to be for.
const LARGEST_PICTURE: usize = 4096;

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

impl CheckpointError {
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
    let collect = |e: &dyn std::fmt::Display| CheckpointError::Collect(e.to_string());
    let weights = state_dict(backbone)?;
    let mut tensors = Vec::new();
    for (name, data) in &weights {
        tensors.push((name.clone(), view(name, data)?));
    }
    for (number, state) in losses.iter().enumerate() {
        for (name, data) in state {
            tensors.push((format!("loss.{number}.{name}"), view(name, data)?));
        }
    }
    for (name, data) in training.iter().flat_map(|t| &t.tensors) {
        tensors.push((format!("{TRAINING}{name}"), view(name, data)?));
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
    safetensors::serialize(tensors, Some(metadata)).map_err(|e| collect(&e))
}

fn view<'a>(name: &str, data: &'a TensorData) -> Result<TensorView<'a>, CheckpointError> {
    let dtype = match data.dtype() {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        other => return Err(unknown(name, other)),
    };
    let view = TensorView::new(dtype, data.shape().to_vec(), data.as_bytes());
    view.map_err(|e| CheckpointError::Collect(format!("{name}: {e}")))
}

/// A tensor of a type that retort's checkpoints have none of.
fn unknown(name: &str, dtype: impl std::fmt::Debug) -> CheckpointError {
    CheckpointError::Collect(format!("{name} is of the type {dtype:?}, which no checkpoint holds"))
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
            Dtype::F32 => DType::F32,
            Dtype::I64 => DType::I64,
            other => return Err(unknown(name, other)),
        };
        let data = TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
        out.insert(name.to_owned(), data);
    }
    Ok(out)
}

/// Writes the network alone, as plain safetensors with PyTorch's names behind the prefix; the number
/// of tensors.
pub fn export(path: &Path, backbone: &Backbone, prefix: &str) -> Result<usize, CheckpointError> {
    let collect = |e: &dyn std::fmt::Display| CheckpointError::Collect(e.to_string());
    let state = state_dict(backbone)?;
    let mut views = Vec::new();
    for (name, data) in &state {
        views.push((format!("{prefix}{name}"), view(name, data)?));
    }
    // What other libraries look for to know whose layouts these are.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|e| collect(&e))?;
    atomic_write(path, &bytes)?;
    Ok(state.len())
}

/// Sets a network's parameters and running statistics: all of them, and no others. The message lists
/// missing, unexpected and wrong-shaped keys: the first ten and counts.
pub fn load_state_dict(
    backbone: &mut Backbone,
    state: &BTreeMap<String, TensorData>,
) -> Result<(), String> {
    let mut views = Vec::new();
    for (name, data) in state {
        views.push((name.clone(), view(name, data).map_err(|e| e.to_string())?));
    }
    let bytes = safetensors::serialize(views, None);
    apply(backbone, bytes.map_err(|e| e.to_string())?)
}

/// Reads a checkpoint onto a device.
pub fn load(path: &Path, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let read = |why: String| CheckpointError::unreadable(path, &why);
    let bytes = read_regular(path, u64::MAX).map_err(|e| read(e.to_string()))?;
    let damaged = |e: &dyn std::fmt::Display| {
        read(format!("it isn't a whole safetensors file ({e}); use another copy of it"))
    };
    let (_, metadata) = header::read(&bytes).map_err(|e| damaged(&e))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(&e))?;
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let about = metadata.get("retort").ok_or_else(|| {
        read("its metadata has no entry `retort`: it wasn't written by retort".to_owned())
    })?;
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
    // Without weights it takes no memory, however large its metadata say it is.
    let mut backbone = Backbone::blank(&network, device)
        .map_err(|source| CheckpointError::Network { path: path.to_owned(), source })?;
    let weights = safetensors::serialize(weights, None).map_err(|e| damaged(&e))?;
    apply(&mut backbone, weights)
        .map_err(|why| CheckpointError::Mismatch { path: path.to_owned(), why })?;
    let training = training.map(|progress| Training { progress, tensors: of_training });
    Ok(Checkpoint { backbone, network, image_size, losses, notes, training, remarks: Vec::new() })
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
    let unknown = |source| CheckpointError::Network { path: path.to_owned(), source };
    if let Some(name) = &options.model {
        find(name).map_err(unknown)?;
    }
    let weights = Weights::read_as(path, &options.select, options.model.as_deref())?;
    let mismatch = |why: String| CheckpointError::Mismatch { path: path.to_owned(), why };
    let guessed = weights.network();
    if weights.container == Container::Retort {
        drop(weights);
        return own(path, options, device);
    }
    let mut network = match (&options.model, guessed) {
        (_, Err(NoNetwork::Several(all))) => {
            let why = NoNetwork::Several(all);
            return Err(mismatch(format!("{why}; choose one with --prefix")));
        }
        (None, Ok(network)) => network,
        (None, Err(why @ NoNetwork::Unknown)) => {
            let unread = unread(&weights);
            return Err(mismatch(format!("{why}{unread}; name the network with --model")));
        }
        (None, Err(why)) => return Err(mismatch(why.to_string())),
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
fn own(path: &Path, options: &OpenOptions, device: &Device) -> Result<Checkpoint, CheckpointError> {
    let mut checkpoint = load(path, device)?;
    let (has, size) = (&checkpoint.network.name, checkpoint.network.embedding);
    let why = match (&options.model, options.embedding) {
        (Some(name), _) if name != has => format!("it holds {has}, not {name}; leave --model out"),
        (_, Some(n)) if n != size => {
            format!("it embeds in {size} dimensions, not {n}; leave --embedding out")
        }
        _ => String::new(),
    };
    if !why.is_empty() {
        return Err(CheckpointError::Mismatch { path: path.to_owned(), why });
    }
    checkpoint.image_size = options.image_size.unwrap_or(checkpoint.image_size);
    if let Some(l2_norm) = options.l2_norm
        && l2_norm != checkpoint.network.l2_norm
    {
        checkpoint.network.l2_norm = l2_norm;
        let weights = Weights::read(path)?;
        checkpoint.backbone = filled(path, &weights, &checkpoint.network, &[], 0, device)?.0;
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
        if let Some((layer, size)) = alike.into_iter().find(|(_, size)| *size == network.embedding)
        {
            let why = format!(
                "it has no layer called embedding, but {layer} has {size} dimensions as well: \
                 --map '{layer}=embedding' takes it, and --allow-missing 'embedding.*' starts one afresh"
            );
            return Err(CheckpointError::Mismatch { path: path.to_owned(), why });
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

/// Layers that could be the embedding, with their dimensions.
fn layers(weights: &Weights, features: Option<usize>) -> Vec<(String, usize)> {
    let Weights { prefix, tensors, beside, .. } = weights;
    features.map_or_else(Vec::new, |n| select::linear_layers(prefix, tensors, beside, n))
}

/// What has a network's keys, and nobody but its authors' programs can read: the first ten.
fn unread(weights: &Weights) -> String {
    let first = weights.unread.iter().take(10);
    let first = first.map(|(key, what)| format!("{} is {}", fit::shown(key), fit::shown(what)));
    match first.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => none,
        some => format!(", and {some}, which only its authors' programs can read"),
    }
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
    let misfit = match fit::fit(&backbone, &weights.tensors, allow_missing) {
        Err(misfit) => misfit,
        Ok(mut fitting) => {
            let numbers = fitting.afresh;
            let remarks = std::mem::take(&mut fitting.remarks);
            if numbers > MOST_AFRESH {
                let why = format!(
                    "{numbers} numbers of {} would start afresh, and no more than {MOST_AFRESH} may; \
                     name fewer with --allow-missing",
                    network.name
                );
                return Err(CheckpointError::Mismatch { path: path.to_owned(), why });
            }
            if numbers > 0 {
                backbone = Backbone::new(network, seed, device).map_err(unbuilt)?;
            }
            match fit::apply(&mut backbone, fitting) {
                Ok(()) => return Ok((backbone, remarks)),
                Err(misfit) => misfit,
            }
        }
    };
    let fault = misfit.text();
    if !misfit.unreadable.is_empty() {
        let why = format!("{fault}; use another copy of it");
        return Err(CheckpointError::unreadable(path, &why));
    }
    let NetworkConfig { name, embedding, .. } = network;
    let advice = advice(&misfit, network, weights, fit::features(&backbone));
    let why = format!("for {name} with an embedding of {embedding}, {fault}{advice}");
    Err(CheckpointError::Mismatch { path: path.to_owned(), why })
}

/// What would make it fit.
fn advice(
    misfit: &fit::Misfit,
    network: &NetworkConfig,
    weights: &Weights,
    features: Option<usize>,
) -> String {
    let all = |names: &[String]| names.iter().all(|name| name.starts_with("embedding."));
    let of_others: Vec<_> = misfit
        .missing
        .iter()
        .filter_map(|key| Some((key, weights.unread.get(key)?)))
        .take(10)
        .map(|(key, what)| format!("{key} is {}", fit::shown(what)))
        .collect();
    if !of_others.is_empty() {
        return format!(". In it {}, which retort doesn't read", of_others.join(", "));
    }
    match weights.network() {
        Ok(guess) if guess.name != network.name => {
            format!(". Its keys look like {0}: --model {0}", guess.name)
        }
        Ok(guess)
            if !misfit.wrong.is_empty()
                && all(&misfit.wrong)
                && guess.embedding != network.embedding =>
        {
            format!(". It embeds in {0} dimensions: --embedding {0}", guess.embedding)
        }
        Ok(_) if !misfit.missing.is_empty() && all(&misfit.missing) && misfit.wrong.is_empty() => {
            let afresh = "--allow-missing 'embedding.*' starts one afresh";
            let text = match &layers(weights, features)[..] {
                [] => match fit::heads(&weights.tensors) {
                    none if none.is_empty() => {
                        format!(". It has no embedding layer, as classifiers have none: {afresh}")
                    }
                    heads => format!(
                        ". It has no embedding layer that is one linear layer ({heads} aren't): {afresh}"
                    ),
                },
                some => {
                    let shown = |(layer, size): &(String, usize)| {
                        format!(
                            "--map '{}=embedding' takes its layer of {size} outputs",
                            fit::shown(layer)
                        )
                    };
                    let some = some.iter().map(shown).collect::<Vec<_>>().join(", ");
                    format!(". It has no layer called embedding: {some}, and {afresh}")
                }
            };
            text + &ignoring(&misfit.unexpected)
        }
        Ok(_) if !misfit.missing.is_empty() => {
            ". --allow-missing PATTERN starts missing layers afresh".to_owned()
        }
        Ok(_) if !misfit.unexpected.is_empty() && misfit.wrong.is_empty() => {
            let parts: BTreeSet<&str> = misfit.expected.iter().map(|key| first_part(key)).collect();
            if misfit.unexpected.iter().any(|key| parts.contains(first_part(key))) {
                return ". It is a network like this one with more in its layers, which retort doesn't have"
                    .to_owned();
            }
            ignoring(&misfit.unexpected)
        }
        Err(why @ NoNetwork::Unknown) => {
            let why = why.to_string();
            format!(". {}{}{}", why[..1].to_uppercase(), &why[1..], unread(weights))
        }
        Err(why) => {
            let why = why.to_string();
            format!(". {}{}", why[..1].to_uppercase(), &why[1..])
        }
        Ok(_) => String::new(),
    }
}

/// A key up to its first point.
fn first_part(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// How to leave keys out that the network lacks, a layer at a time.
fn ignoring(keys: &[String]) -> String {
    let pattern = |key: &String| match first_part(key) {
        whole if whole == key => format!("--ignore '{}'", fit::shown(whole)),
        layer => format!("--ignore '{}.*'", fit::shown(layer)),
    };
    let flags: BTreeSet<String> = keys.iter().map(pattern).collect();
    if flags.is_empty() {
        return String::new();
    }
    let flags: Vec<String> = flags.into_iter().take(10).collect();
    format!(". {} leaves out what the network lacks", flags.join(" "))
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
            let first =
                names.iter().take(10).map(|name| fit::shown(name)).collect::<Vec<_>>().join(", ");
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
