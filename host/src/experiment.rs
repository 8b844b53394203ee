//! An experiment file: data, network, losses and recipe of one training, as TOML.

use crate::failure::{Failure, Result};
use crate::settings::{assignment, suggest};
use retort_core::Limits;
use retort_core::Recipe;
use retort_core::backbone::NetworkConfig;
use retort_core::checkpoint::{OpenOptions, Selection};
use retort_core::fs::read_text;
use retort_datasets as datasets;
use retort_sdk::schema::RESERVED;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Everything that determines a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Experiment {
    /// Seed of the network's first values, batches, augmentation, and the losses' draws.
    pub seed: u64,
    /// Checkpoint or run folder of the network that teaches; none trains without transfer.
    pub source: Option<PathBuf>,
    /// Whether the source's embeddings have unit length; none takes it as it was trained.
    pub source_norm: Option<bool>,
    /// Further devices that share each batch's work, such as `gpu:1`. Batch norms that aren't frozen
    /// see a device's part of the batch; losses see all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_on: Vec<String>,
    /// The source's network, where the checkpoint's keys don't tell.
    pub source_model: Option<String>,
    /// Weights that the network to train starts from, such as ImageNet's; none starts afresh.
    pub pretrained: Option<PathBuf>,
    /// K of Recall@K.
    pub recall_at: Vec<usize>,
    /// On which classes the best epoch is chosen.
    pub select_on: SelectOn,
    /// Which of the source's keys are its network's.
    #[serde(skip_serializing_if = "Keys::is_empty")]
    pub source_keys: Keys,
    /// Which keys of `pretrained` are the network's.
    #[serde(skip_serializing_if = "Keys::is_empty")]
    pub pretrained_keys: Keys,
    /// Pictures.
    pub data: Data,
    /// The network to train.
    pub network: NetworkConfig,
    /// How to train it.
    pub train: Recipe,
    /// The losses, summed with their weights.
    pub loss: Vec<LossConfig>,
    /// What a step of a loss may use.
    pub limits: Limits,
}

/// On which classes a training is evaluated while it runs, and its best epoch chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SelectOn {
    /// The test classes, as the field's code does; the best epoch's Recall is optimistic then.
    #[default]
    Test,
    /// Classes held out of the training split (`data.validation_classes`); the test classes are
    /// looked at once, at the end.
    Validation,
}

/// Which keys of a checkpoint are the network's, where it doesn't show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// What stands before them, such as `student.`; none finds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Keys to leave out, such as `projector.*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Other names for layers, such as `head=embedding`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub map: Vec<String>,
    /// Keys that the file may lack, such as `embedding.*`: those layers start afresh.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_missing: Vec<String>,
}

impl Keys {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Keys::default()
    }

    /// How to open the checkpoint.
    pub fn options(&self) -> OpenOptions {
        let Keys { prefix, ignore, map, allow_missing } = self.clone();
        OpenOptions {
            select: Selection { prefix, ignore, map },
            allow_missing,
            ..OpenOptions::default()
        }
    }
}

/// A data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Its name.
    pub name: String,
    /// Folder with its files.
    pub root: Option<PathBuf>,
    /// Width and height of a network's input in pixels; 0 takes the data set's usual size.
    pub size: usize,
    /// Seed of generated data.
    pub seed: u64,
    /// Classes of generated data.
    pub classes: Option<usize>,
    /// Pictures of each class of generated data.
    pub images: Option<usize>,
    /// Share of the training classes that is held out for `select_on = "validation"`: the last ones.
    pub validation_classes: f64,
    /// `folder`: which classes train: a part such as 0.5, names separated by commas, or a file with a name a
    /// line, here or in `root`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "word")]
    pub train_classes: Option<String>,
    /// `folder`: a CSV file, here or in `root`, with the columns path, label and perhaps split (train, val,
    /// test, query, gallery), in place of class folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<String>,
    /// What to do about class folders without a picture.
    #[serde(skip_serializing_if = "OnCorrupt::is_error")]
    pub on_empty_class: OnCorrupt,
    /// Memory for decoded pictures, such as `8GiB`; none keeps none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "word")]
    pub cache: Option<String>,
    /// What to do about pictures that can't be read.
    pub on_corrupt: OnCorrupt,
    /// Decode large JPEGs at 1/2, 1/4 or 1/8 of their size where a crop stays larger than the network's
    /// input: faster, with pixels that are a few grey levels off.
    pub scaled_decoding: bool,
}

