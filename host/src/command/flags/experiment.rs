//! Flags that set keys of an experiment: made of the declarations of its tables, so that a setting's doc,
//! default and flag come from one place. And the relaxed losses' authors' flags that are no settings here.

use crate::experiment::reference::{self, Preset};
use crate::experiment::{Data, Experiment};
use crate::failure::{Failure, Result};
use crate::terminal::{clean, output};
use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use retort_core::backbone::{Entry, NetworkConfig, networks};
use retort_core::optimizer::OPTIMIZERS;
use retort_core::schedule::SCHEDULES;
use retort_core::{Recipe, Setting};
use retort_datasets::part::Part;
use retort_datasets::{AUGMENTATIONS, SAMPLERS};
use retort_sdk::schema::Field;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::LazyLock;

/// A key of an experiment that has another name on the command line, or isn't in the table `train`, whose keys
/// are flags as they are.
struct Named {
    key: &'static str,
    flag: &'static str,
    /// What the authors call it.
    alias: Option<&'static str>,
}

const fn named(key: &'static str, flag: &'static str, alias: Option<&'static str>) -> Named {
    Named { key, flag, alias }
}

/// Of every training.
const NAMED: &[Named] = &[
    named("data.name", "dataset", None),
    named("data.root", "data-root", Some("DATA_DIR")),
    named("data.cache", "cache", None),
    named("pretrained", "pretrained", None),
    named("pretrained_keys.prefix", "pretrained-prefix", None),
    named("pretrained_keys.ignore", "pretrained-ignore", None),
    named("pretrained_keys.map", "pretrained-map", None),
    named("pretrained_keys.allow_missing", "pretrained-allow-missing", None),
    named("network.name", "model", None),
    named("network.embedding", "embedding", Some("embedding-size")),
    named("network.width", "width", None),
    named("network.l2_norm", "l2-norm", Some("target-norm")),
    named("network.frozen_batch_norm", "bn-freeze", Some("frozen-batch-norm")),
    named("seed", "seed", None),
    named("select_on", "select-on", None),
    named("also_on", "also-on", None),
    named("train.batch", "batch", Some("batch-size")),
    named("train.images_per_class", "images-per-class", Some("IPC")),
    named("train.views", "views", Some("view")),
    named("train.new_only_epochs", "warm", Some("new-only-epochs")),
    named("train.optimizer.epsilon", "epsilon", None),
    named("train.schedule.every", "lr-decay-step", None),
    named("train.schedule.gamma", "lr-decay-gamma", None),
];

/// Of a target's training.
const OF_SOURCE: &[Named] = &[
    named("source", "source", Some("source-ckpt")),
    named("source_model", "source-model", None),
    named("source_norm", "source-norm", None),
    named("source_keys.prefix", "source-prefix", None),
    named("source_keys.ignore", "source-ignore", None),
    named("source_keys.map", "source-map", None),
];

/// What of it is told otherwise than by its type.
const DOCS: &[(&str, &str)] = &[
    (
        "source_norm",
        "Whether the source's embeddings have unit length [default: as it was trained]",
    ),
    (
        "source_keys.prefix",
        "What stands before the source's keys, such as 'student.' [default: found]",
    ),
    (
        "source_keys.ignore",
        "Keys of the source to leave out, such as 'projector.*'; may be given several times",
    ),
    (
        "source_keys.map",
        "Another name for a layer of the source, such as 'head=embedding'; may be given several times",
    ),
    (
        "pretrained_keys.prefix",
        "What stands before the network's keys in --pretrained, such as 'student.' [default: found]",
    ),
    (
        "pretrained_keys.ignore",
        "Keys of --pretrained to leave out, such as 'projector.*'; may be given several times",
    ),
    (
        "pretrained_keys.map",
        "Another name for a layer of --pretrained, such as 'head=embedding'; may be given several times",
    ),
    (
        "pretrained_keys.allow_missing",
        "Keys that --pretrained may lack [default: 'embedding.*', if it has no layer like that]",
    ),
    (
        "select_on",
        "On which classes the best epoch is chosen; evaluates every epoch, if nothing else is set",
    ),
    (
        "train.patience",
        "End after this many evaluations without a better Recall; evaluates every epoch, if nothing else is set",
    ),
];

