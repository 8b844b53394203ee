//! The report: runs, or a suite, as one HTML file that can be mailed.

mod curves;
mod embedding;
mod gather;
mod look;
mod tables;

use crate::failure::{Failure, Result};
use crate::html;
use crate::plugin::registry::short_name;
use crate::terminal::clean;
use gather::{Gathered, Run};
use maud::{Markup, html};
use std::path::{Path, PathBuf};

/// What a report is made of.
#[derive(Debug)]
pub struct Options {
    /// Run folders, folders of them, and suites' folders.
    pub paths: Vec<PathBuf>,
    /// Where the pictures are, if not where the runs found them.
    pub data_root: Option<PathBuf>,
    /// Most pictures to embed.
    pub samples: usize,
    /// Where to embed them.
    pub device: burn::tensor::Device,
}

/// What is in a report.
#[derive(Debug)]
pub struct Written {
    /// Its runs.
    pub runs: usize,
    /// What it lacks, and why.
    pub lacks: Vec<String>,
}

/// Writes a report; `say` hears what is being done.
pub fn write(out: &Path, options: &Options, say: &dyn Fn(&str)) -> Result<Written> {
    // Networks have the names of their runs.
    let say = &|what: &str| say(&clean::line(what));
    say("reading the runs");
    let mut gathered = gather::gather(&options.paths)?;
    let mut lacks = std::mem::take(&mut gathered.lacks);
    let views = match embedding::views(&gathered, options, say) {
        Ok(mut views) => {
            lacks.append(&mut views.lacks);
            Some(views)
        }
        Err(why) => {
            lacks.push(format!("no pictures and projections: {}", why.message));
            None
        }
    };
    say("writing the page");
    let html = render(&gathered, views.as_ref(), &lacks);
    retort_core::fs::atomic_write(out, html.as_bytes()).map_err(Failure::new)?;
    Ok(Written { runs: gathered.runs.len(), lacks })
}

fn render(gathered: &Gathered, views: Option<&embedding::Views>, lacks: &[String]) -> String {
    let mut sections: Vec<(&str, &str, Markup)> = Vec::new();
    let mut put = |id, title, body: Markup| {
        if !body.0.is_empty() {
            sections.push((id, title, body));
        }
    };
    put("comparison", "Comparison", tables::comparison(gathered));
    if let Some(views) = views {
        put("neighbours", "Nearest neighbours", look::neighbours(views));
        put("distances", "Distances of pairs", look::distances(views));
        put("projection", "The embedding in two dimensions", look::projections(views));
    }
    put("epochs", "Recall over the epochs", curves::together(gathered));
    put("curves", "Curves", curves::section(gathered));
    put("settings", "Settings and digests", tables::settings(&gathered.runs));

    let body = html! {
        h1 { (gathered.title) }
        (tables::finding(gathered))
        @if !gathered.about.is_empty() { p.about { (gathered.about.trim()) } }
        @for lack in lacks { p.note { "This report has " (lack) "." } }
        nav.contents {
            @for (id, title, _) in &sections { a href={ "#" (id) } { (title) } }
        }
        @for (id, title, body) in &sections {
            section id=(id) { h2 { (title) } (body) }
        }
        footer {
            (gathered.runs.len()) " runs · written by retort " (env!("CARGO_PKG_VERSION"))
            " · this page holds everything it shows and loads nothing"
        }
    };
    html::page(&gathered.title, &body)
}

/// Losses of a run, for people.
fn losses(run: &Run) -> String {
    let names = run.experiment.loss.iter().map(|l| short_name(&l.name));
    names.collect::<Vec<_>>().join(" + ")
}
