//! Which of a file's tensors are the network's: those behind a prefix, under the names they get.

use super::fit::{matches, shown};
use super::guess::{self, Keys, NoNetwork, prefix_of};
use super::misfit::{Misfit, Remedy};
use burn::store::burn_pack::Tensor;
use std::collections::{BTreeMap, BTreeSet};

/// Networks that are told apart in a file.
const MOST_NETWORKS: usize = 100;

/// Layers that are named to the user.
const MOST_SHOWN: usize = 10;

/// Keys under which state dictionaries are saved, and prefixes that wrappers put before a network's
/// own: taken off where no network is told by its keys.
const WRAPPERS: [&str; 6] =
    ["model_state_dict.", "state_dict.", "teacher.", "module.", "model.", "backbone."];

/// What the user says about a file's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// What stands before the network's keys: `student.`
    pub prefix: Option<String>,
    /// Keys to leave out, where `*` stands for anything.
    pub ignore: Vec<String>,
    /// `A=B`: the file's layer `A` is the network's layer `B`.
    pub map: Vec<String>,
}

impl Selection {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Selection::default()
    }

    /// The old and the new name of each of `map`.
    fn maps(&self) -> Result<Vec<Map<'_>>, String> {
        let parse = |map: &'_ String| match map.split_once('=') {
            Some((from, to)) if !from.trim_matches('.').is_empty() && !to.contains('=') => Ok(()),
            _ => Err(format!("{map:?} is no renaming of a layer, such as head=embedding")),
        };
        self.map.iter().try_for_each(parse)?;
        let maps = self.map.iter().filter_map(|map| map.split_once('='));
        let maps = maps.map(|(from, to)| Map {
            from: from.trim_matches('.'),
            to: to.trim_matches('.'),
            used: false,
        });
        Ok(maps.collect())
    }
}

/// A layer's name in the file and in the network.
struct Map<'a> {
    from: &'a str,
    to: &'a str,
    used: bool,
}

impl Map<'_> {
    /// The new name of a key of this layer.
    fn renamed(&self, key: &str) -> Option<String> {
        let rest = key.strip_prefix(self.from)?;
        if !rest.is_empty() && !rest.starts_with('.') {
            return None;
        }
        let new = if self.to.is_empty() {
            rest.trim_start_matches('.').to_owned()
        } else {
            format!("{}{rest}", self.to)
        };
        (!new.is_empty()).then_some(new)
    }
}

/// A file's tensors, told apart.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// What stands before the network's keys.
    pub prefix: String,
    /// The network's tensors, without that.
    pub tensors: BTreeMap<String, Tensor>,
    /// All others, under their full keys.
    pub beside: BTreeMap<String, Tensor>,
    /// Why no network is chosen, where there are several.
    pub several: Option<NoNetwork>,
}

