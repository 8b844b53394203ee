//! Sweeps: a method's hyperparameters, tried in a grid or drawn from ranges.
//!
//! A key is what `--set` takes: a key of the experiment file, or a hyperparameter of the last loss.
//! Its values are a list; a range `{ min, max, log, points }`, whose missing ends come from the
//! loss's own schema; or `"schema"`, the schema's range around the default.
//!
//! No two trials are the same experiment: one that is drawn again is no further trial, and would count a
//! seed twice.

use super::{Method, Overlay};
use crate::experiment::{Experiment, LossConfig};
use crate::failure::{Failure, Result};
use rand::RngExt as _;
use retort_core::random::{key, stream};
use retort_sdk::schema::{Definition, Field, Kind};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Where a loss's hyperparameters are looked up.
pub trait Schema {
    /// The loss's definition.
    fn definition(&mut self, loss: &LossConfig) -> Result<Definition>;
}

/// The trials of one method.
#[derive(Debug)]
pub struct Sweep {
    /// How many the suite asks for.
    pub asked: usize,
    /// Each one's values and its experiment, no experiment twice: fewer than asked for, where there are no
    /// more.
    pub trials: Vec<(Map<String, Value>, Experiment)>,
}

/// Most trials of a method.
const MOST: usize = 10_000;

/// Draws in a row without a new trial after which there is none: this many, or as many times all that there can
/// be as leave one out with a chance of e⁻²⁰.
const DRAWS: usize = 500;
const ROUNDS: usize = 20;

/// A range of numbers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Interval {
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    log: bool,
    #[serde(default = "five")]
    points: usize,
}

fn five() -> usize {
    5
}

/// What a key may be.
enum Values {
    List(Vec<Value>),
    Range { min: f64, max: f64, log: bool, integer: bool, points: usize },
}

impl Sweep {
    /// The trials of an experiment that a method's `grid` or `random` asks for.
    pub fn new(method: &Method, experiment: &Experiment, schema: &mut dyn Schema) -> Result<Self> {
        let wrong = |why: String| Failure::usage(format!("method {:?}: {why}", method.name));
        match (method.grid.is_empty(), method.random.is_empty()) {
            (true, true) => Ok(Sweep { asked: 1, trials: vec![(Map::new(), experiment.clone())] }),
            (false, false) => Err(wrong("it has both `grid` and `random`".to_owned())),
            (false, true) => {
                let keys = read(&method.grid, experiment, schema).map_err(wrong)?;
                let all = grid(&keys).map_err(wrong)?;
                let mut distinct = Distinct::new(experiment, schema);
                let asked = all.len();
                for trial in all {
                    distinct.add(trial)?;
                }
                Ok(Sweep { asked, trials: distinct.trials })
            }
            (true, false) => {
                let mut table = method.random.clone();
                let mut number = |key: &str| match table.remove(key) {
                    None => Ok(None),
                    Some(v) => v.as_u64().map(Some).ok_or(format!("random.{key} = {v}: a number")),
                };
                let trials = number("trials").map_err(wrong)?;
                let trials = trials.ok_or_else(|| wrong("`random` needs `trials`".to_owned()))?;
                let seed = number("seed").map_err(wrong)?.unwrap_or(0);
                if trials == 0 || trials > MOST as u64 {
                    return Err(wrong(format!("random.trials = {trials}: 1 to {MOST}")));
                }
                let keys = read(&table, experiment, schema).map_err(wrong)?;
                let (asked, space) = (trials as usize, space(&keys));
                let mut distinct = Distinct::new(experiment, schema);
                let (mut number, mut in_vain) = (0, 0);
                let most = if space > MOST { DRAWS } else { DRAWS.max(ROUNDS * space) };
                while distinct.trials.len() < asked.min(space) && in_vain < most {
                    let new = distinct.add(draw(&keys, seed, number))?;
                    in_vain = if new { 0 } else { in_vain + 1 };
                    number += 1;
                }
                Ok(Sweep { asked, trials: distinct.trials })
            }
        }
    }
}

/// Trials as they come, but for those whose experiment is there already, however its values are written.
struct Distinct<'a> {
    base: &'a Experiment,
    schema: &'a mut dyn Schema,
    /// Values seen, as they were drawn; they spare the rest of the work.
    values: BTreeSet<String>,
    /// Experiments seen, with all hyperparameters.
    experiments: BTreeSet<String>,
    trials: Vec<(Map<String, Value>, Experiment)>,
}