/// How a flag's value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A whole number.
    Count,
    /// A number.
    Number,
    /// 1 and 0, true and false.
    Switch,
    /// A switch that has no value.
    On,
    /// A word.
    Word,
    /// Words, by several flags or between commas.
    Words,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A folder that is there.
    Folder,
    /// A path.
    Path,
}

/// A flag with the key that it sets.
struct Flag {
    key: String,
    name: String,
    alias: Option<&'static str>,
    kind: Kind,
    doc: String,
}

/// A default experiment with all options, as JSON.
fn resolved(mut experiment: Experiment) -> Value {
    // A preset's own settings can be resolved.
    let _ = experiment.resolve();
    json!(experiment)
}

/// The value of a key.
fn at<'a>(tree: &'a Value, key: &str) -> &'a Value {
    key.split('.').fold(tree, |tree, part| &tree[part])
}

/// The declaration of a part's option.
fn option(fields: Vec<Field>, key: &str) -> Option<Field> {
    fields.into_iter().find(|field| field.name == key)
}

/// What a key's declaration says.
fn doc(key: &str) -> String {
    if let Some((_, doc)) = DOCS.iter().find(|(known, _)| *known == key) {
        return (*doc).to_owned();
    }
    let (table, rest) = key.split_once('.').unwrap_or(("", key));
    let settings = match table {
        "data" => Data::SETTINGS,
        "network" => NetworkConfig::SETTINGS,
        "train" => Recipe::SETTINGS,
        _ => Experiment::SETTINGS,
    };
    if let Some(setting) = settings.iter().find(|setting| setting.key == rest) {
        let line = setting.line();
        let names =
            |names: Vec<&str>| format!("{}: {}", line.trim_end_matches('.'), names.join(", "));
        return match key {
            "train.optimizer" => names(of(OPTIMIZERS)),
            "train.schedule" => names(of(SCHEDULES)),
            "train.sampler" => names(of(SAMPLERS)),
            "train.augmentation" => names(of(AUGMENTATIONS)),
            _ => line,
        };
    }
    let (field, of) = declared(key).unwrap_or_else(|| unreachable!("{key} is declared"));
    format!("{}; of the {of}", field.doc.replace('\n', " ").trim_end_matches('.'))
}

/// The declaration of the option that a flag of its own sets, and who has it.
fn declared(key: &str) -> Option<(Field, String)> {
    fn among<M>(kind: &str, parts: &[&'static Part<M>], key: &str) -> Option<(Field, String)> {
        let with = |part: &&'static Part<M>| Some((option((part.options)(), key)?, part.name));
        let with: Vec<(Field, &str)> = parts.iter().filter_map(with).collect();
        let names = with.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        let kind = if with.len() > 1 { format!("{kind}s") } else { kind.to_owned() };
        with.into_iter().next().map(|(field, _)| (field, format!("{kind} {names}")))
    }
    match key.rsplit_once('.')? {
        ("network", key) => {
            let with =
                |n: &Entry| Some((option((n.options)(), key)?, format!("network {}", n.name)));
            networks().find_map(with)
        }
        ("train.optimizer", key) => among("optimiser", OPTIMIZERS, key),
        ("train.schedule", key) => among("schedule", SCHEDULES, key),
        _ => None,
    }
}

fn of<M>(parts: &[&'static Part<M>]) -> Vec<&'static str> {
    parts.iter().map(|part| part.name).collect()
}

/// How a key's value is read, by its default.
fn kind(key: &str, defaults: &Value) -> Kind {
    match (key, at(defaults, key)) {
        ("data.root", _) => Kind::Folder,
        ("source" | "pretrained", _) => Kind::Path,
        ("train.thaw_batch_norm" | "train.detect_anomaly", _) => Kind::On,
        ("select_on", _) => Kind::Choice(&["test", "validation"]),
        ("train.on_undefined", _) => Kind::Choice(&["error", "skip"]),
        ("train.precision", _) => Kind::Choice(&["f32", "f64", "mixed_f16", "mixed_bf16"]),
        ("also_on" | "train.augmentation", _) => Kind::Words,
        ("train.schedule.every", _) => Kind::Count,
        ("train.schedule.gamma", _) => Kind::Number,
        ("source_norm", _) | (_, Value::Bool(_)) => Kind::Switch,
        (_, Value::Number(number)) if number.is_f64() => Kind::Number,
        (_, Value::Number(_)) => Kind::Count,
        (key, _) if key.ends_with("ignore") || key.ends_with("map") || key.ends_with("missing") => {
            Kind::Words
        }
        _ => Kind::Word,
    }
}

fn flag(named: &Named, defaults: &Value) -> Flag {
    Flag {
        key: named.key.to_owned(),
        name: named.flag.to_owned(),
        alias: named.alias,
        kind: kind(named.key, defaults),
        doc: doc(named.key),
    }
}

/// All flags of every training: those that are named, then the table `train`. Made once: every command's
/// start asks for them, argument by argument.
fn flags() -> &'static [Flag] {
    static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(all_flags);
    &FLAGS
}

fn all_flags() -> Vec<Flag> {
    let defaults = resolved(Experiment::default());
    let as_it_is = |setting: &Setting| {
        let key = format!("train.{}", setting.key);
        let new = !NAMED.iter().any(|named| named.key == key);
        new.then(|| Flag {
            name: setting.key.replace('_', "-"),
            alias: None,
            kind: kind(&key, &defaults),
            doc: doc(&key),
            key,
        })
    };
    let named = NAMED.iter().map(|named| flag(named, &defaults));
    named.chain(Recipe::SETTINGS.iter().filter_map(as_it_is)).collect()
}

/// The flags that set keys of a target's source.
fn flags_of_source() -> &'static [Flag] {
    static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
        let defaults = resolved(Experiment::default());
        OF_SOURCE.iter().map(|named| flag(named, &defaults)).collect()
    });
    &FLAGS
}

