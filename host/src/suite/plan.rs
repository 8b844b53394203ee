//! What there is to do: jobs, named by a digest of everything that decides their numbers.

use super::{Source, Suite, Wanted, sweep::Schema};
use crate::experiment::{Experiment, LossConfig};
use crate::failure::{Failure, Result};
use crate::plugin::digest;
use crate::plugin::registry::{Registry, parts, short_name};
use crate::run::folder::CHECKPOINT;
use crate::run::outcome::Outcome;
use crate::suite::Over;
use retort_core::checkpoint;
use retort_core::fs::atomic_write;
use retort_core::trainer::checkpoint_in;
use retort_sdk::schema::Definition;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder of a suite.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// A job's experiment file.
    pub fn config(&self, id: &str) -> PathBuf {
        self.0.join("jobs").join(format!("{id}.toml"))
    }

    /// A job's run folder.
    pub fn run(&self, id: &str) -> PathBuf {
        self.0.join("runs").join(id)
    }

    /// What a job said.
    pub fn log(&self, id: &str) -> PathBuf {
        self.0.join("logs").join(format!("{id}.log"))
    }

    /// Makes it.
    pub fn make(&self) -> Result<()> {
        for name in ["jobs", "runs", "logs"] {
            let dir = self.0.join(name);
            std::fs::create_dir_all(&dir).map_err(|e| Failure::file("make the folder", &dir, e))?;
        }
        Ok(())
    }

    /// The summary of a job that has come to its end.
    pub fn summary(&self, id: &str) -> Option<Outcome> {
        let run = self.run(id);
        let whole = |outcome: &Outcome| !outcome.interrupted && outcome.recall.is_some();
        let outcome = Outcome::find(&run).filter(whole)?;
        run.join(CHECKPOINT).is_file().then_some(outcome)
    }

    /// Writes a file of it.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        atomic_write(&self.0.join(name), text.as_bytes()).map_err(Failure::new)
    }
}

/// One training.
#[derive(Clone, Debug)]
pub struct Job {
    /// Readable, and ends in the digest's first digits: the names of its file and folder.
    pub id: String,
    /// For people.
    pub label: String,
    /// What `retort train` does.
    pub role: &'static str,
    /// What to train; its paths are absolute.
    pub experiment: Experiment,
}

/// A target of the suite with its job; none if its source isn't there yet.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What the suite asks for.
    pub wanted: Wanted,
    /// For people.
    pub label: String,
    /// Where it comes from.
    pub source: Option<PathBuf>,
    /// Its own job.
    pub job: Option<Job>,
}

/// Plans a suite.
#[derive(Debug)]
pub struct Planner {
    registry: Registry,
    folder: Folder,
    digests: BTreeMap<PathBuf, String>,
}

impl Schema for Registry {
    fn definition(&mut self, loss: &LossConfig) -> Result<Definition> {
        Ok(self.find(&loss.name)?.definition)
    }
}

impl Planner {
    /// A planner for this folder.
    pub fn new(registry: Registry, folder: Folder) -> Self {
        Planner { registry, folder, digests: BTreeMap::new() }
    }

    /// The sources to train, each once, and the targets, as far as their sources are there.
    pub fn plan(&mut self, suite: &Suite, over: &Over) -> Result<(Vec<Job>, Vec<Planned>)> {
        let mut sources: Vec<Job> = Vec::new();
        let mut targets = Vec::new();
        for wanted in suite.wanted(over, &mut self.registry)? {
            let method = &suite.method[wanted.method];
            let (mut source, mut source_job) = (None, None);
            if method.transfer {
                match suite.source(wanted.dataset, wanted.setting, wanted.seed, over)? {
                    Source::Given(path) => source = Some(absolute(&path)?),
                    Source::Trained(experiment) => {
                        let dataset = &suite.dataset[wanted.dataset];
                        let label = format!("source on {}, seed {}", dataset.label, wanted.seed);
                        let name = format!("source-{}-s{}", slug(&dataset.name), wanted.seed);
                        let job = self.job("source", &name, &label, *experiment, None)?;
                        source = Some(self.folder.run(&job.id));
                        source_job = Some(job.id.clone());
                        if !sources.iter().any(|known| known.id == job.id) {
                            sources.push(job);
                        }
                    }
                }
            }
            let there = match (&source, &source_job) {
                (_, Some(id)) => self.folder.summary(id).is_some(),
                (Some(path), None) if !checkpoint_in(path).is_file() => {
                    let why = "there is no such checkpoint or run folder";
                    return Err(Failure::file("use the source", path, why));
                }
                _ => true,
            };
            let (name, label) = names(suite, &wanted);
            let mut experiment = wanted.experiment.clone();
            let job = if there {
                Some(self.job("target", &name, &label, experiment, source.as_deref())?)
            } else {
                self.losses(&mut experiment)?; // wrong ones are told before anything is trained
                None
            };
            targets.push(Planned { wanted, label, source, job });
        }
        Ok((sources, targets))
    }

