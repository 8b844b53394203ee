//! Tables: a suite's comparison, plain runs side by side, settings and digests.

use super::gather::{Gathered, Run};
use super::losses;
use crate::html::plot::{Dot, dots};
use crate::suite::result::{Recall, Results, Table, Trials};
use crate::suite::table::{LEGEND, sentence, values};
use maud::{Markup, html};

/// What was found, in a sentence or two.
pub fn finding(gathered: &Gathered) -> Markup {
    let Some(results) = &gathered.results else { return verdict(&gathered.runs) };
    html! {
        @for table in &results.tables {
            @for column in &table.columns {
                @if let Some(test) = &column.test {
                    p class="lead serif" {
                        @if !table.setting.is_empty() { (table.setting) ", " }
                        @let k = column.ks.first().unwrap_or(&1);
                        @let above = format!(" points of Recall@{k} above");
                        (sentence(&column.dataset, test).replace(" points above", &above)) "."
                    }
                }
            }
        }
    }
}

/// Runs that compete: the targets, or where there are none all, that have come to their end on the first one's
/// data.
fn rivals(runs: &[Run]) -> Vec<&Run> {
    let done: Vec<&Run> = runs.iter().filter(|run| !recall(run).is_empty()).collect();
    let targets: Vec<&Run> =
        done.iter().copied().filter(|run| run.info.role.as_deref() == Some("target")).collect();
    let mut rivals = if targets.is_empty() { done } else { targets };
    if let Some(first) = rivals.first().copied() {
        rivals.retain(|run| run.experiment.data == first.experiment.data);
    }
    rivals
}

/// What single runs found.
fn verdict(runs: &[Run]) -> Markup {
    let score = |run: &Run| recall(run).first().copied();
    let mut ranked: Vec<(&Run, usize, f64)> = rivals(runs)
        .into_iter()
        .filter_map(|run| score(run).map(|(k, r)| (run, k, 100.0 * r)))
        .collect();
    let least = ranked.iter().map(|(_, k, _)| *k).min();
    ranked.retain(|(_, k, _)| Some(*k) == least);
    ranked.sort_by(|a, b| b.2.total_cmp(&a.2));
    let text = match ranked.as_slice() {
        [] => return Markup::default(),
        [(run, k, r)] => {
            let data = &run.experiment.data.name;
            format!("{}: Recall@{k} is {r:.1} % on the unseen classes of {data}", run.name)
        }
        [(best, k, most), (next, _, r), ..] => format!(
            "{} is best, {:.1} points of Recall@{k} above {} (a run each: no test tells it from luck; \
             `retort compare` trains with several seeds)",
            best.name,
            most - r,
            next.name
        ),
    };
    html! { p class="lead serif" { (text) "." } }
}

/// The comparison: of a suite's methods, or of the runs.
pub fn comparison(gathered: &Gathered) -> Markup {
    match &gathered.results {
        Some(results) => suite(results),
        None => runs(&gathered.runs),
    }
}

fn suite(results: &Results) -> Markup {
    let seeds: Vec<String> = results.seeds.iter().map(u64::to_string).collect();
    let cells = results.tables.iter().flat_map(|t| &t.rows).flat_map(|r| &r.cells);
    let published = cells.flat_map(|c| &c.recall).any(|r| r.published.is_some());
    html! {
        p.note {
            (LEGEND) " Seeds: " (seeds.join(", ")) ". Bold: the best method."
            @if published { " Small below: the paper's published numbers." }
            @if results.missing > 0 { " " (results.missing) " trainings are missing." }
        }
        @for table in &results.tables {
            @if !table.setting.is_empty() { h3 { (table.setting) } }
            (one(table))
            (dot_plots(table))
            @for sweep in &table.sweeps { (trials(sweep)) }
        }
    }
}

/// A sweep's trials, folded away.
fn trials(sweep: &Trials) -> Markup {
    html! {
        details {
            summary {
                "The sweep of " (sweep.method) " "
                small {
                    (sweep.trials.len())
                    " trials; the table has the best, chosen on these same classes"
                }
            }
            div.scroll {
                table.numbers {
                    thead {
                        tr {
                            th { "Trial" }
                            @for dataset in &sweep.datasets { th { (dataset) " R@" (sweep.k) } }
                        }
                    }
                    tbody {
                        @for (trial, means) in &sweep.trials {
                            tr {
                                th { (values(trial)) }
                                @for mean in means { td { (percent(*mean)) } }
                            }
                        }
                    }
                }
            }
            @if let Some(fewer) = sweep.fewer() { p.note { (fewer) "." } }
        }
    }
}

/// A number of percent, if there is one.
fn percent(number: Option<f64>) -> String {
    number.map_or("–".to_owned(), |x| format!("{x:.1}"))
}

fn one(table: &Table) -> Markup {
    html! {
        div.scroll {
            table.numbers {
                thead {
                    @if table.columns.len() > 1 {
                        tr {
                            th {}
                            @for column in &table.columns {
                                th.group colspan=(column.ks.len()) { (column.dataset) }
                            }
                        }
                    }
                    tr {
                        th { "Method" }
                        @for k in table.columns.iter().flat_map(|c| &c.ks) { th { "R@" (k) } }
                    }
                }
                tbody {
                    @for row in &table.rows {
                        tr class=[row.source.then_some("reference")] {
                            th {
                                (row.name)
                                @if !row.chosen.is_empty() { " " small { (values(&row.chosen)) } }
                            }
                            @for recall in row.cells.iter().flat_map(|c| &c.recall) { (cell(recall)) }
                        }
                    }
                }
            }
        }
    }
}

