//! An experiment file: data, network, losses and recipe of one training, as TOML.

pub mod bounds;
pub mod measurable;
pub mod older;
pub mod reference;
pub mod settings;

use crate::experiment::settings::{assignment, suggest};
use crate::failure::{Failure, Result};
use retort_core::Limits;
use retort_core::backbone::NetworkConfig;
use retort_core::checkpoint::{OpenOptions, Selection};
use retort_core::fs::read_text;
use retort_core::{Recipe, Setting, settings};
use retort_datasets as datasets;
use retort_datasets::part::Values;
use retort_sdk::schema::RESERVED;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

settings! {
    /// Everything that determines a training.
    #[serde(deny_unknown_fields)]
    pub struct Experiment {
        /// Seed of the network's first values, batches, augmentation, and the losses' draws.
        seed: u64 = 0,
        /// Run folder of the source network, or its checkpoint, of any origin; none trains without transfer.
        source: Option<PathBuf> = None,
        /// Whether the source's embeddings have unit length; none takes it as it was trained.
        source_norm: Option<bool> = None,
        /// Further devices that share each batch's work, such as `gpu:1`. Batch norms that aren't frozen
        /// see a device's part of the batch; losses see all of it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        also_on: Vec<String> = Vec::new(),
        /// The source's network, where the checkpoint's keys don't tell.
        source_model: Option<String> = None,
        /// Weights to start from, such as ImageNet's: a checkpoint of any origin, of the same network; none
        /// starts afresh.
        pretrained: Option<PathBuf> = None,
        /// K of Recall@K.
        recall_at: Vec<usize> = vec![1, 2, 4, 8],
        /// On which classes the best epoch is chosen.
        select_on: SelectOn = SelectOn::Test,
        /// Which of the source's keys are its network's.
        #[serde(skip_serializing_if = "Keys::is_empty")]
        source_keys: Keys = Keys::default(),
        /// Which keys of `pretrained` are the network's.
        #[serde(skip_serializing_if = "Keys::is_empty")]
        pretrained_keys: Keys = Keys::default(),
        /// Pictures.
        data: Data = Data::default(),
        /// The network to train.
        network: NetworkConfig = NetworkConfig::default(),
        /// How to train it.
        train: Recipe = Recipe::default(),
        /// The losses, summed with their weights.
        loss: Vec<LossConfig> = Vec::new(),
        /// What a step of a loss may use.
        limits: Limits = Limits::default(),
    }
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

settings! {
    /// A data set.
    pub struct Data {
        /// The data set.
        name: String = "glyphs".to_owned(),
        /// Folder with the data set's files.
        root: Option<PathBuf> = None,
        /// Width and height of a network's input in pixels; 0 takes the data set's usual size.
        size: usize = 0,
        /// Share of the training classes that is held out for `select_on = "validation"`: the last ones.
        validation_classes: f64 = 0.0,
        /// What to do about class folders without a picture.
        #[serde(skip_serializing_if = "OnCorrupt::is_error")]
        on_empty_class: OnCorrupt = OnCorrupt::Error,
        /// Memory for decoded pictures, such as `8GiB`; none keeps none.
        #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "word")]
        cache: Option<String> = None,
        /// What to do about pictures that can't be read.
        on_corrupt: OnCorrupt = OnCorrupt::Error,
        /// Decode large JPEGs at 1/2, 1/4 or 1/8 of their size where a crop stays larger than the network's
        /// input: faster, with pixels that are a few grey levels off.
        scaled_decoding: bool = false,
        /// The data set's own options.
        #[serde(flatten)]
        own: Values = Values::new(),
    }
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
        crate::terminal::output::say_once(text);
        Ok(opened)
    }

    /// Opens a split, whether its pictures are there or not.
    pub fn open_as_listed(&self, split: datasets::Split) -> Result<Pictures> {
        let opened: Pictures = datasets::open(&self.name, split, &self.options()?)?.into();
        opened.remarks().into_iter().for_each(crate::terminal::output::say_once);
        Ok(opened)
    }

    /// What there is to open.
    pub fn splits(&self) -> Result<Vec<datasets::Split>> {
        Ok(datasets::splits(&self.name, &self.options()?)?)
    }

    fn options(&self) -> Result<datasets::Options> {
        crate::experiment::bounds::data(self)?;
        Ok(datasets::Options {
            root: self.root.clone(),
            size: self.size()?,
            skip_empty: self.on_empty_class == OnCorrupt::Skip,
            cache: self.cache.as_deref().map_or(Ok(0), bytes)?,
            skip_corrupt: self.on_corrupt == OnCorrupt::Skip,
            scaled_decoding: self.scaled_decoding,
            own: self.own.clone(),
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

    /// Puts in the defaults of the data set's own options; refuses those that it doesn't have.
    pub fn resolve(&mut self) -> Result<()> {
        let resolved = self.entry()?.resolve(&self.own);
        self.own = resolved.map_err(|why| foreign("data", &why, Data::SETTINGS))?;
        Ok(())
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
        crate::terminal::output::say(format_args!(
            "{n} pictures were left out (on_corrupt = \"skip\"); the first: {}",
            crate::terminal::clean::line(first)
        ));
    }
    all.len()
}

/// Says which pictures were read in spite of damage; returns how many.
pub fn damaged(splits: &[&std::sync::Arc<dyn datasets::Dataset>]) -> usize {
    let all: Vec<String> = splits.iter().flat_map(|data| data.damaged()).collect();
    if let Some(first) = all.first() {
        let n = all.len();
        crate::terminal::output::say(format_args!(
            "{n} pictures are damaged and were read as far as they can be, as libjpeg does; the first: {}",
            crate::terminal::clean::line(first)
        ));
    }
    all.len()
}

/// The data set's memory for pictures.
fn bytes(text: &str) -> Result<u64> {
    crate::experiment::settings::bytes(text)
        .map_err(|why| Failure::usage(format!("cache = {text}: {why}")))
}

impl From<datasets::DataError> for Failure {
    fn from(e: datasets::DataError) -> Self {
        let usage = matches!(e, datasets::DataError::Unknown(_));
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

    /// Parses the file of a run, which an older version may have written.
    pub fn of_run(text: &str, path: &Path) -> Result<Self> {
        let tree: Value = toml::from_str(text).map_err(|e| misread(&e, text, path))?;
        let renewed = crate::experiment::older::renewed(tree);
        // An error comes from the text as it is, where its line is known.
        serde_json::from_value(renewed).or_else(|_| Self::parse(text, path))
    }

    fn with(self, text: &str) -> Result<Self> {
        let (key, value) = assignment(text)?;
        let first = key.split('.').next().unwrap_or_default();
        let known = Self::SETTINGS.iter().any(|setting| setting.key == first);
        let path = match (known, self.loss.len()) {
            (true, _) => key.clone(),
            (false, 0) => {
                return Err(Failure::usage(format!(
                    "--set {key}: there is no such key, and no loss whose hyperparameter it could be"
                )));
            }
            (false, n) => format!("loss.{}.{key}", n - 1),
        };
        self.set([(path, format!("--set {key}"), value)])
    }

    /// The experiment with values at these paths, such as `train.lr`. What set each stands in the message if
    /// it can't be there.
    pub fn set(self, values: impl IntoIterator<Item = (String, String, Value)>) -> Result<Self> {
        let mut tree = serde_json::to_value(&self).map_err(Failure::new)?;
        let mut experiment = self;
        for (path, flag, value) in values {
            *place(&mut tree, &path).map_err(|e| Failure::usage(format!("{flag}: {e}")))? = value;
            experiment = serde_json::from_value(tree.clone()).map_err(|e| {
                match crate::experiment::bounds::check(&experiment) {
                    // JSON has no NaN: the number that isn't one was there before.
                    Err(failure) if e.to_string().contains("null") => failure,
                    _ => Failure::usage(format!("{flag}: {}", suggest(&e.to_string()))),
                }
            })?;
        }
        Ok(experiment)
    }

    /// Puts in the defaults of the options of all that is named: network, data set, sampler, optimiser …
    pub fn resolve(&mut self) -> Result<()> {
        self.data.resolve()?;
        let resolved = self.network.resolve();
        resolved.map_err(|e| foreign("network", &e.to_string(), NetworkConfig::SETTINGS))?;
        self.train.resolve().map_err(|why| Failure::usage(format!("train: {why}")))
    }
}

/// An option that isn't one, beside the keys that are there whatever is named.
fn foreign(table: &str, why: &str, settings: &[Setting]) -> Failure {
    if !why.contains(" has no option") {
        return Failure::usage(format!("{table}: {why}"));
    }
    let keys = settings.iter().map(|setting| setting.key).filter(|key| *key != "own");
    let keys = keys.collect::<Vec<_>>().join(", ");
    Failure::usage(format!("{table}: {why}. The other keys of {table} are: {keys}"))
}

/// The place of a path in an experiment as JSON.
fn place<'a>(tree: &'a mut Value, path: &str) -> std::result::Result<&'a mut Value, String> {
    let mut parts: Vec<&str> = path.split('.').collect();
    // A loss's other keys are its hyperparameters.
    if parts.len() > 2
        && parts[0] == "loss"
        && !RESERVED.contains(&parts[2])
        && parts[2] != "digest"
    {
        parts.insert(2, "hyper");
    }
    let mut place = tree;
    for part in parts {
        // One that is named alone has options all the same: `optimizer = "sgd"`.
        if let Value::String(name) = place {
            *place = json!({"name": name});
        }
        place = match part.parse::<usize>() {
            Ok(i) if place.is_array() => {
                place.get_mut(i).ok_or_else(|| format!("there is no number {i} in that list"))?
            }
            _ if place.is_object() => &mut place[part],
            _ => return Err(format!("{part} is no key there")),
        };
        if place.is_null() && (part == "hyper" || part.ends_with("_keys")) {
            *place = json!({});
        }
    }
    Ok(place)
}