/// What to do about pictures that can't be read, and classes that have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnCorrupt {
    /// End the run, naming the first.
    #[default]
    Error,
    /// Leave them out, and say which.
    Skip,
}

impl OnCorrupt {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
    fn is_error(&self) -> bool {
        *self == Self::Error
    }
}

/// A loss with its weight and hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Given")]
pub struct LossConfig {
    /// A name, or `FILE#NAME`.
    pub name: String,
    /// Its factor in the sum.
    pub weight: f64,
    /// Factor of the learning rate for its parameters; none takes the recipe's `loss_lr_factor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr_factor: Option<f64>,
    /// SHA-256 of the file that it must come from; a run's configuration names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Hyperparameters that differ from their defaults.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub hyper: Map<String, Value>,
}

/// A loss as files have it: older ones have its hyperparameters beside its name and weight.
#[derive(Deserialize)]
struct Given {
    name: String,
    #[serde(default = "one")]
    weight: f64,
    lr_factor: Option<f64>,
    digest: Option<String>,
    #[serde(default)]
    hyper: Map<String, Value>,
    #[serde(flatten)]
    beside: Map<String, Value>,
}

impl TryFrom<Given> for LossConfig {
    type Error = String;

    fn try_from(given: Given) -> std::result::Result<Self, String> {
        let Given { name, weight, lr_factor, digest, mut hyper, beside } = given;
        for (key, value) in beside {
            if hyper.contains_key(&key) {
                return Err(format!(
                    "{key} of the loss {name} is in its table `hyper`, and beside it"
                ));
            }
            hyper.insert(key, value);
        }
        Ok(LossConfig { name, weight, lr_factor, digest, hyper })
    }
}

/// Keys of an experiment that aren't written while they say nothing.
const UNSAID: [&str; 3] = ["also_on", "source_keys", "pretrained_keys"];

/// The labelled pictures of a split.
pub type Pictures = std::sync::Arc<dyn datasets::Dataset>;

fn one() -> f64 {
    1.0
}

impl LossConfig {
    /// A loss with its default hyperparameters.
    pub fn new(name: &str) -> Self {
        let name = name.to_owned();
        LossConfig { name, weight: 1.0, lr_factor: None, digest: None, hyper: Map::new() }
    }
}

impl Default for Experiment {
    fn default() -> Self {
        Experiment {
            seed: 0,
            source: None,
            source_norm: None,
            also_on: Vec::new(),
            source_model: None,
            pretrained: None,
            recall_at: vec![1, 2, 4, 8],
            select_on: SelectOn::Test,
            source_keys: Keys::default(),
            pretrained_keys: Keys::default(),
            data: Data::default(),
            network: NetworkConfig::default(),
            train: Recipe::default(),
            loss: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        let name = "glyphs".to_owned();
        Data {
            name,
            root: None,
            size: 0,
            seed: 0,
            classes: None,
            images: None,
            validation_classes: 0.0,
            train_classes: None,
            labels: None,
            on_empty_class: OnCorrupt::Error,
            cache: None,
            on_corrupt: OnCorrupt::Error,
            scaled_decoding: false,
        }
    }
}

impl Data {
    /// Opens a split, if all pictures that it lists are there, or those that aren't are to be left out.
    pub fn open(&self, split: datasets::Split) -> Result<Pictures> {
        let opened = self.open_as_listed(split)?;
        let absent = datasets::absent(&*opened);
        let Some(first) = absent.first() else { return Ok(opened) };
        let (n, of, name, split) = (absent.len(), opened.len(), &self.name, split.name());
        let text = format!(
            "{n} of the {of} pictures that {name} lists for its {split} split are absent; the first: {}",
            first.display()
        );
        if self.on_corrupt == OnCorrupt::Error {
            return Err(Failure::new(format!(
                "{text}. Unpack or fetch them again, or leave them out with data.on_corrupt = \"skip\""
            )));
        }
        crate::output::say_once(text);
        Ok(opened)
    }

