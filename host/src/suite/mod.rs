//! A suite: methods × data sets × settings × seeds in one TOML file, each a normal run.
//!
//! Every part of the file is an overlay: keys of an experiment file that go over those before it.
//! A target's experiment is `base`, the data set, `target`, the data set's `target`, the setting
//! and the method, in this order; a source's is `base`, the data set, `source`, and the `source`
//! of the data set and of the setting.

pub mod builtin;
pub mod plan;
pub mod result;
pub mod slurm;
pub mod sweep;
pub mod table;
pub mod work;

use crate::experiment::bounds;
use crate::experiment::settings::suggest;
use crate::experiment::{Experiment, misread};
use crate::failure::{Failure, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use sweep::Sweep;

/// Most trainings of a suite.
const MOST: usize = 100_000;

/// Keys of an experiment file.
pub type Overlay = Map<String, Value>;

/// A suite file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What the tables are called.
    #[serde(default)]
    pub title: String,
    /// A paragraph for the report.
    #[serde(default)]
    pub about: String,
    /// Each training is repeated with each.
    pub seeds: Vec<u64>,
    /// Goes under everything.
    #[serde(default)]
    pub base: Overlay,
    /// How sources are trained; or `checkpoint`, one that is given.
    #[serde(default)]
    pub source: Overlay,
    /// Goes under every target.
    #[serde(default)]
    pub target: Overlay,
    /// Data sets: groups of columns.
    pub dataset: Vec<Dataset>,
    /// Settings, such as sizes of the target: a table each.
    #[serde(default)]
    pub setting: Vec<Setting>,
    /// Methods: rows.
    pub method: Vec<Method>,
    /// Numbers of the paper.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// A data set of a suite.
#[derive(Clone, Debug, Deserialize)]
pub struct Dataset {
    /// The data set's name, unless the overlay names it.
    pub name: String,
    /// Its name in tables.
    #[serde(default)]
    pub label: String,
    /// Over the suite's `source`.
    #[serde(default)]
    pub source: Overlay,
    /// Over the suite's `target`.
    #[serde(default)]
    pub target: Overlay,
    /// Over the base.
    #[serde(flatten)]
    pub overlay: Overlay,
}

/// A setting of a suite.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Setting {
    /// Its name in tables.
    pub name: String,
    /// Over the suite's and the data set's `source`.
    #[serde(default)]
    pub source: Overlay,
    /// Over the targets.
    #[serde(flatten)]
    pub overlay: Overlay,
}

/// A method of a suite.
#[derive(Clone, Debug, Deserialize)]
pub struct Method {
    /// Its name in tables.
    pub name: String,
    /// Whether it learns from a source.
    #[serde(default = "yes")]
    pub transfer: bool,
    /// Every combination of these values is tried.
    #[serde(default)]
    pub grid: Overlay,
    /// Values are drawn from these ranges; `trials` and `seed` say how often, and from where.
    #[serde(default)]
    pub random: Overlay,
    /// Over everything.
    #[serde(flatten)]
    pub overlay: Overlay,
}

/// Published numbers of one row of one table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Name of the setting; none where there is one.
    #[serde(default)]
    pub setting: String,
    /// Name of the method; `source` for the source.
    pub method: String,
    /// Recall@K in %, in the order of the data set's K, by data set's name.
    pub recall: BTreeMap<String, Vec<f64>>,
}

fn yes() -> bool {
    true
}

/// One training that a suite asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Number of the data set.
    pub dataset: usize,
    /// Number of the setting.
    pub setting: usize,
    /// Number of the method.
    pub method: usize,
    /// Values of the sweep, by key; empty without one.
    pub trial: Map<String, Value>,
    /// Trials that the method asks for; there may be fewer different ones.
    pub asked: usize,
    /// Seed.
    pub seed: u64,
    /// What to train, without its source.
    pub experiment: Experiment,
}

/// How a source comes about.
#[derive(Clone, Debug)]
pub enum Source {
    /// It is there.
    Given(PathBuf),
    /// It is trained.
    Trained(Box<Experiment>),
}

/// What the command line says over the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Over {
    /// Folders with data, by data set; an empty name is for all that need one.
    pub roots: BTreeMap<String, PathBuf>,
    /// Assignments to every experiment.
    pub set: Vec<String>,
    /// Seeds in place of the file's.
    pub seeds: Vec<u64>,
    /// Only these methods.
    pub only: Vec<String>,
    /// Losses that are methods beside the file's: what each is called, and whether it learns from a source.
    #[serde(default)]
    pub losses: Vec<(String, bool)>,
}

