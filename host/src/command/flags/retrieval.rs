//! Metrics of embeddings: the flags that ask for them, and their report.

use crate::failure::{Failure, Result};
use crate::terminal::output::{self, Table, number};
use burn::tensor::Device;
use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};
use retort_core::metric::{
    Distance, Embeddings, Exclude, Interval, METRICS, Measure, MetricError, Needs, Retrieval,
    Search, Unit, adjusted_mutual_information, bootstrap, kmeans, normalized_mutual_information,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

fn resamples() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(0..=1_000_000)
}

/// Flags of the commands that measure retrieval.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub struct Options {
    /// The K of Recall@K.
    #[arg(long = "k", value_delimiter = ',', default_value = "1,2,4,8")]
    ks: Vec<usize>,
    /// For each of these K report precision@K and MAP@K, too.
    #[arg(long)]
    map_at_k: bool,
    /// What nearness is.
    #[arg(long, default_value = "euclidean")]
    metric: Nearness,
    /// Drop each query's first neighbour, whoever it is, as the paper's own code does, instead of
    /// the query. (With duplicates the query may then find itself.)
    #[arg(long)]
    pub(crate) reference: bool,
    /// Report each class too.
    #[arg(long)]
    per_class: bool,
    /// Resamples for 95 % confidence intervals by bootstrap, such as 1000; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = resamples())]
    bootstrap: usize,
    /// What the bootstrap draws: whole classes, whose queries err together, or single queries.
    #[arg(long, value_name = "UNIT", default_value = "class")]
    bootstrap_by: Resample,
    /// Cluster by k-means, with as many clusters as classes, and report NMI and AMI. (Minutes with
    /// thousands of classes.)
    #[arg(long)]
    nmi: bool,
    /// Seed of bootstrap and k-means.
    #[arg(long = "metrics-seed", value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// What the search may hold beside the embeddings, such as 512MiB or 2GiB.
    #[arg(long, value_name = "BYTES", default_value = "512MiB", value_parser = bytes)]
    memory: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Nearness {
    /// Euclidean distance.
    Euclidean,
    /// One minus the cosine.
    Cosine,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Resample {
    /// Whole classes.
    Class,
    /// Single queries.
    Query,
}

fn bytes(text: &str) -> std::result::Result<usize, String> {
    let bytes = crate::experiment::settings::bytes(text)?;
    usize::try_from(bytes).map_err(|_| "so much memory can't be named".to_owned())
}

impl From<MetricError> for Failure {
    fn from(e: MetricError) -> Self {
        match e {
            MetricError::TooFew { .. } | MetricError::Memory { .. } => Failure::usage(e),
            other => Failure::new(other),
        }
    }
}

/// What was measured.
pub struct Report<'a> {
    options: &'a Options,
    found: Retrieval,
    measures: Vec<(Measure, Option<Interval>)>,
    /// NMI and AMI.
    information: Option<(f64, f64)>,
    apart: bool,
    name: &'a dyn Fn(i64) -> String,
}

impl Options {
    /// Measures how well each query finds its class among the others, or in a gallery.
    ///
    /// `clusters` are given clusters of the queries, for NMI and AMI; `name` is what a class is
    /// called.
    pub fn report<'a>(
        &'a self,
        queries: &Embeddings,
        gallery: Option<&Embeddings>,
        clusters: Option<&[i64]>,
        device: &Device,
        name: &'a dyn Fn(i64) -> String,
    ) -> Result<Report<'a>> {
        if self.reference && gallery.is_some() {
            return Err(Failure::usage(
                "--reference is about queries that are in the gallery themselves: leave out --gallery",
            ));
        }
        let search = Search {
            distance: match self.metric {
                Nearness::Euclidean => Distance::Euclidean,
                Nearness::Cosine => Distance::Cosine,
            },
            exclude: if self.reference { Exclude::FirstNeighbour } else { Exclude::Query },
            lists: self.map_at_k,
            memory: self.memory,
            threads: 0,
            device: Some(device.clone()),
        };
        let found = match gallery {
            None => search.retrieval(queries, &self.ks)?,
            Some(gallery) => search.retrieval_in(queries, gallery, &self.ks)?,
        };
        if found.device_refused {
            output::say(
                "warning: this device couldn't compute matrix products in 32-bit arithmetic; the CPU \
                 computed them instead",
            );
        }
        let wanted = METRICS.iter().filter(|m| m.needs != Needs::Lists || self.map_at_k);
        let measures: Vec<Measure> = wanted.flat_map(|metric| metric.at(&self.ks)).collect();
        let intervals = match self.bootstrap {
            0 => vec![None; measures.len()],
            resamples => {
                let unit = match self.bootstrap_by {
                    Resample::Class => Unit::Class,
                    Resample::Query => Unit::Query,
                };
                let intervals = bootstrap(&found, &measures, resamples, unit, self.seed);
                intervals.into_iter().map(Some).collect()
            }
        };
        let clusters = match clusters {
            Some(given) => Some(given.to_vec()),
            None if self.nmi => {
                let classes = found.per_class(Measure::recall(1)).len();
                Some(kmeans(queries, classes, self.seed, &search)?.of)
            }
            None => None,
        };
        let information = clusters.map(|clusters| -> Result<(f64, f64)> {
            let nmi = normalized_mutual_information(&queries.labels, &clusters)?;
            Ok((nmi, adjusted_mutual_information(&queries.labels, &clusters)?))
        });
        Ok(Report {
            options: self,
            found,
            measures: measures.into_iter().zip(intervals).collect(),
            information: information.transpose()?,
            apart: gallery.is_some(),
            name,
        })
    }
}

