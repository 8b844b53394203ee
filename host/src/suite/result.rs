//! What a suite found: its tables, with everything that they and the report show.

use super::plan::{Folder, Planned};

use super::{Over, Source, Suite};
use crate::failure::{Failure, Result};
use crate::io::regular;
use crate::run::outcome::Outcome;
use retort_core::metric::{deviation, mean, paired_t};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What a suite found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// The suite's title.
    pub title: String,
    /// The suite's paragraph.
    #[serde(default)]
    pub about: String,
    /// Its seeds.
    pub seeds: Vec<u64>,
    /// A table for each setting.
    pub tables: Vec<Table>,
    /// Trainings that are not done.
    pub missing: usize,
}

/// One setting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Table {
    /// Its name; empty where there is one.
    pub setting: String,
    /// Data sets.
    pub columns: Vec<Column>,
    /// The source, then the methods.
    pub rows: Vec<Row>,
    /// The trials of methods with a sweep.
    pub sweeps: Vec<Trials>,
}

/// One data set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Its name in tables.
    pub dataset: String,
    /// The K of Recall@K.
    pub ks: Vec<usize>,
    /// The best method against the next.
    pub test: Option<Test>,
}

/// The best method of a column against the runner-up, at the first K.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    /// The method with the highest mean.
    pub best: String,
    /// The next.
    pub runner_up: String,
    /// Mean difference of Recall@K in percentage points, over the seeds that both have.
    pub difference: f64,
    /// See [`paired_t`]; none where it isn't defined.
    pub p: Option<f64>,
    /// Seeds compared.
    pub seeds: usize,
}

/// One method, or the source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Whether it is the source.
    pub source: bool,
    /// Whether it learns from one.
    pub transfer: bool,
    /// Values that the sweep chose.
    #[serde(default)]
    pub chosen: Map<String, Value>,
    /// For each data set.
    pub cells: Vec<Cell>,
}

/// One method on one data set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Run folder for each seed that is done.
    pub runs: Vec<Done>,
    /// For each K.
    pub recall: Vec<Recall>,
}

/// A finished run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Its seed.
    pub seed: u64,
    /// Its folder.
    pub run: PathBuf,
    /// Recall@K, in the order of the column's K.
    pub recall: Vec<f64>,
    /// How long it took.
    pub seconds: f64,
    /// Scalars trained.
    pub parameters: u64,
}

/// Recall@K over the seeds, in %.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Recall {
    /// Mean; none if no seed is done.
    pub mean: Option<f64>,
    /// Standard deviation of the sample; none with fewer than two seeds.
    pub deviation: Option<f64>,
    /// What the paper has.
    pub published: Option<f64>,
    /// Whether no method of the column has a higher mean.
    pub best: bool,
}

/// Values tried, by key, and the mean Recall@K in % on each data set.
pub type Trial = (Map<String, Value>, Vec<Option<f64>>);

/// A sweep's trials.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trials {
    /// The method.
    pub method: String,
    /// The data sets' labels.
    pub datasets: Vec<String>,
    /// The K.
    pub k: usize,
    /// How many trials the suite asks for.
    #[serde(default)]
    pub asked: usize,
    /// Its trials, no two alike: fewer than asked for, where there are no more.
    pub trials: Vec<Trial>,
}