impl Suite {
    /// Parses a suite file. `path` names it in messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut suite: Suite = toml::from_str(text).map_err(|e| misread(&e, text, path))?;
        if suite.title.is_empty() {
            let stem = path.file_stem().unwrap_or_default();
            suite.title = stem.to_string_lossy().into_owned();
        }
        if suite.setting.is_empty() {
            suite.setting.push(Setting::default());
        }
        for dataset in &mut suite.dataset {
            if dataset.label.is_empty() {
                dataset.label.clone_from(&dataset.name);
            }
        }
        suite.check().map_err(|why| Failure::usage(format!("{}: {why}", path.display())))?;
        Ok(suite)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let lists = [("seeds", self.seeds.is_empty()), ("[[dataset]]", self.dataset.is_empty())];
        for (key, empty) in lists.into_iter().chain([("[[method]]", self.method.is_empty())]) {
            if empty {
                return Err(format!("a suite needs at least one entry in {key}"));
            }
        }
        twice("seeds", self.seeds.iter().map(u64::to_string))?;
        twice("[[dataset]] name", self.dataset.iter().map(|d| d.name.clone()))?;
        twice("[[setting]] name", self.setting.iter().map(|s| s.name.clone()))?;
        twice("[[method]] name", self.method.iter().map(|m| m.name.clone()))?;
        for published in &self.published {
            let settings: Vec<&str> = self.setting.iter().map(|s| s.name.as_str()).collect();
            let mut methods: Vec<&str> = self.method.iter().map(|m| m.name.as_str()).collect();
            methods.push("source");
            let datasets: Vec<&str> = self.dataset.iter().map(|d| d.name.as_str()).collect();
            known("[[published]] setting", &published.setting, &settings)?;
            known("[[published]] method", &published.method, &methods)?;
            for name in published.recall.keys() {
                known("[[published]] recall", name, &datasets)?;
            }
        }
        Ok(())
    }

    /// Takes what the command line says over the file.
    pub fn narrow(&mut self, over: &Over) -> Result<()> {
        for (loss, transfer) in &over.losses {
            self.add(loss, *transfer)?;
        }
        if !over.seeds.is_empty() {
            self.seeds.clone_from(&over.seeds);
            twice("--seeds", self.seeds.iter().map(u64::to_string)).map_err(Failure::usage)?;
        }
        if !over.only.is_empty() {
            let names: Vec<&str> = self.method.iter().map(|m| m.name.as_str()).collect();
            for name in &over.only {
                known("--only", name, &names).map_err(Failure::usage)?;
            }
            self.method.retain(|m| over.only.contains(&m.name));
            self.published.retain(|p| p.method == "source" || over.only.contains(&p.method));
        }
        Ok(())
    }

    /// Adds a method of one loss, a row at the end of the tables: by the loss's own name, or by all of what
    /// it is called where there is a method of that name.
    fn add(&mut self, loss: &str, transfer: bool) -> Result<()> {
        let own = loss.rsplit('#').next().unwrap_or(loss);
        let is_free = |name: &&str| self.method.iter().all(|m| m.name != **name);
        let Some(name) = [own, loss].into_iter().find(is_free) else {
            return Err(Failure::usage(format!(
                "--loss {loss}: the suite has a method of that name already"
            )));
        };
        self.method.push(Method {
            name: name.to_owned(),
            transfer,
            grid: Overlay::new(),
            random: Overlay::new(),
            overlay: Overlay::from_iter([("loss".to_owned(), Value::from(loss))]),
        });
        Ok(())
    }

    /// Every target that the suite asks for, in the order of its tables.
    pub fn wanted(&self, over: &Over, schema: &mut dyn sweep::Schema) -> Result<Vec<Wanted>> {
        let mut all = Vec::new();
        for (s, setting) in self.setting.iter().enumerate() {
            for (m, method) in self.method.iter().enumerate() {
                let place = format!("method {:?}", method.name);
                for (d, dataset) in self.dataset.iter().enumerate() {
                    let overlays = [
                        &self.base,
                        &dataset.overlay,
                        &self.target,
                        &dataset.target,
                        &setting.overlay,
                        &method.overlay,
                    ];
                    let experiment = experiment(&place, dataset, &overlays, over)?;
                    if experiment.loss.is_empty() {
                        return Err(Failure::usage(format!("{place} has no `loss`")));
                    }
                    if experiment.source.is_some() {
                        return Err(Failure::usage(format!(
                            "{place}: `source` isn't a key of a method; the suite's [source] has \
                             `checkpoint`, and `transfer = false` trains without one"
                        )));
                    }
                    let sweep = Sweep::new(method, &experiment, schema)?;
                    for (trial, experiment) in &sweep.trials {
                        if all.len() + self.seeds.len() > MOST {
                            return Err(Failure::usage(format!(
                                "the suite asks for more than {MOST} trainings; take fewer seeds, methods \
                                 or trials"
                            )));
                        }
                        for &seed in &self.seeds {
                            let experiment = Experiment { seed, ..experiment.clone() };
                            all.push(Wanted {
                                dataset: d,
                                setting: s,
                                method: m,
                                trial: trial.clone(),
                                asked: sweep.asked,
                                seed,
                                experiment,
                            });
                        }
                    }
                }
            }
        }
        Ok(all)
    }

    /// The source of a data set in a setting, for a seed.
    pub fn source(&self, dataset: usize, setting: usize, seed: u64, over: &Over) -> Result<Source> {
        let (dataset, setting) = (&self.dataset[dataset], &self.setting[setting]);
        let mut overlay = self.source.clone();
        merge(&mut overlay, &dataset.source);
        merge(&mut overlay, &setting.source);
        if let Some(checkpoint) = overlay.remove("checkpoint") {
            let Some(text) = checkpoint.as_str() else {
                return Err(Failure::usage(format!("[source] checkpoint = {checkpoint}: no path")));
            };
            let text =
                text.replace("{dataset}", &dataset.name).replace("{seed}", &seed.to_string());
            return Ok(Source::Given(PathBuf::from(text)));
        }
        let overlays = [&self.base, &dataset.overlay, &overlay];
        let mut experiment = experiment("[source]", dataset, &overlays, over)?;
        experiment.seed = seed;
        if experiment.loss.is_empty() {
            return Err(Failure::usage(
                "[source] has no `loss` to train one with, and no `checkpoint`; give one of them",
            ));
        }
        Ok(Source::Trained(Box::new(experiment)))
    }

    /// The published Recall@K in % of a row.
    pub fn published(&self, setting: usize, method: &str, dataset: usize) -> Option<&[f64]> {
        let (setting, dataset) = (&self.setting[setting].name, &self.dataset[dataset].name);
        let row = self.published.iter().find(|p| p.setting == *setting && p.method == method)?;
        row.recall.get(dataset).map(Vec::as_slice)
    }
}