/// Tells a file's tensors apart. Of several networks the one with the name of `model` counts, if there is
/// just one.
pub(super) fn select(
    mut all: BTreeMap<String, Tensor>,
    selection: &Selection,
    model: Option<&str>,
) -> Result<Selected, Misfit> {
    let mut maps = selection.maps()?;
    let mut idle: BTreeSet<&str> = selection.ignore.iter().map(String::as_str).collect();
    let ignored = |key: &str, idle: &mut BTreeSet<&str>| {
        let mut any = false;
        for pattern in selection.ignore.iter().filter(|pattern| matches(pattern, key)) {
            idle.remove(pattern.as_str());
            any = true;
        }
        any
    };
    all.retain(|key, _| !ignored(key, &mut idle));
    let asked = selection.prefix.as_deref().map(|prefix| match prefix {
        "" => String::new(),
        prefix => format!("{}.", prefix.trim_end_matches('.')),
    });
    let (prefix, several) = prefix(&all, asked.as_deref(), model)?;

    let mut selected = Selected { prefix, several, ..Selected::default() };
    let scopes = scopes(&selected.prefix);
    for (key, tensor) in all {
        let of_network = key.strip_prefix(selected.prefix.as_str());
        // What lies beside the prefix is named as one sees it from there.
        let seen: Vec<&str> = match of_network {
            Some(inside) => vec![inside],
            None => scopes.iter().filter_map(|scope| key.strip_prefix(scope)).collect(),
        };
        if seen.iter().any(|name| ignored(name, &mut idle)) {
            continue;
        }
        let renamed = maps.iter_mut().find_map(|map| {
            let new = seen.iter().find_map(|name| map.renamed(name))?;
            map.used = true;
            Some(new)
        });
        let name = match (renamed, of_network) {
            (Some(new), _) => new,
            (None, Some(inside)) => inside.to_owned(),
            (None, None) => {
                selected.beside.insert(key, tensor);
                continue;
            }
        };
        if selected.tensors.contains_key(&name) {
            let (name, key) = (shown(&name), shown(&key));
            let fault = format!(
                "two of its tensors would have the key {name}: the one of {key} and another"
            );
            return Err(Misfit::new(fault).or(Remedy::OneOfTwo));
        }
        selected.tensors.insert(name, tensor);
    }
    if let Some(map) = maps.iter().find(|map| !map.used) {
        let Map { from, to, .. } = map;
        let behind = behind(&selected.prefix);
        let fault = format!("it has no layer {from}{behind}, which {from}={to} would rename");
        return Err(fault.into());
    }
    if let Some(pattern) = idle.first() {
        return Err(format!("it has no key {pattern}, which is to be ignored").into());
    }
    take_embedding(&mut selected, &scopes);
    Ok(selected)
}

fn behind(prefix: &str) -> String {
    if prefix.is_empty() {
        String::new()
    } else {
        format!(", neither behind {} nor beside it", shown(prefix))
    }
}

/// What the prefix lies in, from within: of `state_dict.module.backbone.` these are `state_dict.module.`,
/// `state_dict.` and nothing.
fn scopes(prefix: &str) -> Vec<String> {
    let mut scopes = Vec::new();
    let mut rest = prefix;
    while let Some(inner) = rest.strip_suffix('.') {
        rest = &inner[..inner.rfind('.').map_or(0, |at| at + 1)];
        scopes.push(rest.to_owned());
    }
    scopes
}

/// The prefix of the network, and which networks there are if that isn't one.
fn prefix(
    all: &BTreeMap<String, Tensor>,
    asked: Option<&str>,
    model: Option<&str>,
) -> Result<(String, Option<NoNetwork>), String> {
    let from = asked.unwrap_or_default();
    let within = || {
        let keys = all.range(from.to_owned()..).map(|(key, _)| key);
        keys.take_while(|key| key.starts_with(from))
    };
    if within().next().is_none() && asked.is_some() {
        let prefixes: BTreeSet<&str> = all.keys().filter_map(|key| prefix_of(key)).collect();
        let first = || all.keys().map(|key| &key[..key.find('.').map_or(key.len(), |at| at + 1)]);
        let there: BTreeSet<&str> = if prefixes.is_empty() { first().collect() } else { prefixes };
        let there: Vec<String> = there.into_iter().take(10).map(shown).collect();
        return Err(format!(
            "none of its keys is behind the prefix {from}; there are {}",
            there.join(", ")
        ));
    }
    let found: BTreeSet<&str> =
        within().filter_map(|key| prefix_of(key)).take(MOST_NETWORKS).collect();
    // Named whole, it is meant, although there may be another network further down.
    if let Some(asked) = asked
        && found.contains(asked)
    {
        return Ok((asked.to_owned(), None));
    }
    let told = found.into_iter().filter(|prefix| prefix.starts_with(from)).map(|prefix| {
        let network = guess::network(Keys { tensors: all, prefix });
        (prefix.to_owned(), network.map(|network| network.name))
    });
    let (mut known, mut foreign) = (Vec::new(), Vec::new());
    for (prefix, network) in told {
        match network {
            Ok(name) => known.push((prefix, name)),
            Err(why) => foreign.push((prefix, why)),
        }
    }
    let of_model = known.iter().filter(|(_, name)| Some(name.as_str()) == model);
    if let [(prefix, _)] = of_model.collect::<Vec<_>>()[..] {
        return Ok((prefix.clone(), None));
    }
    let first = known.first().map(|(prefix, _)| prefix);
    match first.or(foreign.first().map(|(prefix, _)| prefix)) {
        _ if known.len() > 1 => Ok((from.to_owned(), Some(NoNetwork::Several(known)))),
        Some(prefix) => Ok((prefix.clone(), None)),
        None => Ok((asked.map_or_else(|| wrapped(all), ToOwned::to_owned), None)),
    }
}