impl Flag {
    fn id(&self) -> String {
        self.name.replace('-', "_")
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.id()).long(self.name.clone()).visible_aliases(self.alias);
        let arg = arg.help(self.doc.trim_end_matches('.').to_owned());
        let value = |name: &'static str| arg.clone().value_name(name);
        let many = |arg: Arg| arg.action(ArgAction::Append);
        match self.kind {
            Kind::Count => value("N").value_parser(clap::value_parser!(u64)),
            Kind::Number => value("NUMBER").value_parser(clap::value_parser!(f64)),
            Kind::Switch => value("SWITCH").value_parser(BoolishValueParser::new()),
            Kind::On => arg.action(ArgAction::SetTrue),
            Kind::Word if self.name == "cache" => value("BYTES"),
            Kind::Word => value("NAME"),
            Kind::Words if self.name.ends_with("map") => many(value("THEIRS=OURS")),
            Kind::Words if self.name.contains('-') && self.name != "also-on" => {
                many(value("PATTERN"))
            }
            Kind::Words => many(value("NAME")).value_delimiter(','),
            Kind::Choice(words) => value("WORD").value_parser(PossibleValuesParser::new(words)),
            Kind::Folder => value("DIR").value_parser(crate::command::folder_there()),
            Kind::Path => value("RUN|CHECKPOINT").value_parser(clap::value_parser!(PathBuf)),
        }
    }

    /// What was given, as the experiment's file would have it.
    fn value(&self, matches: &ArgMatches) -> std::result::Result<Option<Value>, clap::Error> {
        let id = self.id();
        let text = |path: &PathBuf| {
            path.to_str().map(Value::from).ok_or_else(|| {
                let why = format!(
                    "--{}: {} isn't UTF-8\n",
                    self.name,
                    clean::line(&path.display().to_string())
                );
                clap::Error::raw(ErrorKind::InvalidUtf8, why)
            })
        };
        Ok(match self.kind {
            Kind::Count => matches.get_one::<u64>(&id).map(|x| json!(x)),
            Kind::Number => matches.get_one::<f64>(&id).map(|x| json!(x)),
            Kind::Switch => matches.get_one::<bool>(&id).map(|x| json!(x)),
            Kind::On => matches.get_flag(&id).then_some(Value::Bool(true)),
            Kind::Word | Kind::Choice(_) => matches.get_one::<String>(&id).map(|x| json!(x)),
            Kind::Words => {
                matches.get_many::<String>(&id).map(|all| json!(all.collect::<Vec<_>>()))
            }
            Kind::Folder | Kind::Path => matches.get_one::<PathBuf>(&id).map(text).transpose()?,
        })
    }
}