/// Puts an overlay's keys over others; tables are merged, everything else replaced.
fn merge(under: &mut Overlay, over: &Overlay) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Object(under)), Value::Object(over)) => merge(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

fn experiment(
    place: &str,
    dataset: &Dataset,
    overlays: &[&Overlay],
    over: &Over,
) -> Result<Experiment> {
    let mut tree = Overlay::new();
    for overlay in overlays {
        merge(&mut tree, overlay);
    }
    // `loss = "rkd"` and one table are short for a list.
    if let Some(loss) = tree.get_mut("loss") {
        *loss = match loss.take() {
            Value::String(name) => serde_json::json!([{ "name": name }]),
            Value::Object(one) => Value::Array(vec![Value::Object(one)]),
            list => list,
        };
    }
    let data = tree.entry("data").or_insert_with(|| Value::Object(Overlay::new()));
    if let Some(data) = data.as_object_mut() {
        data.entry("name").or_insert_with(|| Value::from(dataset.name.clone()));
    }
    let experiment: Experiment = serde_json::from_value(Value::Object(tree))
        .map_err(|e| Failure::usage(format!("{place}: {}", suggest(&e.to_string()))))?;
    let mut experiment = Experiment::read(None, experiment, &over.set)?;
    bounds::check(&experiment).map_err(|e| Failure::usage(format!("{place}: {}", e.message)))?;
    if experiment.data.root.is_none() && experiment.data.entry()?.needs_root {
        let root = over.roots.get(&dataset.name).or_else(|| over.roots.get(""));
        experiment.data.root = root.map(|root| {
            let own = root.join(&dataset.name);
            if over.roots.contains_key(&dataset.name) || !own.is_dir() { root.clone() } else { own }
        });
    }
    Ok(experiment)
}

fn twice(what: &str, names: impl Iterator<Item = String>) -> std::result::Result<(), String> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            return Err(format!("{what}: {name:?} is there twice"));
        }
    }
    Ok(())
}

fn known(what: &str, name: &str, names: &[&str]) -> std::result::Result<(), String> {
    if names.contains(&name) {
        return Ok(());
    }
    let near = retort_sdk::schema::nearest(name, names);
    let near = near.map(|n| format!(" did you mean {n:?}?")).unwrap_or_default();
    Err(format!("{what}: there is no {name:?};{near} There are: {}", names.join(", ")))
}
