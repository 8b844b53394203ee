//! What networks make of the same unseen pictures.

use super::Options;
use super::gather::{Gathered, Run};
use crate::experiment::bounds;
use crate::failure::{Failure, Result};
use crate::suite::result::{Results, Row};
use retort_core::backbone::Backbone;
use retort_core::checkpoint::{self, OpenOptions};
use retort_core::metric::Embeddings;
use retort_core::trainer::{Feed, checkpoint_in, embed_numbered};
use retort_datasets::{Dataset, Split, some_samples};
use std::path::Path;
use std::sync::Arc;

/// Networks on the same pictures.
pub struct Views {
    /// The data set's name.
    pub dataset: String,
    /// The pictures, `[n]`.
    pub data: Arc<dyn Dataset>,
    /// Pictures of the whole split.
    pub of: usize,
    /// Which of a suite's networks they are, in a sentence; nothing for plain runs.
    pub which: String,
    /// The networks.
    pub networks: Vec<View>,
    /// Networks that are missing, and why.
    pub lacks: Vec<String>,
}

/// One network.
pub struct View {
    /// Its name.
    pub name: String,
    /// Whether it is the target before its training, drawn with its distances only.
    pub untrained: bool,
    /// Whether it is drawn in two dimensions.
    pub projected: bool,
    /// Its embeddings, `[n, dim]`.
    pub embeddings: Embeddings,
}

/// A network that is to be looked at.
struct Candidate<'a> {
    name: String,
    folder: &'a Path,
    projected: bool,
}

/// The networks to look at.
#[derive(Default)]
struct Chosen<'a> {
    candidates: Vec<Candidate<'a>>,
    /// The run whose target is shown before its training.
    target: Option<&'a Run>,
    which: String,
    lacks: Vec<String>,
}

/// Most runs whose neighbours are shown, and most networks that are drawn in two dimensions.
const MOST: usize = 16;
const PROJECTED: usize = 4;

/// Embeds the unseen pictures with the networks worth a look.
pub fn views(gathered: &Gathered, options: &Options, say: &dyn Fn(&str)) -> Result<Views> {
    let Chosen { candidates, target, which, mut lacks } = candidates(gathered);
    let first = candidates.first().and_then(|c| gathered.find(c.folder));
    let first = first.ok_or_else(|| Failure::new("none of the runs has a checkpoint"))?;
    bounds::check(&first.experiment)?;
    let mut config = first.experiment.data.clone();
    if options.data_root.is_some() {
        config.root.clone_from(&options.data_root);
    }
    let (channels, size) = (config.entry()?.channels, config.size()?);
    let whole: Arc<dyn Dataset> = config.open(Split::Test)?;
    let of = whole.len();
    let data = some_classes(whole, options.samples);
    // Those that can be read.
    let mut there: Option<Vec<usize>> = None;
    let mut views = Vec::new();
    if let Some(run) = target {
        bounds::check(&run.experiment)?;
        say("embedding with the target before its training");
        let device = &options.device;
        let (network, seed) = (&run.experiment.network, run.experiment.seed);
        let network = match &run.experiment.pretrained {
            None => Backbone::new(network, seed, device).map_err(Failure::new)?,
            Some(path) => {
                let options = OpenOptions { seed, ..run.experiment.pretrained_keys.options() };
                let file = checkpoint_in(path);
                checkpoint::start(&file, network, &options, device).map_err(Failure::new)?.0
            }
        };
        let (embeddings, ids) = embed_numbered(&network, &data, &Feed::new(channels), device)?;
        there = Some(ids);
        let name = "target before training".to_owned();
        views.push(View { name, untrained: true, projected: false, embeddings });
    }
    for candidate in candidates {
        say(&format!("embedding with {}", candidate.name));
        let loaded = checkpoint::load(&checkpoint_in(candidate.folder), &options.device)
            .map_err(Failure::new)?;
        // Other data, or pictures of another size, can't stand beside the first.
        let Candidate { name, projected, .. } = candidate;
        if loaded.network.channels != channels || loaded.image_size != size {
            lacks.push(format!(
                "no neighbours of {name}: it sees other pictures than the first network"
            ));
            continue;
        }
        let (embeddings, ids) =
            embed_numbered(&loaded.backbone, &data, &Feed::new(channels), &options.device)?;
        there = Some(ids);
        views.push(View { name, untrained: false, projected, embeddings });
    }
    let data = match there {
        Some(ids) if ids.len() < data.len() => some_samples(&data, ids),
        _ => data,
    };
    Ok(Views { dataset: config.name, data, of, which, networks: views, lacks })
}