impl<'a> Distinct<'a> {
    fn new(base: &'a Experiment, schema: &'a mut dyn Schema) -> Self {
        let (values, experiments) = (BTreeSet::new(), BTreeSet::new());
        Distinct { base, schema, values, experiments, trials: Vec::new() }
    }

    /// Whether it is a new one.
    fn add(&mut self, trial: Map<String, Value>) -> Result<bool> {
        if !self.values.insert(Value::Object(trial.clone()).to_string()) {
            return Ok(false);
        }
        let set: Vec<String> = trial.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let experiment = Experiment::read(None, self.base.clone(), &set)?;
        let mut resolved = experiment.clone();
        for loss in &mut resolved.loss {
            let definition = self.schema.definition(loss)?;
            loss.hyper = definition.resolve(&loss.hyper).map_err(Failure::usage)?;
        }
        let text = serde_json::to_string(&resolved).map_err(Failure::new)?;
        let new = self.experiments.insert(text);
        if new {
            self.trials.push((trial, experiment));
        }
        Ok(new)
    }
}

/// Most different trials that there can be.
fn space(keys: &Keys) -> usize {
    let of = |(_, values): &(String, Values)| match values {
        Values::List(list) => list.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(),
        Values::Range { min, max, integer: true, .. } => {
            ((max.round() - min.round()).max(0.0) as usize).saturating_add(1)
        }
        Values::Range { .. } => usize::MAX,
    };
    keys.iter().map(of).fold(1, usize::saturating_mul)
}

type Keys = Vec<(String, Values)>;

fn read(
    table: &Overlay,
    experiment: &Experiment,
    schema: &mut dyn Schema,
) -> std::result::Result<Keys, String> {
    if table.is_empty() {
        return Err("the sweep names no key".to_owned());
    }
    let mut keys = Vec::new();
    for (key, value) in flatten(table) {
        let values = values(&key, &value, experiment, schema).map_err(|e| format!("{key}: {e}"))?;
        keys.push((key, values));
    }
    Ok(keys)
}

/// `train.lr = …` as TOML reads it is a table in a table.
fn flatten(table: &Overlay) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    for (key, value) in table {
        match value {
            Value::Object(inner)
                if !inner.keys().all(|k| ["min", "max", "log", "points"].contains(&k.as_str())) =>
            {
                out.extend(flatten(inner).into_iter().map(|(k, v)| (format!("{key}.{k}"), v)));
            }
            _ => out.push((key.clone(), value.clone())),
        }
    }
    out
}

fn values(
    key: &str,
    value: &Value,
    experiment: &Experiment,
    schema: &mut dyn Schema,
) -> std::result::Result<Values, String> {
    let list = match value {
        Value::Array(list) if list.is_empty() => return Err("the list is empty".to_owned()),
        Value::Array(list) => return Ok(Values::List(list.clone())),
        Value::String(word) if word == "schema" => json!({}),
        Value::Object(_) => value.clone(),
        other => return Err(format!("{other} is no list, no range and not \"schema\"")),
    };
    let range: Interval = serde_json::from_value(list).map_err(|e| e.to_string())?;
    let field = field(key, experiment, schema)?;
    if value.is_string() && field.is_none() {
        return Err("\"schema\" is for hyperparameters of a loss; give a range".to_owned());
    }
    if let Some(field) = &field {
        match field.kind {
            Kind::Boolean => return Ok(Values::List(vec![json!(false), json!(true)])),
            Kind::Choice => {
                return Ok(Values::List(field.choices.iter().map(|c| json!(c)).collect()));
            }
            Kind::Floats | Kind::Integers | Kind::Choices | Kind::Unknown => {
                return Err(format!("{key} is a list; say which lists to try: [[8], [8, 16]]"));
            }
            Kind::Float | Kind::Integer | Kind::Text => {}
        }
    }
    // Where the schema's interval is open, a quarter of the default to four times it, in logarithms.
    let default = field.as_ref().and_then(|f| f.default.as_f64()).filter(|d| *d > 0.0);
    let allowed = field.as_ref().map(|f| f.range).unwrap_or_default();
    let open = allowed.min.is_none() || allowed.max.is_none() || allowed.above;
    let low = match (range.min, allowed.min.filter(|_| !allowed.above && !open)) {
        (Some(min), _) | (None, Some(min)) => min,
        (None, None) => default.ok_or("its range has no least value; give `min`")? / 4.0,
    };
    let high = match (range.max, allowed.max) {
        (Some(max), _) => max,
        (None, most) => match (most, default) {
            (Some(most), _) if !open => most,
            (most, Some(default)) => most.unwrap_or(f64::MAX).min(4.0 * default),
            (Some(most), None) => most,
            (None, None) => return Err("its range has no greatest value; give `max`".to_owned()),
        },
    };
    let low = low.max(allowed.min.unwrap_or(f64::MIN));
    let log = range.log || (value.is_string() && open && low > 0.0);
    if !(low < high && (high - low).is_finite()) {
        return Err(format!("the range {low} to {high} is empty, or endless"));
    }
    if log && low <= 0.0 {
        return Err(format!("a logarithmic range starts above 0, not at {low}"));
    }
    if !(2..=MOST).contains(&range.points) {
        return Err(format!("`points` must be 2 to {MOST}"));
    }
    let integer = field.is_some_and(|f| f.kind == Kind::Integer);
    Ok(Values::Range { min: low, max: high, log, integer, points: range.points })
}

