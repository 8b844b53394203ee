//! What networks make of the same unseen pictures.

use super::Options;
use super::gather::{Gathered, Run};
use crate::bounds;
use crate::failure::{Failure, Result};
use retort_core::backbone::Backbone;
use retort_core::checkpoint::{self, OpenOptions};
use retort_core::metric::Embeddings;
use retort_core::trainer::{checkpoint_in, embed_numbered};
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
    /// Whether they are a suite's networks, of its first seed.
    pub first_seed: bool,
    /// The networks.
    pub networks: Vec<View>,
}

/// One network.
pub struct View {
    /// Its name.
    pub name: String,
    /// Whether it is the target before its training, drawn with its distances only.
    pub untrained: bool,
    /// Its embeddings, `[n, dim]`.
    pub embeddings: Embeddings,
}

/// A network that is to be looked at.
struct Candidate<'a> {
    name: String,
    folder: &'a Path,
}

/// Most networks whose neighbours are shown.
const MOST: usize = 4;

/// Embeds the unseen pictures with the networks worth a look.
pub fn views(gathered: &Gathered, options: &Options, say: &dyn Fn(&str)) -> Result<Views> {
    let (candidates, target) = candidates(gathered);
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
        let (embeddings, ids) = embed_numbered(&network, &data, channels, device)?;
        there = Some(ids);
        views.push(View { name: "target before training".to_owned(), untrained: true, embeddings });
    }
    for candidate in candidates {
        say(&format!("embedding with {}", candidate.name));
        let loaded = checkpoint::load(&checkpoint_in(candidate.folder), &options.device)
            .map_err(Failure::new)?;
        // Other data, or pictures of another size, can't stand beside the first.
        if loaded.network.channels != channels || loaded.image_size != size {
            continue;
        }
        let (embeddings, ids) = embed_numbered(&loaded.backbone, &data, channels, &options.device)?;
        there = Some(ids);
        views.push(View { name: candidate.name, untrained: false, embeddings });
    }
    let first_seed = gathered.results.is_some();
    let data = match there {
        Some(ids) if ids.len() < data.len() => some_samples(&data, ids),
        _ => data,
    };
    Ok(Views { dataset: config.name, data, of, first_seed, networks: views })
}

/// The networks to look at, and the run whose target is shown before its training.
///
/// Of a suite: source, the first method without transfer, the best, and the worst with transfer, with
/// the first seed on the first data set. Of runs: the first few on the first one's data.
fn candidates(gathered: &Gathered) -> (Vec<Candidate<'_>>, Option<&Run>) {
    let there = |run: &&Run| checkpoint_in(&run.folder).is_file();
    let Some(results) = &gathered.results else {
        let first = gathered.runs.iter().find(there);
        let same = |run: &&Run| first.is_some_and(|f| f.experiment.data == run.experiment.data);
        let runs: Vec<&Run> = gathered.runs.iter().filter(there).filter(same).take(MOST).collect();
        let target = runs.iter().find(|r| r.experiment.source.is_some()).or(runs.last()).copied();

        let named = runs.iter().map(|r| Candidate { name: r.name.clone(), folder: &r.folder });
        return (named.collect(), target);
    };
    let Some(table) = results.tables.first() else { return (Vec::new(), None) };
    let score = |row: &&crate::suite::result::Row| row.cells.first()?.recall.first()?.mean;
    let mut transfer: Vec<_> =
        table.rows.iter().filter(|r| r.transfer && score(r).is_some()).collect();
    transfer.sort_by(|a, b| score(b).unwrap_or(0.0).total_cmp(&score(a).unwrap_or(0.0)));
    let mut rows: Vec<_> = table.rows.iter().filter(|r| r.source).collect();
    rows.extend(table.rows.iter().find(|r| !r.source && !r.transfer));
    rows.extend(transfer.first());
    if transfer.len() > 1 {
        rows.extend(transfer.last());
    }
    let run = |row: &crate::suite::result::Row| {
        let done = row.cells.first()?.runs.first()?;
        gathered.find(&done.run).filter(there)
    };
    let target = transfer.first().and_then(|row| run(row));
    let named = rows
        .iter()
        .filter_map(|row| Some(Candidate { name: row.name.clone(), folder: &run(row)?.folder }));
    (named.collect(), target)
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
