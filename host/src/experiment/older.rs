//! Experiments that older versions recorded, under the keys of today.

use crate::experiment::Data;
use retort_core::backbone::{self, NetworkConfig};
use retort_core::optimizer::OPTIMIZERS;
use retort_datasets as datasets;
use serde_json::{Map, Value, json};

/// An experiment as a run has it, in the form of today: options that stood beside a name moved into its
/// table, and those of other networks and data sets, which meant nothing, left out.
pub fn renewed(mut experiment: Value) -> Value {
    if let Some(train) = table(&mut experiment, "train") {
        let epsilon = train.remove("epsilon");
        let name = train.get("optimizer").and_then(Value::as_str).unwrap_or("adamw").to_owned();
        let part = OPTIMIZERS.iter().find(|part| part.name == name);
        let has = part.is_some_and(|part| (part.options)().iter().any(|o| o.name == "epsilon"));
        if let Some(epsilon) = epsilon.filter(|_| has) {
            train.insert("optimizer".to_owned(), json!({"name": name, "epsilon": epsilon}));
        }
        let falls = [("lr_decay_step", "every"), ("lr_decay_gamma", "gamma")];
        let falls = falls.map(|(old, new)| train.remove(old).map(|value| (new.to_owned(), value)));
        if train.get("schedule").is_some_and(|schedule| schedule == "step") {
            let name = ("name".to_owned(), json!("step"));
            let table: Map<String, Value> =
                [Some(name)].into_iter().chain(falls).flatten().collect();
            train.insert("schedule".to_owned(), Value::Object(table));
        }
    }
    if let Some(network) = table(&mut experiment, "network") {
        let name = network.get("name").and_then(Value::as_str).unwrap_or("convnet");
        let own = backbone::find(name).map(|entry| (entry.options)()).unwrap_or_default();
        let known = |key: &str| {
            NetworkConfig::SETTINGS.iter().any(|s| s.key == key)
                || own.iter().any(|o| o.name == key)
        };
        network.retain(|key, _| known(key) || key != "width");
    }
    if let Some(data) = table(&mut experiment, "data") {
        let name = data.get("name").and_then(Value::as_str).unwrap_or("glyphs");
        let own = datasets::find(name).map(|entry| (entry.options)()).unwrap_or_default();
        let known = |key: &str| {
            Data::SETTINGS.iter().any(|s| s.key == key) || own.iter().any(|o| o.name == key)
        };
        data.retain(|key, value| {
            !value.is_null() && (known(key) || key != "seed")
                || value.is_null() && Data::SETTINGS.iter().any(|s| s.key == key)
        });
    }
    experiment
}

fn table<'a>(experiment: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    experiment.get_mut(name).and_then(Value::as_object_mut)
}