/// What the flags of an experiment's keys said; of a target's source, too.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Key, flag and value.
    values: Vec<(String, String, Value)>,
}

/// The flags of a training's keys.
#[derive(Clone, Debug, Default)]
pub struct Settings(pub Given);

/// The flags of a source's keys.
#[derive(Clone, Debug, Default)]
pub struct Source(pub Given);

impl Given {
    fn read(flags: &[Flag], matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut values = Vec::new();
        for flag in flags {
            if let Some(value) = flag.value(matches)? {
                values.push((flag.key.clone(), format!("--{}", flag.name), value));
            }
        }
        Ok(Given { values })
    }

    /// What was said of a key.
    pub fn of(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(known, ..)| known == key).map(|(.., value)| value)
    }

    /// What was said of a key, if it is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.of(key).and_then(Value::as_str)
    }

    /// Another name for what was said of a key.
    pub fn rename(&mut self, key: &str, name: impl Fn(&str) -> String) {
        for (known, _, value) in &mut self.values {
            if known == key
                && let Some(text) = value.as_str()
            {
                *value = name(text).into();
            }
        }
    }

    /// Puts all of it into an experiment.
    pub fn apply(&self, experiment: Experiment) -> Result<Experiment> {
        // What is named before its options: `--optimizer` before `--epsilon`.
        let mut values = self.values.clone();
        values.sort_by_key(|(key, ..)| key.matches('.').count());
        // JSON has neither NaN nor infinity.
        if let Some((key, flag, _)) = values.iter().find(|(.., value)| value.is_null()) {
            return Err(Failure::usage(format!("{flag}: {key} must be a finite number")));
        }
        experiment.set(values)
    }
}

/// Flags of clap's builder in place of a struct with a field each.
macro_rules! args {
    ($name:ident, $flags:ident) => {
        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
                Given::read($flags(), matches).map($name)
            }

            fn update_from_arg_matches(
                &mut self,
                matches: &ArgMatches,
            ) -> std::result::Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                command.args($flags().iter().map(Flag::arg))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    };
}
args!(Settings, flags);
args!(Source, flags_of_source);

/// The relaxed losses' authors' flags that set no key.
#[derive(Args, Debug)]
#[command(next_help_heading = "The authors' flags")]
pub struct Authors {
    /// σ of the relaxed losses [default: theirs].
    #[arg(long)]
    pub sigma: Option<f64>,
    /// δ of the relaxed losses [default: theirs].
    #[arg(long)]
    pub delta: Option<f64>,
    /// α of Proxy-Anchor [default: its own].
    #[arg(long)]
    pub alpha: Option<f64>,
    /// Margin of Proxy-Anchor [default: its own].
    #[arg(long, visible_alias = "mrg")]
    pub margin: Option<f64>,
    /// The GPU with this number, -1 for all of them; without a GPU, what --device says.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub gpu_id: Option<i64>,
    /// Folder in which the run's folder is made [default: runs].
    #[arg(long, visible_alias = "LOG_DIR", value_name = "DIR", conflicts_with = "out")]
    pub runs: Option<PathBuf>,
    /// Added to the name of the run's folder.
    #[arg(long, default_value = "", hide_default_value = true, conflicts_with = "out")]
    pub remark: String,
    /// Whether to save the network: a run always does; taken for the authors' command lines.
    #[arg(long, value_name = "SWITCH", value_parser = BoolishValueParser::new())]
    pub save: Option<bool>,
}