    /// Opens a split, whether its pictures are there or not.
    pub fn open_as_listed(&self, split: datasets::Split) -> Result<Pictures> {
        let opened: Pictures = datasets::open(&self.name, split, &self.options()?)?.into();
        opened.remarks().into_iter().for_each(crate::output::say_once);
        Ok(opened)
    }

    /// What there is to open.
    pub fn splits(&self) -> Result<Vec<datasets::Split>> {
        Ok(datasets::splits(&self.name, &self.options()?)?)
    }

    fn options(&self) -> Result<datasets::Options> {
        crate::bounds::data(self)?;
        Ok(datasets::Options {
            root: self.root.clone(),
            seed: self.seed,
            size: self.size()?,
            glyph_classes: self.classes,
            glyph_images: self.images,
            train_classes: self.train_classes.clone(),
            labels: self.labels.clone(),
            skip_empty: self.on_empty_class == OnCorrupt::Skip,
            cache: self.cache.as_deref().map_or(Ok(0), bytes)?,
            skip_corrupt: self.on_corrupt == OnCorrupt::Skip,
            scaled_decoding: self.scaled_decoding,
        })
    }

    /// Opens the training split and, if classes are held out of it, those.
    pub fn open_train(&self) -> Result<(Pictures, Option<Pictures>)> {
        let train = self.open(datasets::Split::Train)?;
        if self.validation_classes == 0.0 {
            return Ok((train, None));
        }
        let (train, validation) = datasets::hold_out(&train, self.validation_classes)?;
        Ok((train, Some(validation)))
    }

    /// Width and height of a network's input in pixels.
    pub fn size(&self) -> Result<usize> {
        Ok(if self.size == 0 { self.entry()?.size } else { self.size })
    }

    /// What is known of the data set without opening it.
    pub fn entry(&self) -> Result<&'static datasets::Entry> {
        Ok(datasets::find(&self.name)?)
    }
}

/// Text, which may look like a number.
fn word<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Text(String),
        Number(f64),
    }
    let word = Option::<Word>::deserialize(from)?;
    Ok(word.map(|word| match word {
        Word::Text(text) => text,
        Word::Number(number) => number.to_string(),
    }))
}

/// Says which pictures were left out; returns how many.
pub fn left_out(splits: &[&std::sync::Arc<dyn datasets::Dataset>]) -> usize {
    let all: Vec<String> = splits.iter().flat_map(|data| data.skipped()).collect();
    if let Some(first) = all.first() {
        let n = all.len();
        crate::output::say(format_args!(
            "{n} pictures were left out (on_corrupt = \"skip\"); the first: {}",
            crate::clean::line(first)
        ));
    }
    all.len()
}

/// Says which pictures were read in spite of damage; returns how many.
pub fn damaged(splits: &[&std::sync::Arc<dyn datasets::Dataset>]) -> usize {
    let all: Vec<String> = splits.iter().flat_map(|data| data.damaged()).collect();
    if let Some(first) = all.first() {
        let n = all.len();
        crate::output::say(format_args!(
            "{n} pictures are damaged and were read as far as they can be, as libjpeg does; the first: {}",
            crate::clean::line(first)
        ));
    }
    all.len()
}

