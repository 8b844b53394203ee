//! Tables: a suite's comparison, plain runs side by side, settings and digests.

use super::gather::{Gathered, Run};
use super::losses;
use crate::html::escape;
use crate::html::plot::{Dot, dots};
use crate::suite::result::{Recall, Results, Table};
use crate::suite::table::{LEGEND, sentence, values};
use std::fmt::Write as _;

/// What was found, in a sentence or two.
pub fn finding(gathered: &Gathered) -> String {
    let Some(results) = &gathered.results else { return verdict(&gathered.runs) };
    let mut html = String::new();
    for table in &results.tables {
        for column in &table.columns {
            let Some(test) = &column.test else { continue };
            let mut text = sentence(&column.dataset, test);
            if !table.setting.is_empty() {
                text = format!("{}, {text}", table.setting);
            }
            let k = column.ks.first().unwrap_or(&1);
            let text = text.replace(" points above", &format!(" points of Recall@{k} above"));
            let _ = write!(html, "<p class=\"lead serif\">{}.</p>", escape(&text));
        }
    }
    html
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
fn verdict(runs: &[Run]) -> String {
    let score = |run: &Run| recall(run).first().copied();
    let mut ranked: Vec<(&Run, usize, f64)> = rivals(runs)
        .into_iter()
        .filter_map(|run| score(run).map(|(k, r)| (run, k, 100.0 * r)))
        .collect();
    let least = ranked.iter().map(|(_, k, _)| *k).min();
    ranked.retain(|(_, k, _)| Some(*k) == least);
    ranked.sort_by(|a, b| b.2.total_cmp(&a.2));
    let text = match ranked.as_slice() {
        [] => return String::new(),
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
    format!("<p class=\"lead serif\">{}.</p>", escape(&text))
}

/// The comparison: of a suite's methods, or of the runs.
pub fn comparison(gathered: &Gathered) -> String {
    match &gathered.results {
        Some(results) => suite(results),
        None => runs(&gathered.runs),
    }
}

fn suite(results: &Results) -> String {
    let seeds: Vec<String> = results.seeds.iter().map(u64::to_string).collect();
    let mut html =
        format!("<p class=\"note\">{LEGEND} Seeds: {}. Bold: the best method.", seeds.join(", "));
    let all = || results.tables.iter().flat_map(|t| &t.rows).flat_map(|r| &r.cells);
    if all().flat_map(|c| &c.recall).any(|r| r.published.is_some()) {
        html.push_str(" Small below: the paper's published numbers.");
    }
    if results.missing > 0 {
        let _ = write!(html, " {} trainings are missing.", results.missing);
    }
    html.push_str("</p>");
    for table in &results.tables {
        if !table.setting.is_empty() {
            let _ = write!(html, "<h3>{}</h3>", escape(&table.setting));
        }
        html.push_str(&one(table));
        html.push_str(&dot_plots(table));
        for sweep in &table.sweeps {
            let _ = write!(
                html,
                "<details><summary>The sweep of {} <small>{} trials; the table has the best, chosen on \
                 these same classes</small></summary><div class=\"scroll\"><table class=\"numbers\"><thead>\
                 <tr><th>Trial</th>",
                escape(&sweep.method),
                sweep.trials.len()
            );
            for dataset in &sweep.datasets {
                let _ = write!(html, "<th>{} R@{}</th>", escape(dataset), sweep.k);
            }
            html.push_str("</tr></thead><tbody>");
            for (trial, means) in &sweep.trials {
                let _ = write!(html, "<tr><th>{}</th>", escape(&values(trial)));
                for mean in means {
                    let mean = mean.map_or("–".to_owned(), |m| format!("{m:.1}"));
                    let _ = write!(html, "<td>{mean}</td>");
                }
                html.push_str("</tr>");
            }
            html.push_str("</tbody></table></div>");
            if let Some(fewer) = sweep.fewer() {
                let _ = write!(html, "<p class=\"note\">{}.</p>", escape(&fewer));
            }
            html.push_str("</details>");
        }
    }
    html
}

fn one(table: &Table) -> String {
    let mut html = "<div class=\"scroll\"><table class=\"numbers\"><thead>".to_owned();
    if table.columns.len() > 1 {
        html.push_str("<tr><th></th>");
        for column in &table.columns {
            let (n, name) = (column.ks.len(), escape(&column.dataset));
            let _ = write!(html, "<th class=\"group\" colspan=\"{n}\">{name}</th>");
        }
        html.push_str("</tr>");
    }
    html.push_str("<tr><th>Method</th>");
    for k in table.columns.iter().flat_map(|c| &c.ks) {
        let _ = write!(html, "<th>R@{k}</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        let class = if row.source { " class=\"reference\"" } else { "" };
        let _ = write!(html, "<tr{class}><th>{}", escape(&row.name));
        if !row.chosen.is_empty() {
            let _ = write!(html, " <small>{}</small>", escape(&values(&row.chosen)));
        }
        html.push_str("</th>");
        for recall in row.cells.iter().flat_map(|c| &c.recall) {
            html.push_str(&cell(recall));
        }
        html.push_str("</tr>");
    }
    html + "</tbody></table></div>"
}

fn cell(recall: &Recall) -> String {
    let class = if recall.best { " class=\"best\"" } else { "" };
    let mean = recall.mean.map_or("–".to_owned(), |m| format!("{m:.1}"));
    let deviation = recall
        .deviation
        .map(|d| format!("<span class=\"sd\"> ± {d:.1}</span>"))
        .unwrap_or_default();
    let published = recall.published;
    let published =
        published.map(|p| format!("<span class=\"published\">{p:.1}</span>")).unwrap_or_default();
    format!("<td{class}>{mean}{deviation}{published}</td>")
}

fn dot_plots(table: &Table) -> String {
    let mut html = "<div class=\"figures wide\">".to_owned();
    for (d, column) in table.columns.iter().enumerate() {
        let Some(k) = column.ks.first() else { continue };
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
        if rows.len() > 1 {
            let _ = write!(
                html,
                "<figure><figcaption><b>Recall@{k} on {}.</b> Mean, standard deviation and each seed; grey: the source, and \
                 without transfer.</figcaption>{}</figure>",
                escape(&column.dataset),
                dots(&rows, &format!("Recall@{k} in %"))
            );
        }
    }
    html + "</div>"
}

/// Recall@K of a finished run, by K.
fn recall(run: &Run) -> Vec<(usize, f64)> {
    run.summary.recall.iter().flatten().map(|(k, r)| (*k, *r)).collect()
}

fn runs(runs: &[Run]) -> String {
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
    let mut html = "<p class=\"note\">Recall@K in % on classes that no training has seen. Bold: the best of the \
                    targets, or of all where there are none.</p>\
                    <div class=\"scroll\"><table class=\"numbers\"><thead><tr><th>Run</th>"
        .to_owned();
    for k in &ks {
        let _ = write!(html, "<th>R@{k}</th>");
    }
    html.push_str(
        "<th>Losses</th><th>Network</th><th>Dimensions</th><th>Parameters</th><th>Time</th></tr></thead><tbody>",
    );
    for run in runs {
        let class = if run.experiment.source.is_none() { " class=\"reference\"" } else { "" };
        let _ = write!(html, "<tr{class}><th>{}</th>", escape(&run.name));
        let recall = recall(run);
        for k in &ks {
            let own = recall.iter().find(|r| r.0 == *k).map(|r| r.1);
            let class =
                if own.is_some_and(|r| is_best(run, *k, r)) { " class=\"best\"" } else { "" };
            let own = own.map_or("–".to_owned(), |r| format!("{:.1}", 100.0 * r));
            let _ = write!(html, "<td{class}>{own}</td>");
        }
        let seconds = run.summary.seconds.filter(|_| !recall.is_empty());
        let unfinished = if run.summary.failed.is_some() { "failed" } else { "not finished" };
        let _ = write!(
            html,
            "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&losses(run)),
            escape(&run.experiment.network.name),
            run.experiment.network.embedding,
            run.summary.parameters.map_or("–".to_owned(), |n| n.to_string()),
            seconds.map_or(unfinished.to_owned(), |s| format!("{s:.0} s")),
        );
    }
    html + "</tbody></table></div>"
}

/// The configuration of every run, and the digests of what it used.
pub fn settings(runs: &[Run]) -> String {
    let mut html = String::new();
    for run in runs {
        let text =
            |fact: &Option<String>| fact.as_ref().map_or("–".to_owned(), |text| escape(text));
        let (made, device) = (&run.info.identity, &run.info.device);
        let _ = write!(
            html,
            "<details><summary>{} <small>{}</small></summary><dl><dt>Folder</dt><dd><code>{}</code></dd>\
             <dt>retort</dt><dd>{}</dd><dt>Seed</dt><dd>{}</dd><dt>Device</dt><dd>{} {}</dd>",
            escape(&run.name),
            escape(&losses(run)),
            escape(&run.folder.display().to_string()),
            text(&made.retort),
            run.experiment.seed,
            text(&device.name),
            text(&device.driver),
        );
        if let Some(why) = &run.summary.failed {
            let _ = write!(html, "<dt>Failed</dt><dd>{}</dd>", escape(why));
        }
        for file in &made.plugins {
            let _ = write!(
                html,
                "<dt>{}</dt><dd>{}, <code>{}</code></dd>",
                escape(&file.loss),
                escape(&file.origin),
                escape(&file.digest)
            );
        }
        let _ = write!(html, "</dl><pre>{}</pre></details>", escape(run.config.trim_end()));
    }
    html
}