fn cell(recall: &Recall) -> Markup {
    html! {
        td class=[recall.best.then_some("best")] {
            (percent(recall.mean))
            @if let Some(deviation) = recall.deviation {
                span.sd { (format_args!(" ± {deviation:.1}")) }
            }
            @if let Some(published) = recall.published {
                span.published { (format_args!("{published:.1}")) }
            }
        }
    }
}

fn dot_plots(table: &Table) -> Markup {
    let plots = table.columns.iter().enumerate().filter_map(|(d, column)| {
        let k = *column.ks.first()?;
        let rows: Vec<Dot> = table
            .rows
            .iter()
            .filter_map(|row| {
                let recall = row.cells[d].recall.first()?;
                Some(Dot {
                    name: &row.name,
                    mean: recall.mean?,
                    deviation: recall.deviation.unwrap_or(0.0),
                    values: row.cells[d].runs.iter().map(|r| 100.0 * r.recall[0]).collect(),
                    reference: row.source || !row.transfer,
                })
            })
            .collect();
        (rows.len() > 1).then_some((column, k, rows))
    });
    html! {
        div class="figures wide" {
            @for (column, k, rows) in plots {
                figure {
                    figcaption {
                        b { "Recall@" (k) " on " (column.dataset) "." }
                        " Mean, standard deviation and each seed; grey: the source, and without transfer."
                    }
                    (dots(&rows, &format!("Recall@{k} in %")))
                }
            }
        }
    }
}

/// Recall@K of a finished run, by K.
fn recall(run: &Run) -> Vec<(usize, f64)> {
    run.summary.recall.iter().flatten().map(|(k, r)| (*k, *r)).collect()
}

fn runs(runs: &[Run]) -> Markup {
    let mut ks: Vec<usize> = runs.iter().flat_map(recall).map(|r| r.0).collect();
    ks.sort_unstable();
    ks.dedup();
    let rivals = rivals(runs);
    let most = |k: usize| {
        let of = |run: &&Run| recall(run).iter().find(|r| r.0 == k).map(|r| r.1);
        rivals.iter().filter_map(of).fold(f64::NEG_INFINITY, f64::max)
    };
    // One alone is no best.
    let is_best = |run: &Run, k: usize, r: f64| {
        rivals.len() > 1
            && rivals.iter().any(|rival| std::ptr::eq(*rival, run))
            && r.total_cmp(&most(k)).is_eq()
    };
    html! {
        p.note {
            "Recall@K in % on classes that no training has seen. Bold: the best of the targets, or of \
             all where there are none."
        }
        div.scroll {
            table.numbers {
                thead {
                    tr {
                        th { "Run" }
                        @for k in &ks { th { "R@" (k) } }
                        th { "Losses" } th { "Network" } th { "Dimensions" } th { "Parameters" }
                        th { "Time" }
                    }
                }
                tbody {
                    @for run in runs {
                        @let source = run.experiment.source.is_none();
                        tr class=[source.then_some("reference")] {
                            th { (run.name) }
                            @for k in &ks {
                                @let own = recall(run).iter().find(|r| r.0 == *k).map(|r| r.1);
                                @let best = own.is_some_and(|r| is_best(run, *k, r));
                                td class=[best.then_some("best")] { (percent(own.map(|r| 100.0 * r))) }
                            }
                            td { (losses(run)) }
                            td { (run.experiment.network.name) }
                            td { (run.experiment.network.embedding) }
                            td { (run.summary.parameters.map_or("–".to_owned(), |n| n.to_string())) }
                            td { (time(run)) }
                        }
                    }
                }
            }
        }
    }
}

/// How long a run took, or why it hasn't come to its end.
fn time(run: &Run) -> String {
    match run.summary.seconds.filter(|_| !recall(run).is_empty()) {
        Some(seconds) => format!("{seconds:.0} s"),
        None if run.summary.failed.is_some() => "failed".to_owned(),
        None => "not finished".to_owned(),
    }
}

/// The configuration of every run, and the digests of what it used.
pub fn settings(runs: &[Run]) -> Markup {
    html! { @for run in runs { (setting(run)) } }
}

fn setting(run: &Run) -> Markup {
    let (made, device) = (&run.info.identity, &run.info.device);
    let known = |fact: &Option<String>| fact.clone().unwrap_or_else(|| "–".to_owned());
    html! {
        details {
            summary { (run.name) " " small { (losses(run)) } }
            dl {
                dt { "Folder" } dd { code { (run.folder.display()) } }
                dt { "retort" } dd { (known(&made.retort)) }
                dt { "Seed" } dd { (run.experiment.seed) }
                dt { "Device" } dd { (known(&device.name)) " " (known(&device.driver)) }
                @if let Some(why) = &run.summary.failed { dt { "Failed" } dd { (why) } }
                @for file in &made.plugins {
                    dt { (file.loss) } dd { (file.origin) ", " code { (file.digest) } }
                }
            }
            pre { (run.config.trim_end()) }
        }
    }
}