/// A number of bytes: `8GiB`, `500 MB`, `1e9`.
fn bytes(text: &str) -> Result<u64> {
    let units = [
        ("KiB", 1_u64 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let text = text.trim();
    let suffix =
        |unit: &str| text.len().checked_sub(unit.len()).and_then(|at| text.split_at_checked(at));
    let split = units.iter().find_map(|(unit, size)| {
        let (number, end) = suffix(unit)?;
        end.eq_ignore_ascii_case(unit).then_some((number, *size))
    });
    let (number, size) = split.unwrap_or((text, 1));
    let number = number.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    let wrong =
        || Failure::usage(format!("cache = {text}: it should be a size such as 8GiB or 500MB"));
    Ok((number.ok_or_else(wrong)? * size as f64) as u64)
}

impl From<datasets::DataError> for Failure {
    fn from(e: datasets::DataError) -> Self {
        let usage = matches!(e, datasets::DataError::UnknownDataset { .. });
        if usage { Failure::usage(e) } else { Failure::new(e) }
    }
}

/// What is wrong with a TOML file, and on which line.
pub fn misread(e: &toml::de::Error, text: &str, path: &Path) -> Failure {
    let before = e.span().and_then(|at| text.get(..at.start)).unwrap_or_default();
    let line = 1 + before.matches('\n').count();
    let why = suggest(&e.message().replace('\n', " "));
    Failure::usage(format!("{}, line {line}: {why}", path.display()))
}

impl Experiment {
    /// Reads an experiment file, or the default one, with `--set` assignments on top.
    ///
    /// `train.epochs=3` and `loss.0.weight=0.5` name keys of the file, `loss.0.sigma=0.5` (short for
    /// `loss.0.hyper.sigma`) a hyperparameter of the first loss; a key that the file's top level doesn't
    /// have is one of the last loss.
    pub fn read(file: Option<&Path>, base: Experiment, set: &[String]) -> Result<Self> {
        let mut experiment = match file {
            None => base,
            Some(path) => {
                let text = read_text(path, 16 << 20)
                    .map_err(|e| Failure::file("read the experiment", path, e))?;
                Self::parse(&text, path)?
            }
        };
        for text in set {
            experiment = experiment.with(text)?;
        }
        Ok(experiment)
    }

    /// Parses an experiment file. `path` names it in messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|e| misread(&e, text, path))
    }

    fn with(self, text: &str) -> Result<Self> {
        let (key, value) = assignment(text)?;
        let mut tree = serde_json::to_value(&self).map_err(Failure::new)?;
        let first = key.split('.').next().unwrap_or_default();
        let known =
            tree.as_object().is_some_and(|o| o.contains_key(first)) || UNSAID.contains(&first);
        let path = match (known, self.loss.len()) {
            (true, _) => key.clone(),
            (false, 0) => {
                return Err(Failure::usage(format!(
                    "--set {key}: there is no such key, and no loss whose hyperparameter it could be"
                )));
            }
            (false, n) => format!("loss.{}.{key}", n - 1),
        };
        let mut parts: Vec<&str> = path.split('.').collect();
        // A loss's other keys are its hyperparameters.
        if parts.len() > 2
            && parts[0] == "loss"
            && !RESERVED.contains(&parts[2])
            && parts[2] != "digest"
        {
            parts.insert(2, "hyper");
        }
        let mut place = &mut tree;
        for part in parts {
            place = match part.parse::<usize>() {
                Ok(i) if place.is_array() => place.get_mut(i).ok_or_else(|| {
                    Failure::usage(format!("--set {key}: there is no number {i} in that list"))
                })?,
                _ if place.is_object() => &mut place[part],
                _ => return Err(Failure::usage(format!("--set {key}: {part} is no key there"))),
            };
            if place.is_null() && (part == "hyper" || part.ends_with("_keys")) {
                *place = json!({});
            }
        }
        *place = value;
        serde_json::from_value(tree).map_err(|e| match crate::bounds::check(&self) {
            // JSON has no NaN: the number that isn't one was there before.
            Err(failure) if e.to_string().contains("null") => failure,
            _ => Failure::usage(format!("--set {key}: {}", suggest(&e.to_string()))),
        })
    }
}