/// Of a suite: the source and every method, with the first seed on the first data set; drawn in two dimensions
/// are the source, the first method without transfer, the best, and the worst with transfer. Of runs: those on the
/// first one's data.
fn candidates(gathered: &Gathered) -> Chosen<'_> {
    match &gathered.results {
        Some(results) => of_suite(gathered, results),
        None => of_runs(gathered),
    }
}

fn has_network(run: &Run) -> bool {
    checkpoint_in(&run.folder).is_file()
}

fn of_runs(gathered: &Gathered) -> Chosen<'_> {
    let Some(first) = gathered.runs.iter().find(|run| has_network(run)) else {
        return Chosen::default();
    };
    let mut chosen = Chosen::default();
    for run in &gathered.runs {
        let why = if !has_network(run) {
            "it has no checkpoint".to_owned()
        } else if run.experiment.data != first.experiment.data {
            format!("it is on other data than {}", first.name)
        } else if chosen.candidates.len() == MOST {
            format!("the first {MOST} runs are shown")
        } else {
            chosen.candidates.push(Candidate {
                name: run.name.clone(),
                folder: &run.folder,
                projected: chosen.candidates.len() < PROJECTED,
            });
            if chosen.target.is_none_or(|target| target.experiment.source.is_none()) {
                chosen.target = Some(run);
            }
            continue;
        };
        chosen.lacks.push(format!("no neighbours of {}: {why}", run.name));
    }
    chosen
}

fn of_suite<'a>(gathered: &'a Gathered, results: &Results) -> Chosen<'a> {
    let Some(table) = results.tables.first() else { return Chosen::default() };
    let score = |row: &Row| row.cells.first()?.recall.first()?.mean;
    let mut transfer: Vec<&Row> =
        table.rows.iter().filter(|r| r.transfer && score(r).is_some()).collect();
    transfer.sort_by(|a, b| score(b).unwrap_or(0.0).total_cmp(&score(a).unwrap_or(0.0)));
    let plain = table.rows.iter().find(|r| !r.source && !r.transfer);
    let projected: Vec<&str> = [plain, transfer.first().copied(), transfer.last().copied()]
        .into_iter()
        .flatten()
        .map(|row| row.name.as_str())
        .collect();
    let run = |row: &Row| {
        gathered.find(&row.cells.first()?.runs.first()?.run).filter(|run| has_network(run))
    };
    let mut chosen =
        Chosen { target: transfer.first().and_then(|row| run(row)), ..Chosen::default() };
    for row in &table.rows {
        let Some(run) = run(row) else {
            chosen
                .lacks
                .push(format!("no neighbours of {}: it has no run with a checkpoint", row.name));
            continue;
        };
        let projected = row.source || projected.contains(&row.name.as_str());
        chosen.candidates.push(Candidate {
            name: row.name.clone(),
            folder: &run.folder,
            projected,
        });
    }
    let of: Vec<&str> = [table.setting.as_str(), table.columns.first().map_or("", |c| &c.dataset)]
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
    chosen.which = match (results.tables.len(), table.columns.len()) {
        (1, 1) => " The networks are those of the first seed.".to_owned(),
        _ => format!(" The networks are those of the first seed, {}.", of.join(", ")),
    };
    chosen
}

/// As many whole classes as have about `most` pictures, spread over all.
fn some_classes(whole: Arc<dyn Dataset>, most: usize) -> Arc<dyn Dataset> {
    if whole.len() <= most {
        return whole;
    }
    let classes = whole.classes().len();
    let keep = (classes * most / whole.len()).max(2).min(classes);
    let kept: Vec<bool> =
        (0..classes).map(|c| (c + 1) * keep / classes > c * keep / classes).collect();
    let rows: Vec<usize> = (0..whole.len()).filter(|&i| kept[whole.labels()[i]]).collect();
    some_samples(&whole, rows)
}

impl View {
    /// The `k` nearest others of a sample, nearest first, equal distances by index.
    pub fn nearest(&self, query: usize, k: usize) -> Vec<usize> {
        let mut others: Vec<(f64, usize)> = (0..self.embeddings.labels.len())
            .filter(|&i| i != query)
            .map(|i| (self.squared_distance(query, i), i))
            .collect();
        let k = k.min(others.len());
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        others.truncate(k);
        others.into_iter().map(|(_, i)| i).collect()
    }

    /// Whether the nearest other is of the sample's class.
    pub fn hits(&self, query: usize) -> bool {
        let labels = &self.embeddings.labels;
        self.nearest(query, 1).first().is_some_and(|&i| labels[i] == labels[query])
    }

    /// An embedding.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.embeddings.rows[i * self.embeddings.dim..(i + 1) * self.embeddings.dim]
    }

    /// Between two samples.
    pub fn squared_distance(&self, a: usize, b: usize) -> f64 {
        let pairs = self.row(a).iter().zip(self.row(b));
        pairs.map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
    }
}