/// Collects the runs that are done.
pub fn collect(
    suite: &Suite,
    over: &Over,
    planned: &[Planned],
    folder: &Folder,
) -> Result<Results> {
    let ks: Vec<Vec<usize>> = (0..suite.dataset.len())
        .map(|d| {
            let first = planned.iter().find(|p| p.wanted.dataset == d);
            first.map(|p| p.wanted.experiment.recall_at.clone()).unwrap_or_default()
        })
        .collect();
    let mut tables = Vec::new();
    for (s, setting) in suite.setting.iter().enumerate() {
        let mut rows: Vec<Row> =
            source(suite, over, planned, folder, s, &ks)?.into_iter().collect();
        let mut sweeps = Vec::new();
        for (m, method) in suite.method.iter().enumerate() {
            let of: Vec<&Planned> =
                planned.iter().filter(|p| (p.wanted.setting, p.wanted.method) == (s, m)).collect();
            let mut trials: Vec<&Map<String, Value>> = Vec::new();
            for p in &of {
                if !trials.contains(&&p.wanted.trial) {
                    trials.push(&p.wanted.trial);
                }
            }
            let cells = |trial: &Map<String, Value>| -> Vec<Cell> {
                let of = of.iter().filter(|p| p.wanted.trial == *trial);
                let of: Vec<&&Planned> = of.collect();
                let cell = |d: usize| {
                    let runs = of.iter().filter(|p| p.wanted.dataset == d).filter_map(|p| {
                        let job = p.job.as_ref()?;
                        done(&folder.run(&job.id), &folder.summary(&job.id)?, p.wanted.seed, &ks[d])
                    });
                    cell(runs.collect(), &ks[d], suite.published(s, &method.name, d))
                };
                (0..suite.dataset.len()).map(cell).collect()
            };
            let all: Vec<(&Map<String, Value>, Vec<Cell>)> =
                trials.iter().map(|trial| (*trial, cells(trial))).collect();
            let score = |cells: &[Cell]| {
                let means = cells.iter().filter_map(|c| c.recall.first().and_then(|r| r.mean));
                let means: Vec<f64> = means.collect();
                if means.is_empty() { f64::NEG_INFINITY } else { mean(&means) }
            };
            let asked = of.first().map_or(1, |p| p.wanted.asked);
            if asked > 1 {
                let means = |cells: &[Cell]| {
                    cells.iter().map(|c| c.recall.first().and_then(|r| r.mean)).collect()
                };
                sweeps.push(Trials {
                    method: method.name.clone(),
                    datasets: suite.dataset.iter().map(|d| d.label.clone()).collect(),
                    k: ks.first().and_then(|k| k.first()).copied().unwrap_or(1),
                    asked,
                    trials: all.iter().map(|(t, cells)| ((*t).clone(), means(cells))).collect(),
                });
            }
            // The first of equals, so that the choice doesn't depend on anything else.
            let mut best = 0;
            for i in 1..all.len() {
                if score(&all[i].1) > score(&all[best].1) {
                    best = i;
                }
            }
            let Some((chosen, cells)) = all.into_iter().nth(best) else { continue };
            rows.push(Row {
                name: method.name.clone(),
                source: false,
                transfer: method.transfer,
                chosen: chosen.clone(),
                cells,
            });
        }
        let columns = suite.dataset.iter().enumerate().map(|(d, dataset)| Column {
            dataset: dataset.label.clone(),
            ks: ks[d].clone(),
            test: test(&rows, d),
        });
        let columns = columns.collect();
        mark_best(&mut rows);
        tables.push(Table { setting: setting.name.clone(), columns, rows, sweeps });
    }
    let there = |p: &&Planned| p.job.as_ref().is_some_and(|j| folder.summary(&j.id).is_some());
    let missing = planned.len() - planned.iter().filter(there).count();
    let (title, about) = (suite.title.clone(), suite.about.clone());
    Ok(Results { title, about, seeds: suite.seeds.clone(), tables, missing })
}

/// The row of the sources that the targets of a setting learnt from.
fn source(
    suite: &Suite,
    over: &Over,
    planned: &[Planned],
    folder: &Folder,
    setting: usize,
    ks: &[Vec<usize>],
) -> Result<Option<Row>> {
    if !suite.method.iter().any(|m| m.transfer) {
        return Ok(None);
    }
    let mut cells = Vec::new();
    for (d, ks) in ks.iter().enumerate() {
        let mut runs: Vec<Done> = Vec::new();
        for &seed in &suite.seeds {
            let of = planned.iter().find(|p| {
                let w = &p.wanted;
                (w.setting, w.dataset, w.seed) == (setting, d, seed) && p.source.is_some()
            });
            let Some(path) = of.and_then(|p| p.source.as_ref()) else { continue };
            let given = matches!(suite.source(d, setting, seed, over)?, Source::Given(_));
            // One that is given may have no summary, and one for all seeds counts once.
            if given && runs.iter().any(|r| r.run == *path) {
                continue;
            }
            let id = path.file_name().unwrap_or_default().to_string_lossy();
            let summary = if given { Outcome::find(path) } else { folder.summary(&id) };
            runs.extend(summary.and_then(|s| done(path, &s, seed, ks)));
        }
        cells.push(cell(runs, ks, suite.published(setting, "source", d)));
    }
    let name = "source".to_owned();
    Ok(Some(Row { name, source: true, transfer: false, chosen: Map::new(), cells }))
}

fn done(run: &Path, summary: &Outcome, seed: u64, ks: &[usize]) -> Option<Done> {
    let found = summary.recall.as_ref()?;
    let recall = ks.iter().map(|k| found.get(k).copied());
    Some(Done {
        seed,
        run: run.to_owned(),
        recall: recall.collect::<Option<_>>()?,
        seconds: summary.seconds.unwrap_or_default(),
        parameters: summary.parameters.unwrap_or_default() as u64,
    })
}