    fn job(
        &mut self,
        role: &'static str,
        name: &str,
        label: &str,
        mut experiment: Experiment,
        source: Option<&Path>,
    ) -> Result<Job> {
        if let Some(root) = &experiment.data.root {
            experiment.data.root = Some(absolute(root)?);
        }
        let pretrained = match &experiment.pretrained {
            None => None,
            Some(path) => {
                let path = absolute(path)?;
                let digest = self.checkpoint_digest(&path)?;
                experiment.pretrained = Some(path);
                Some(digest)
            }
        };
        let plugins = self.losses(&mut experiment)?;
        let mut tree = serde_json::to_value(&experiment).map_err(Failure::new)?;
        // Where things lie, and what only saves time or space, decides nothing.
        let indifferent: [&[&str]; 9] = [
            &["source"],
            &["pretrained"],
            &["limits"],
            &["data", "root"],
            &["data", "cache"],
            &["train", "workers"],
            &["train", "checkpoint_steps"],
            &["train", "checkpoint_every"],
            &["train", "keep"],
        ];
        for path in indifferent {
            forget(&mut tree, path);
        }
        if let Some(losses) = tree["loss"].as_array_mut() {
            for loss in losses {
                // As before hyperparameters had a table of their own: results made then still count.
                if let Some(Value::Object(hyper)) =
                    loss.as_object_mut().and_then(|loss| loss.remove("hyper"))
                {
                    hyper.into_iter().for_each(|(key, value)| loss[key] = value);
                }
                let name = loss["name"].as_str().map(short_name);
                loss["name"] = json!(name.unwrap_or_default());
            }
        }
        let source_digest = match source {
            Some(path) => Some(self.checkpoint_digest(path)?),
            None => None,
        };
        let all = json!({"experiment": tree, "plugins": plugins, "source": source_digest,
            "pretrained": pretrained, "retort": env!("CARGO_PKG_VERSION")});
        let digest = digest(canonical(&all).as_bytes());
        let digits = digest.trim_start_matches("sha256:");
        experiment.source = source.map(Path::to_owned);
        let id = format!("{name}-{}", &digits[..12]);
        Ok(Job { id, label: label.to_owned(), role, experiment })
    }

    /// Resolves an experiment's losses: absolute paths, all hyperparameters. Gives their digests.
    fn losses(&mut self, experiment: &mut Experiment) -> Result<Vec<Value>> {
        let mut plugins = Vec::new();
        for loss in &mut experiment.loss {
            let name = self.registry.whole_name(&loss.name)?;
            if let (Some(file), Some(of)) = parts(&name) {
                loss.name = format!("{}#{of}", absolute(file)?.display());
            }
            let found = self.registry.find(&loss.name)?;
            loss.hyper = found.resolve(&loss.hyper)?;
            plugins.push(json!({ "loss": found.definition.name, "digest": found.pack.digest }));
        }
        Ok(plugins)
    }

    fn checkpoint_digest(&mut self, path: &Path) -> Result<String> {
        let file = checkpoint_in(path);
        if let Some(known) = self.digests.get(&file) {
            return Ok(known.clone());
        }
        let text = checkpoint::digest(&file).map_err(|e| Failure::file("read", &file, e))?;
        self.digests.insert(file, text.clone());
        Ok(text)
    }
}

/// Name and label of a target's job.
fn names(suite: &Suite, wanted: &Wanted) -> (String, String) {
    let (method, dataset) = (&suite.method[wanted.method], &suite.dataset[wanted.dataset]);
    let setting = &suite.setting[wanted.setting].name;
    let mut label = format!("{} on {}", method.name, dataset.label);
    let mut name = format!("{}-{}", slug(&method.name), slug(&dataset.name));
    if !setting.is_empty() {
        label = format!("{label}, {setting}");
        name = format!("{name}-{}", slug(setting));
    }
    for (key, value) in &wanted.trial {
        label = format!("{label}, {key} = {value}");
    }
    (format!("{name}-s{}", wanted.seed), format!("{label}, seed {}", wanted.seed))
}

/// Letters, digits and underscores, 60 at most: what files and folders can be called.
fn slug(text: &str) -> String {
    let text: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .collect();
    text.trim_matches('_').to_owned()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Failure::file("find", path, e))
}

fn forget(tree: &mut Value, path: &[&str]) {
    let Some((last, before)) = path.split_last() else { return };
    let place = before.iter().try_fold(tree, |tree, key| tree.get_mut(*key));
    if let Some(object) = place.and_then(Value::as_object_mut) {
        object.remove(*last);
    }
}

/// JSON with its keys in order.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let inner: Vec<String> = sorted
                .into_iter()
                .map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v)))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}
