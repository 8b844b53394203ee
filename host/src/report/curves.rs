//! Curves of everything that runs log: each loss term, each metric, the learning rate.

use super::gather::{Gathered, Run};
use crate::html::plot::{Curve, legend_of, lines};
use crate::run::line::Line;
use maud::{Markup, html};
use std::collections::BTreeMap;

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
pub fn together(gathered: &Gathered) -> Markup {
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
    let plots = names.into_iter().filter_map(|name| {
        let curve = |(group, all): &(&'_ str, Vec<Series>)| {
            let points = mean(&all.iter().filter_map(|s| s.get(name)).collect::<Vec<_>>());
            (points.len() > 1).then(|| (group.to_string(), points))
        };
        let found: Vec<(String, Vec<(f64, f64)>)> = groups.iter().filter_map(curve).collect();
        let curves: Vec<Curve> =
            found.iter().map(|(name, points)| Curve { name, points: thin(points) }).collect();
        figure(name, &curves, "epoch")
    });
    let plots: Vec<Markup> = plots.collect();
    html! {
        @if plots.is_empty() {
            p.note {
                "None of the runs was evaluated more than once, so there is no curve: "
                code { "train.evaluate_every = 1" } " evaluates after every epoch."
            }
        } @else {
            p.note {
                "On unseen classes, after each epoch that was evaluated."
                @if gathered.results.is_some() { " A curve is the mean over the seeds." }
                " Point at a curve for its values."
            }
            div class="figures wide" { @for plot in &plots { (plot) } }
        }
    }
}

/// A plot under its name. `None` if there is nothing finite to draw.
fn figure(name: &str, curves: &[Curve], x_label: &str) -> Option<Markup> {
    let plot = lines(curves, x_label, name)?;
    Some(html! { figure { figcaption { b { (name) } } (plot) (legend_of(curves)) } })
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
pub fn section(gathered: &Gathered) -> Markup {
    let mut groups: Vec<(&str, Vec<&Run>)> = Vec::new();
    for run in &gathered.runs {
        match groups.iter_mut().find(|(name, _)| *name == run.group) {
            Some((_, runs)) => runs.push(run),
            None => groups.push((&run.group, vec![run])),
        }
    }
    // Plain runs' Recall has a section of its own.
    let recall = gathered.results.is_some();
    let alone = groups.len() == 1;
    let drawn = groups.iter().map(|(name, runs)| (name, plots(runs, recall)));
    html! {
        @for (i, (name, plots)) in drawn.filter(|(_, plots)| !plots.is_empty()).enumerate() {
            @let plots = html! { div.figures { @for plot in &plots { (plot) } } };
            @if alone { (plots) } @else {
                details open[i == 0] { summary { (name) } (plots) }
            }
        }
    }
}

/// The plots of a group: over the steps, then over the epochs, with its Recall or without.
fn plots(runs: &[&Run], recall: bool) -> Vec<Markup> {
    let (steps, epochs): (Vec<Series>, Vec<Series>) = runs.iter().map(|run| series(run)).unzip();
    let mut plots = Vec::new();
    for (over, all) in [("step", steps), ("epoch", epochs)] {
        let mut names: Vec<&String> = all.iter().flat_map(Series::keys).collect();
        names.sort_by_key(|n| (rank(n), n.as_str()));
        names.dedup();
        names.retain(|name| recall || !is_recall(name));
        for name in names {
            let those = runs.iter().zip(&all).filter_map(|(run, series)| {
                Some(Curve { name: &run.member, points: thin(series.get(name)?) })
            });
            let curves: Vec<Curve> = those.collect();
            // One point isn't a curve; the tables have it.
            if curves.iter().any(|c| c.points.len() > 1) {
                plots.extend(figure(name, &curves, over));
            }
        }
    }
    plots
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