impl Authors {
    /// Puts the flags that are hyperparameters into the experiment's losses. One that means nothing to
    /// any is refused, unless the losses were named as the authors do, whose scripts take it.
    pub fn apply_hyper(&self, experiment: &mut Experiment, authors: bool) -> Result<()> {
        let flags = [
            ("sigma", self.sigma),
            ("delta", self.delta),
            ("alpha", self.alpha),
            ("margin", self.margin),
        ];
        for (flag, value) in flags {
            let Some(value) = value else { continue };
            if !reference::set_hyper(&mut experiment.loss, flag, value) {
                let names = experiment.loss.iter().map(|l| l.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                let why = format!("--{flag} means nothing to {names}");
                if !authors {
                    return Err(Failure::usage(format!(
                        "{why}; a loss's own hyperparameters stand after it, as in --loss triplet \
                         --margin 0.2"
                    )));
                }
                output::say(clean::line(&why));
            }
        }
        Ok(())
    }
}

/// Puts the flags of keys into an experiment, with what follows from some.
pub fn apply(given: &Given, mut experiment: Experiment) -> Result<Experiment> {
    let falls = |key: &str| given.of(key).is_some();
    if let Some(flag) = [("every", "step"), ("gamma", "gamma")]
        .into_iter()
        .find_map(|(key, flag)| falls(&format!("train.schedule.{key}")).then_some(flag))
    {
        match given.text("train.schedule") {
            Some(other) if other != "step" => {
                return Err(Failure::usage(format!(
                    "--lr-decay-{flag} means nothing with that --schedule: it is of --schedule step"
                )));
            }
            _ if experiment.train.schedule.name != "step" => {
                experiment.train.schedule = "step".into();
            }
            _ => {}
        }
    }
    let mut experiment = given.apply(experiment)?;
    let counts = ["train.patience", "select_on"].into_iter().any(falls);
    if counts && experiment.train.evaluate_every == 0 {
        experiment.train.evaluate_every = 1;
    }
    if given.text("select_on") == Some("validation") && experiment.data.validation_classes == 0.0 {
        experiment.data.validation_classes = 0.2;
    }
    Ok(experiment)
}

/// What the presets have for a role, small and paper.
fn presets(role: &str) -> &'static [Value; 2] {
    static OF: LazyLock<[[Value; 2]; 2]> = LazyLock::new(|| {
        ["source", "target"].map(|role| {
            [(Preset::Small, "glyphs"), (Preset::Paper, "cub")]
                .map(|(preset, dataset)| resolved(preset.experiment(dataset, role)))
        })
    });
    &OF[usize::from(role != "source")]
}

/// Says in a flag's help what holds without it: the flag has no value then, as a file may have one.
pub fn with_default(arg: Arg, role: &str) -> Arg {
    let [small, paper] = presets(role);
    let (small, paper) = match arg.get_id().as_str() {
        "losses" => (losses(small), losses(paper)),
        id => {
            let Some(flag) = flags().iter().find(|flag| flag.id() == id) else { return arg };
            let shown = |tree: &Value| shown(flag, at(tree, &flag.key));
            // Of what paper has another choice, it has no such option.
            let (Some(small), paper) = (shown(small).or_else(|| shown(paper)), shown(paper)) else {
                return arg;
            };
            let paper = paper.unwrap_or_else(|| small.clone());
            (small, paper)
        }
    };
    let said = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if said.contains("[default") {
        return arg;
    }
    let said = said.trim_end_matches('.');
    let of_paper = if small == paper { String::new() } else { format!("; paper: {paper}") };
    arg.help(format!("{said} [default: {small}{of_paper}]"))
}

fn losses(experiment: &Value) -> String {
    let names = experiment["loss"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(|loss| loss["name"].as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A default as help shows it; none where the key isn't there or says nothing.
fn shown(flag: &Flag, value: &Value) -> Option<String> {
    Some(match value {
        Value::Null if flag.key == "data.cache" => "none".to_owned(),
        Value::Null | Value::Array(_) => return None,
        Value::String(word) => word.clone(),
        Value::Object(part) => part["name"].as_str()?.to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(0.0) if flag.kind == Kind::Number && flag.key != "train.weight_decay" => {
                "none".to_owned()
            }
            Some(0.0) if flag.key == "train.patience" => "none".to_owned(),
            Some(x) if number.is_f64() && x < 0.01 => format!("{x:e}"),
            Some(x) if number.is_f64() => x.to_string(),
            _ => number.to_string(),
        },
        Value::Bool(switch) => switch.to_string(),
    })
}