fn cell(runs: Vec<Done>, ks: &[usize], published: Option<&[f64]>) -> Cell {
    let recall = (0..ks.len()).map(|i| {
        let values: Vec<f64> = runs.iter().map(|r| 100.0 * r.recall[i]).collect();
        Recall {
            mean: (!values.is_empty()).then(|| mean(&values)),
            deviation: (values.len() > 1).then(|| deviation(&values)),
            published: published.and_then(|p| p.get(i)).copied(),
            best: false,
        }
    });
    Cell { recall: recall.collect(), runs }
}

fn mark_best(rows: &mut [Row]) {
    let Some(columns) = rows.first().map(|r| r.cells.len()) else { return };
    for d in 0..columns {
        for k in 0..rows[0].cells[d].recall.len() {
            let means = rows.iter().filter(|r| !r.source).filter_map(|r| r.cells[d].recall[k].mean);
            let most = means.fold(f64::NEG_INFINITY, f64::max);
            for row in rows.iter_mut().filter(|r| !r.source) {
                let recall = &mut row.cells[d].recall[k];
                recall.best = recall.mean == Some(most);
            }
        }
    }
}

fn test(rows: &[Row], d: usize) -> Option<Test> {
    let first = |row: &Row| row.cells[d].recall.first().and_then(|r| r.mean);
    let mut ranked: Vec<(&Row, f64)> =
        rows.iter().filter(|r| !r.source).filter_map(|r| Some((r, first(r)?))).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let [(best, _), (next, _), ..] = ranked.as_slice() else { return None };
    let value = |row: &Row, seed: u64| {
        row.cells[d].runs.iter().find(|r| r.seed == seed).map(|r| 100.0 * r.recall[0])
    };
    let pairs =
        best.cells[d].runs.iter().filter_map(|r| Some((100.0 * r.recall[0], value(next, r.seed)?)));
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
    if a.is_empty() {
        return None;
    }
    Some(Test {
        best: best.name.clone(),
        runner_up: next.name.clone(),
        difference: mean(&a) - mean(&b),
        p: paired_t(&a, &b),
        seeds: a.len(),
    })
}

/// Most bytes of `results.json`.
const MOST: u64 = 64 << 20;

/// Reads the results that `retort compare` left in a suite's folder.
pub fn read(folder: &Path) -> Result<Results> {
    let path = folder.join("results.json");
    let text = regular::read(&path, MOST)
        .map_err(|e| Failure::file("read", &path, format!("{e}; `retort compare` writes it")))?;
    let results: Results =
        serde_json::from_str(&text).map_err(|e| Failure::file("use", &path, e))?;
    results.check().map_err(|why| Failure::file("use", &path, why))?;
    Ok(results)
}

impl Trials {
    /// That there are fewer trials than asked for, if so.
    pub fn fewer(&self) -> Option<String> {
        fewer(&self.method, self.trials.len(), self.asked)
    }
}

/// That a method has fewer trials than its sweep asks for, if so.
pub fn fewer(method: &str, trials: usize, asked: usize) -> Option<String> {
    let different = match trials {
        1 => "is 1 different one".to_owned(),
        n => format!("are {n} different ones"),
    };
    (trials < asked).then(|| {
        format!("{method}: of the {asked} trials that its sweep asks for, there {different}")
    })
}

impl Results {
    /// Refuses tables whose rows don't fit their columns: the file may be anybody's.
    fn check(&self) -> std::result::Result<(), String> {
        for (t, table) in self.tables.iter().enumerate() {
            for row in &table.rows {
                let fits = |(column, cell): (&Column, &Cell)| {
                    let n = column.ks.len();
                    cell.recall.len() == n && cell.runs.iter().all(|run| run.recall.len() == n)
                };
                let cells = table.columns.iter().zip(&row.cells);
                if row.cells.len() != table.columns.len() || !cells.into_iter().all(fits) {
                    let name = &row.name;
                    return Err(format!(
                        "row {name:?} of table {t} doesn't fit the table's columns"
                    ));
                }
            }
            if table.sweeps.iter().any(|s| s.trials.iter().any(|t| t.1.len() != s.datasets.len())) {
                return Err(format!("a sweep of table {t} doesn't fit its data sets"));
            }
        }
        Ok(())
    }
}
