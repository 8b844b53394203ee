//! `retort parts`: what an experiment can name beside networks, data sets and losses.

use crate::command::Common;
use crate::failure::{Failure, Result};
use crate::terminal::output;
use clap::Args;
use retort_core::metric::METRICS;
use retort_core::optimizer::OPTIMIZERS;
use retort_core::schedule::SCHEDULES;
use retort_datasets::part::{Part, unknown};
use retort_datasets::{AUGMENTATIONS, SAMPLERS};
use retort_sdk::schema::{Field, Kind};
use serde_json::json;

/// Flags of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  retort parts\n  retort parts sgd\n\nIn an experiment file a part is its \
    name, or a table: optimizer = { name = \"sgd\", momentum = 0.8 }"
)]
pub struct Parts {
    /// Show this one with its options.
    name: Option<String>,
}

/// A part of any kind.
pub struct Described {
    /// The key of the experiment that names it.
    pub key: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its doc's paragraphs: what it is, then where it comes from.
    pub doc: Vec<String>,
    /// Its options.
    pub options: Vec<Field>,
}

/// All parts, kind after kind.
pub fn all() -> Vec<Described> {
    fn of<M>(key: &'static str, parts: &[&'static Part<M>]) -> Vec<Described> {
        let one = |part: &&'static Part<M>| Described {
            key,
            name: part.name,
            doc: part.paragraphs().collect(),
            options: (part.options)(),
        };
        parts.iter().map(one).collect()
    }
    let metrics = METRICS.iter().map(|metric| Described {
        key: "metric",
        name: metric.key,
        doc: metric.doc.split("\n\n").map(str::to_owned).collect(),
        options: Vec::new(),
    });
    [
        of("train.optimizer", OPTIMIZERS),
        of("train.schedule", SCHEDULES),
        of("train.sampler", SAMPLERS),
        of("train.augmentation", AUGMENTATIONS),
        metrics.collect(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The values that an option may have.
pub fn range(field: &Field) -> String {
    match field.kind {
        Kind::Boolean => "true, false".to_owned(),
        Kind::Choice => field.choices.join(", "),
        Kind::Text => "text".to_owned(),
        Kind::Float | Kind::Integer => field.range.to_string(),
        Kind::Floats | Kind::Integers => format!("a list, each {}", field.range),
        Kind::Choices => format!("a list of {}", field.choices.join(", ")),
        Kind::Unknown => "of a kind that this version doesn't know".to_owned(),
    }
}

/// A default as people read it.
pub fn default(field: &Field) -> String {
    match &field.default {
        serde_json::Value::Null => "none".to_owned(),
        serde_json::Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}

/// A table of options.
pub fn options(fields: &[Field]) -> output::Table {
    let mut table = output::table(["OPTION", "DEFAULT", "RANGE", "MEANING"]);
    for field in fields {
        let doc = field.doc.replace('\n', " ");
        table.add_row([field.name.clone(), default(field), range(field), doc]);
    }
    table
}

/// Runs the command.
pub fn run(args: &Parts, common: &Common) -> Result<()> {
    let mut parts = all();
    if let Some(name) = &args.name {
        parts.retain(|part| part.name == *name);
        if parts.is_empty() {
            let names: Vec<&str> = all().iter().map(|part| part.name).collect();
            return Err(Failure::usage(unknown("part", name, &names)));
        }
    }
    if common.json {
        let list = parts.iter().map(|part| {
            json!({"key": part.key, "name": part.name, "doc": part.doc.join("\n\n"), "options": part.options})
        });
        output::json(&json!({"parts": list.collect::<Vec<_>>()}));
    } else if args.name.is_some() {
        for part in parts {
            output::line(format_args!("{}: {}\n\n{}", part.key, part.name, part.doc.join("\n\n")));
            if !part.options.is_empty() {
                output::line(format_args!("\n{}", options(&part.options)));
            }
        }
    } else {
        let mut table = output::table(["KEY", "NAME", "WHAT IT IS", "OPTIONS"]);
        for part in parts {
            let doc = part.doc.first().cloned().unwrap_or_default();
            let names = part.options.iter().map(|field| field.name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            table.add_row([part.key, part.name, &doc, &names]);
        }
        output::line(table);
    }
    Ok(())
}