fn percent(share: f64) -> String {
    if share.is_nan() { "-".to_owned() } else { format!("{:.2} %", 100.0 * share) }
}

/// Puts a metric where it belongs in a JSON object.
fn put(object: &mut Map<String, Value>, measure: Measure, value: Value) {
    let key = measure.metric.key;
    if measure.metric.at_k() {
        object.entry(key).or_insert_with(|| json!({}))[measure.k.to_string()] = value;
    } else {
        object.insert(key.to_owned(), value);
    }
}

impl Report<'_> {
    /// Who is no neighbour of a query.
    fn left_out(&self) -> &'static str {
        match (self.apart, self.options.reference) {
            (true, _) => "none",
            (false, false) => "query",
            (false, true) => "first neighbour",
        }
    }

    /// Metrics of each class, and its queries.
    fn classes(&self) -> BTreeMap<i64, (usize, Vec<(Measure, f64)>)> {
        let mut classes: BTreeMap<i64, (usize, Vec<(Measure, f64)>)> = BTreeMap::new();
        for &(measure, _) in &self.measures {
            for (class, (queries, value)) in self.found.per_class(measure) {
                let of_class = classes.entry(class).or_insert((queries, Vec::new()));
                of_class.1.push((measure, value));
            }
        }
        classes
    }

    /// All results as a JSON object.
    pub fn json(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for &(measure, _) in &self.measures {
            put(&mut out, measure, number(self.found.mean(measure)));
        }
        let mut of_classes = Map::new();
        for &(measure, _) in &self.measures {
            put(&mut of_classes, measure, number(self.found.class_mean(measure)));
        }
        out.insert("mean_of_classes".to_owned(), Value::Object(of_classes));
        if let Some((nmi, ami)) = self.information {
            out.insert("nmi".to_owned(), number(nmi));
            out.insert("ami".to_owned(), number(ami));
        }
        let distance = format!("{:?}", self.options.metric).to_lowercase();
        out.insert("distance".to_owned(), json!(distance));
        out.insert("left_out".to_owned(), json!(self.left_out()));
        out.insert("alone".to_owned(), json!(self.found.alone()));
        if self.options.bootstrap > 0 {
            let by = format!("{:?}", self.options.bootstrap_by).to_lowercase();
            let about = json!({"level": 0.95, "resamples": self.options.bootstrap, "by": by});
            let Value::Object(mut intervals) = about else { return out };
            for &(measure, interval) in &self.measures {
                let ends = interval.map(|i| json!([number(i.low), number(i.high)]));
                put(&mut intervals, measure, ends.unwrap_or_default());
            }
            out.insert("intervals".to_owned(), Value::Object(intervals));
        }
        if self.options.per_class {
            let classes = self.classes().into_iter().map(|(class, (queries, values))| {
                let mut of_class = Map::new();
                of_class.insert("label".to_owned(), json!(class));
                of_class.insert("name".to_owned(), json!((self.name)(class)));
                of_class.insert("queries".to_owned(), json!(queries));
                for (measure, value) in values {
                    put(&mut of_class, measure, number(value));
                }
                Value::Object(of_class)
            });
            out.insert("per_class".to_owned(), classes.collect());
        }
        out
    }

    /// All results as tables.
    pub fn text(&self) -> String {
        let with_intervals = self.options.bootstrap > 0;
        let interval = |interval: Option<Interval>| {
            let ends = interval.map(|i| format!("{} to {}", percent(i.low), percent(i.high)));
            if with_intervals { ends } else { None }
        };
        let header = |first: &str, second: &str| {
            let third = with_intervals.then_some("95 % INTERVAL");
            let mut table = output::table([""]);
            table.set_header([first, second, "MEAN OF CLASSES"].into_iter().chain(third));
            table
        };
        let add = |table: &mut Table, name: String, values: [String; 2], third: Option<String>| {
            table.add_row(std::iter::once(name).chain(values).chain(third));
        };
        let (mut recall, mut others) = (header("K", "RECALL@K"), header("METRIC", "VALUE"));
        for &(measure, ends) in &self.measures {
            let values = [self.found.mean(measure), self.found.class_mean(measure)].map(percent);
            if measure == Measure::recall(measure.k) {
                add(&mut recall, measure.k.to_string(), values, interval(ends));
            } else {
                add(&mut others, measure.title(), values, interval(ends));
            }
        }
        if let Some((nmi, ami)) = self.information {
            add(&mut others, "NMI".to_owned(), [percent(nmi), String::new()], None);
            add(&mut others, "AMI".to_owned(), [percent(ami), String::new()], None);
        }
        let mut parts = vec![format!("{recall}\n\n{others}")];
        if self.options.per_class {
            let mut table = output::table([""]);
            let titles = self.measures.iter().map(|&(measure, _)| measure.title().to_uppercase());
            table.set_header(["CLASS".to_owned(), "QUERIES".to_owned()].into_iter().chain(titles));
            for (class, (queries, values)) in self.classes() {
                let values = values.into_iter().map(|(_, value)| percent(value));
                let first = [(self.name)(class), queries.to_string()];
                table.add_row(first.into_iter().chain(values));
            }
            parts.push(table.to_string());
        }
        let alone = self.found.alone();
        if alone > 0 {
            let who =
                if alone == 1 { "1 query has".to_owned() } else { format!("{alone} queries have") };
            parts.push(format!(
                "{who} no other sample of the same class: a miss for Recall, left out of the others."
            ));
        }
        if self.options.reference {
            parts.push(
                "Each query's first neighbour was dropped, whoever it is (--reference).".to_owned(),
            );
        }
        parts.join("\n\n")
    }
}
