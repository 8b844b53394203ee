//! Curves of everything that runs log: each loss term, each metric, the learning rate.

use super::gather::{Gathered, Run};
use crate::html::escape;
use crate::html::plot::{Curve, legend_of, lines};
use crate::run::line::Line;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Most points of a curve: more can't be seen.
const POINTS: usize = 240;

/// A logged number's name, and its values over the steps or epochs.
type Series = BTreeMap<String, Vec<(f64, f64)>>;

/// Every series of a run: over steps, and over epochs.
fn series(run: &Run) -> (Series, Series) {
    let (mut steps, mut epochs) = (Series::new(), Series::new());
    let put = |into: &mut Series, name: String, at: f64, x: Option<f64>| {
        if let Some(x) = x {
            into.entry(name).or_default().push((at, x));
        }
    };
    for line in &run.metrics {
        match line {
            Line::Step(line) => {
                let at = line.step as f64;
                put(&mut steps, "loss".to_owned(), at, line.loss);
                put(&mut steps, "learning rate".to_owned(), at, line.lr);
                for (name, x) in &line.terms {
                    put(&mut steps, format!("{name}, weighted"), at, *x);
                }
                for (name, x) in &line.values {
                    put(&mut steps, name.clone(), at, *x);
                }
            }
            Line::Epoch(line) => {
                let at = line.epoch as f64;
                put(&mut epochs, "mean loss of the epoch".to_owned(), at, line.mean_loss);
                for (k, r) in line.recall.iter().flatten() {
                    put(&mut epochs, format!("Recall@{k} in %"), at, Some(100.0 * r));
                }
            }
        }
    }
    // A single loss is the sum; of weight 1, weighted and unweighted.
    if let [only] = run.experiment.loss.as_slice() {
        let plain = (only.weight - 1.0).abs() < 1e-12;
        steps.retain(|name, _| name != "loss" && !(plain && name.ends_with(", weighted")));
    }
    (steps, epochs)
}

/// Every `n`th point, and the last.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let keep = points.iter().enumerate().filter(|(i, _)| i % every == 0 || *i == last);
    keep.map(|(_, p)| *p).collect()
}

/// Recall@K over the epochs, all methods over each other: the mean over a method's seeds.
pub fn together(gathered: &Gathered) -> String {
    let mut groups: Vec<(&str, Vec<Series>)> = Vec::new();
    for run in &gathered.runs {
        // Plain runs stand for themselves.
        let name = if gathered.results.is_some() { &run.group } else { &run.name };
        let epochs = series(run).1;
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(epochs),
            None => groups.push((name, vec![epochs])),
        }
    }
    let mut names: Vec<&String> =
        groups.iter().flat_map(|(_, all)| all).flat_map(|s| s.keys()).collect();
    names.retain(|name| is_recall(name));
    names.sort_by_key(|name| (name.len(), name.as_str()));
    names.dedup();
    let mut plots = String::new();
    for name in names {
        let curve = |(group, all): &(&'_ str, Vec<Series>)| {
            let points = mean(&all.iter().filter_map(|s| s.get(name)).collect::<Vec<_>>());
            (points.len() > 1).then(|| (group.to_string(), points))
        };
        let found: Vec<(String, Vec<(f64, f64)>)> = groups.iter().filter_map(curve).collect();
        let curves: Vec<Curve> =
            found.iter().map(|(name, points)| Curve { name, points: thin(points) }).collect();
        let Some(svg) = lines(&curves, "epoch", name) else { continue };
        let _ = write!(
            plots,
            "<figure><figcaption><b>{}</b></figcaption>{svg}{}</figure>",
            escape(name),
            legend_of(&curves)
        );
    }
    if plots.is_empty() {
        return "<p class=\"note\">None of the runs was evaluated more than once, so there is no curve: \
                <code>train.evaluate_every = 1</code> evaluates after every epoch.</p>"
            .to_owned();
    }
    let seeds =
        if gathered.results.is_some() { " A curve is the mean over the seeds." } else { "" };
    format!(
        "<p class=\"note\">On unseen classes, after each epoch that was evaluated.{seeds} Point at a curve for its \
         values.</p><div class=\"figures wide\">{plots}</div>"
    )
}

fn is_recall(series: &str) -> bool {
    series.starts_with("Recall@")
}

/// The mean of several curves at the places that all of them have.
fn mean(curves: &[&Vec<(f64, f64)>]) -> Vec<(f64, f64)> {
    let Some((first, others)) = curves.split_first() else { return Vec::new() };
    let at = |curve: &[(f64, f64)], x: f64| {
        curve.iter().find(|p| p.0.total_cmp(&x).is_eq()).map(|p| p.1)
    };
    let n = curves.len() as f64;
    let point = |(x, y): &(f64, f64)| {
        let rest: Option<Vec<f64>> = others.iter().map(|curve| at(curve, *x)).collect();
        Some((*x, rest?.iter().fold(y / n, |sum, y| sum + y / n)))
    };
    first.iter().filter_map(point).collect()
}

/// A group of runs at a time, a plot for each number that they log.
pub fn section(gathered: &Gathered) -> String {
    let mut groups: Vec<(&str, Vec<&Run>)> = Vec::new();
    for run in &gathered.runs {
        match groups.iter_mut().find(|(name, _)| *name == run.group) {
            Some((_, runs)) => runs.push(run),
            None => groups.push((&run.group, vec![run])),
        }
    }
    let mut html = String::new();
    for (name, runs) in &groups {
        let all: Vec<(&Run, (Series, Series))> = runs.iter().map(|r| (*r, series(r))).collect();
        let mut plots = String::new();
        for (over, pick) in [("step", 0), ("epoch", 1)] {
            let side = |s: &'_ (Series, Series)| if pick == 0 { s.0.clone() } else { s.1.clone() };
            let sides: Vec<(&Run, Series)> = all.iter().map(|(r, s)| (*r, side(s))).collect();
            let mut names: Vec<&String> = sides.iter().flat_map(|(_, s)| s.keys()).collect();
            names.sort_by_key(|n| (rank(n), n.as_str()));
            names.dedup();
            // Plain runs' Recall has a section of its own.
            names.retain(|name| gathered.results.is_some() || !is_recall(name));
            for series in names {
                let curves: Vec<Curve> = sides
                    .iter()
                    .filter_map(|(run, s)| {
                        Some(Curve { name: &run.member, points: thin(s.get(series)?) })
                    })
                    .collect();
                // One point isn't a curve; the tables have it.
                if curves.iter().all(|c| c.points.len() < 2) {
                    continue;
                }
                let Some(svg) = lines(&curves, over, series) else { continue };
                let _ = write!(
                    plots,
                    "<figure><figcaption><b>{}</b></figcaption>{svg}{}</figure>",
                    escape(series),
                    legend_of(&curves)
                );
            }
        }
        if plots.is_empty() {
            continue;
        }
        if groups.len() == 1 {
            let _ = write!(html, "<div class=\"figures\">{plots}</div>");
        } else {
            let open = if html.is_empty() { " open" } else { "" };
            let _ = write!(
                html,
                "<details{open}><summary>{}</summary><div class=\"figures\">{plots}</div></details>",
                escape(name)
            );
        }
    }
    html
}

/// Losses first, rates last.
fn rank(name: &str) -> usize {
    match name {
        "loss" => 0,
        "learning rate" => 3,
        "mean loss of the epoch" => 2,
        _ => 1,
    }
}
