//! Losses by name: `rkd` (built in), `path/to/pack.wasm#rkd`, `path/to/libpack.so#rkd`, `author/pack#rkd` (added).

use super::{Origin, Pack, PluginError, component, native};
use crate::share::install;
use crate::share::name::Name;
use retort_core::{Limits, LossCode};
use retort_sdk::schema::{Definition, nearest};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The packs of this process: the one that is linked in, and those loaded so far.
#[derive(Debug)]
pub struct Registry {
    builtin: Pack,
    loaded: BTreeMap<PathBuf, Pack>,
    limits: Limits,
}

/// A loss that was found, before it has hyperparameters.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its pack.
    pub pack: Pack,
    /// Its definition.
    pub definition: Definition,
}

impl Registry {
    /// A registry with the pack that is linked in.
    pub fn new(limits: Limits) -> Result<Self, PluginError> {
        Ok(Registry { builtin: native::builtin()?, loaded: BTreeMap::new(), limits })
    }

    /// The pack that is linked in.
    pub fn builtin(&self) -> &Pack {
        &self.builtin
    }

    /// The pack in a file.
    pub fn pack(&mut self, path: &Path) -> Result<Pack, PluginError> {
        if let Some(pack) = self.loaded.get(path) {
            return Ok(pack.clone());
        }
        if let Some(name) = named(path) {
            let lost = |e: crate::failure::Failure| PluginError::Loss(e.message);
            let (added, file) = install::resolve(&name).map_err(lost)?;
            let pack = component::load(&file, &self.limits)?;
            if pack.digest != added.digest {
                return Err(PluginError::Loss(format!(
                    "{} has changed since {name} was added: its digest is {}, not {}; delete it, and add the pack again",
                    file.display(),
                    pack.digest,
                    added.digest
                )));
            }
            self.loaded.insert(path.to_owned(), pack.clone());
            return Ok(pack);
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let pack = match extension {
            "wasm" => component::load(path, &self.limits)?,
            "so" | "dylib" | "dll" => native::load(path)?,
            _ => {
                return Err(PluginError::NotAPlugin {
                    path: path.to_owned(),
                    why: "plugins are files that end in .wasm, .so, .dylib or .dll".to_owned(),
                });
            }
        };
        self.loaded.insert(path.to_owned(), pack.clone());
        Ok(pack)
    }

    /// Every loss that a name means: one, or all of a file that holds several.
    pub fn find_all(&mut self, name: &str) -> Result<Vec<Found>, PluginError> {
        let (Some(path), None) = parts(name) else { return Ok(vec![self.find(name)?]) };
        let pack = self.pack(path)?;
        let found =
            |definition: &Definition| Found { definition: definition.clone(), pack: pack.clone() };
        Ok(pack.description.losses.iter().map(found).collect())
    }

    /// A loss by name, and the file it comes from if the name says one.
    pub fn find(&mut self, name: &str) -> Result<Found, PluginError> {
        let (pack, loss) = match parts(name) {
            (Some(path), Some(loss)) => (self.pack(path)?, loss),
            (None, loss) => (self.builtin.clone(), loss.unwrap_or(name)),
            (Some(path), None) => {
                let pack = self.pack(path)?;
                match pack.description.losses.as_slice() {
                    [only] => {
                        let definition = only.clone();
                        return Ok(Found { pack, definition });
                    }
                    losses => {
                        let names: Vec<_> = losses.iter().map(|l| l.name.as_str()).collect();
                        return Err(PluginError::Loss(format!(
                            "{name} holds {} losses; say which, as {name}#{}: {}",
                            losses.len(),
                            names.first().unwrap_or(&"NAME"),
                            names.join(", ")
                        )));
                    }
                }
            }
        };
        match pack.description.losses.iter().find(|l| l.name == loss) {
            Some(definition) => Ok(Found { definition: definition.clone(), pack }),
            None => Err(unknown(&pack, loss)),
        }
    }

    /// A name that says which loss of its file is meant, also where the file holds one: `FILE#NAME`.
    pub fn whole_name(&mut self, name: &str) -> Result<String, PluginError> {
        match parts(name) {
            (Some(_), None) => Ok(format!("{name}#{}", self.find(name)?.definition.name)),
            _ => Ok(name.to_owned()),
        }
    }
}

/// The pack that a name says instead of a file: `author/pack`.
fn named(path: &Path) -> Option<Name> {
    path.to_str().and_then(|text| text.parse().ok())
}

/// The file, or the pack, and the loss that a name says: `rkd`, `FILE#rkd`, or `FILE`, which may have a `#` of its own.
pub fn parts(name: &str) -> (Option<&Path>, Option<&str>) {
    let ends = [".wasm", ".so", ".dylib", ".dll"];
    if ends.iter().any(|end| name.ends_with(end)) {
        return (Some(Path::new(name)), None);
    }
    if named(Path::new(name)).is_some() {
        return (Some(Path::new(name)), None);
    }
    match name.rsplit_once('#') {
        Some((path, loss)) => (Some(Path::new(path)), Some(loss)),
        None => (None, Some(name)),
    }
}

/// What a loss is called without its file: of a file alone its stem.
pub fn short_name(name: &str) -> &str {
    match parts(name) {
        (_, Some(loss)) => loss,
        (Some(path), None) => path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("loss"),
        (None, None) => name,
    }
}

fn unknown(pack: &Pack, loss: &str) -> PluginError {
    let names: Vec<&str> = pack.description.losses.iter().map(|l| l.name.as_str()).collect();
    let place = match &pack.origin {
        Origin::BuiltIn => "retort has no built-in loss".to_owned(),
        Origin::Native(path) | Origin::Component(path) => {
            format!("{} has no loss", path.display())
        }
    };
    let near = nearest(loss, &names).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
    PluginError::Loss(
        format!("{place} {loss}{near} It has: {}", names.join(", "))
            .replace(&format!(" {loss} It has"), &format!(" {loss}. It has")),
    )
}

impl Found {
    /// The definition's hyperparameters with these in place of their defaults.
    pub fn resolve(&self, given: &Map<String, Value>) -> Result<Map<String, Value>, PluginError> {
        self.definition.resolve(given).map_err(PluginError::Loss)
    }

    /// The loss's code with resolved hyperparameters.
    pub fn create(
        &self,
        hyper: &Map<String, Value>,
        limits: &Limits,
    ) -> Result<Box<dyn LossCode>, PluginError> {
        let hyper = Value::Object(hyper.clone()).to_string();
        self.pack.code.create(&self.definition.name, &hyper, limits)
    }
}