/// The wrappers around most keys.
fn wrapped(all: &BTreeMap<String, Tensor>) -> String {
    let mut prefix = String::new();
    // Each of them once, or a key could make it go on for as long as it likes.
    for _ in WRAPPERS {
        let inside = |wrapper: &&&str| {
            let prefix = format!("{prefix}{wrapper}");
            all.range(prefix.clone()..).next().is_some_and(|(key, _)| key.starts_with(&prefix))
        };
        let Some(wrapper) = WRAPPERS.iter().find(inside) else { break };
        prefix += wrapper;
    }
    prefix
}

/// The embedding layer often stands beside the rest of the network, which has a prefix of its own.
fn take_embedding(selected: &mut Selected, scopes: &[String]) {
    if selected.several.is_some() || selected.tensors.contains_key("embedding.weight") {
        return;
    }
    let is_layer = |scope: &&String| {
        let weight = selected.beside.get(&format!("{scope}embedding.weight"));
        weight.is_some_and(|tensor| tensor.shape.len() == 2)
    };
    let Some(scope) = scopes.iter().find(is_layer) else { return };
    for key in ["embedding.weight", "embedding.bias"] {
        if let Some(tensor) = selected.beside.remove(&format!("{scope}{key}")) {
            selected.tensors.insert(key.to_owned(), tensor);
        }
    }
}

/// Layers that could be the embedding: linear ones of so many inputs that stand alone, by the names that
/// a renaming takes, with their outputs.
pub(super) fn linear_layers(
    prefix: &str,
    tensors: &BTreeMap<String, Tensor>,
    beside: &BTreeMap<String, Tensor>,
    inputs: usize,
) -> Vec<(String, usize)> {
    let scopes = scopes(prefix);
    let inner = tensors.iter().map(|(key, tensor)| (key.as_str(), tensor));
    // Of what lies beside, only what lies right there: a network's parts, not an optimiser's memory.
    let outer = beside.iter().filter_map(|(key, tensor)| {
        scopes.iter().find_map(|scope| key.strip_prefix(scope)).map(|key| (key, tensor))
    });
    let names: BTreeSet<&str> = inner.clone().chain(outer.clone()).map(|(key, _)| key).collect();
    let (mut found, mut rows) = (Vec::new(), 0);
    for (key, tensor) in inner.chain(outer) {
        let Some(layer) = key.strip_suffix(".weight") else { continue };
        let (parent, last) = layer.rsplit_once('.').unwrap_or(("", layer));
        let [outputs, of] = *tensor.shape else { continue };
        if of != inputs || layer.is_empty() {
            continue;
        }
        // One of several in a row is no whole layer.
        if last.bytes().all(|b| b.is_ascii_digit()) {
            rows += 1;
            let other = |name: &&str| {
                let rest = name.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.'));
                rest.is_some_and(|rest| rest.split('.').next() != Some(last))
            };
            if rows > MOST_SHOWN || names.iter().any(other) {
                continue;
            }
        }
        found.push((layer.to_owned(), outputs));
        if found.len() == MOST_SHOWN {
            break;
        }
    }
    found
}