/// The hyperparameter that a key means, if it is one.
fn field(
    key: &str,
    experiment: &Experiment,
    schema: &mut dyn Schema,
) -> std::result::Result<Option<Field>, String> {
    let (loss, name) = match key.strip_prefix("loss.").and_then(|rest| rest.split_once('.')) {
        Some((number, name)) => {
            let number: usize = number.parse().map_err(|_| format!("{number} is no number"))?;
            let name = name.strip_prefix("hyper.").unwrap_or(name);
            (experiment.loss.get(number).ok_or(format!("there is no loss {number}"))?, name)
        }
        None if key.contains('.') => return Ok(None),
        None => (experiment.loss.last().ok_or("there is no loss")?, key),
    };
    let definition = schema.definition(loss).map_err(|e| e.message)?;
    Ok(definition.hyper.into_iter().find(|f| f.name == name))
}

fn grid(keys: &Keys) -> std::result::Result<Vec<Map<String, Value>>, String> {
    let mut trials = vec![Map::new()];
    for (key, values) in keys {
        let list = match values {
            Values::List(list) => list.clone(),
            Values::Range { points, .. } => {
                let share = |i: usize| i as f64 / (*points - 1) as f64;
                (0..*points).map(|i| at(values, share(i))).collect()
            }
        };
        let more = |trial: &Map<String, Value>| {
            let with = |value: &Value| {
                let mut trial = trial.clone();
                trial.insert(key.clone(), value.clone());
                trial
            };
            list.iter().map(with).collect::<Vec<_>>()
        };
        if trials.len() * list.len() > MOST {
            return Err(format!("the grid has more than {MOST} combinations"));
        }
        trials = trials.iter().flat_map(more).collect();
    }
    Ok(trials)
}

/// One trial's values: they depend on the seed, the trial and the key alone, so that more trials or
/// keys leave those drawn before as they were.
fn draw(keys: &Keys, seed: u64, trial: u64) -> Map<String, Value> {
    let one = |(name, values): &(String, Values)| {
        let mut rng = stream(key(seed, name), &[trial]);
        let value = match values {
            Values::List(list) => list[rng.random_range(0..list.len())].clone(),
            Values::Range { .. } => at(values, rng.random::<f64>()),
        };
        (name.clone(), value)
    };
    keys.iter().map(one).collect()
}

/// The value at a share of a range, with four digits: more would only be noise in tables.
fn at(values: &Values, share: f64) -> Value {
    let Values::Range { min, max, log, integer, .. } = values else { return Value::Null };
    let x = if *log { min * (max / min).powf(share) } else { min + (max - min) * share };
    if *integer {
        return json!(x.round() as u64);
    }
    let rounded: f64 = format!("{x:.3e}").parse().unwrap_or(x);
    json!(rounded.clamp(*min, *max))
}
