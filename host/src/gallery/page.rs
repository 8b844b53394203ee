//! The pages of a gallery.

use super::{Shown, markdown, math};
use crate::share::key;
use crate::share::registry::entry::Entry;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use retort_sdk::schema::{Definition, Field};
use sha2::{Digest as _, Sha256};
use std::fmt::Display;

const STYLE: &str = include_str!("../html/style.css");
const OWN: &str = include_str!("gallery.css");
const SEARCH: &str = include_str!("search.js");

/// Foreign text, without what acts; maud escapes it.
fn seen(text: &str) -> String {
    crate::terminal::clean::text(text).into_owned()
}

/// A page. Nothing leaves it, and the one script that runs is the search's, known by its hash.
fn page(title: &str, script: bool, content: &Markup) -> String {
    let allowed = if script {
        format!("; script-src 'sha256-{}'", STANDARD.encode(Sha256::digest(SEARCH)))
    } else {
        String::new()
    };
    let policy = format!("default-src 'none'; style-src 'unsafe-inline'{allowed}");
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(OWN)) }
            }
            body {
                main { (content) }
                @if script { script { (PreEscaped(SEARCH)) } }
            }
        }
    };
    page.into_string() + "\n"
}

/// The first page: every loss, and a field that looks for words in them.
pub fn first(all: &[Shown]) -> String {
    let content = html! {
        h1 { "Losses" }
        p.lead { "Losses for embedding transfer and metric learning, each with its equation, its checks and its paper." }
        input type="search" hidden placeholder="Search" aria-label="Search";
        p.note #count {}
        ul.cards {
            @for shown in all {
                @for loss in &shown.pack.losses {
                    li.card {
                        a href=(format!("{}/{}.html", shown.folder(), loss.name)) { (loss.name) }
                        @if shown.name.is_some() { " " small { (shown.title()) } }
                        p { (seen(&summary(loss))) }
                        p.paper { small { (seen(&loss.paper)) } }
                    }
                }
            }
        }
        footer { "Made by " code { "retort gallery build" } "." }
    };
    page("Losses", true, &content)
}

fn summary(loss: &Definition) -> String {
    loss.doc.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

/// A loss's page.
pub fn loss(shown: &Shown, loss: &Definition) -> String {
    let newest = shown.versions.iter().find(|entry| !entry.yanked);
    let content = html! {
        p.about { a href="../../index.html" { "All losses" } " · " (shown.title()) }
        h1.code { (loss.name) }
        p.lead { (seen(&summary(loss))) }
        @if !loss.paper.is_empty() { p.paper { (seen(&loss.paper)) } }
        pre.install { (install(shown, loss)) }
        @for paragraph in loss.doc.split("\n\n").skip(1) {
            @if math::is_equation(paragraph) {
                (math::typeset(&seen(paragraph)))
                details { summary { small { "As written" } } pre { (seen(paragraph)) } }
            } @else {
                p { (seen(paragraph)) }
            }
        }
        @if !loss.hyper.is_empty() { h2 { "Hyperparameters" } (hyper(&loss.hyper)) }
        (checks(shown, newest, loss))
        (about(shown))
        @if !shown.versions.is_empty() { h2 { "Versions" } (versions(&shown.versions)) }
        @if let Some(about) = shown.about.as_ref().filter(|about| !about.readme.is_empty()) {
            h2 { "README" }
            div.readme { (markdown::render(&about.readme)) }
        }
    };
    page(&loss.name, false, &content)
}

fn install(shown: &Shown, loss: &Definition) -> String {
    match &shown.name {
        Some(name) => format!("retort add {name}\nretort loss info {name}#{}", loss.name),
        None => format!("retort loss info {}", loss.name),
    }
}

fn hyper(fields: &[Field]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "name" } th { "default" } th { "range" } th { "meaning" } } }
            tbody {
                @for field in fields {
                    tr {
                        th { code { (field.name) } }
                        td { (seen(&value(&field.default))) }
                        td { @if field.choices.is_empty() { (field.range) } @else { (seen(&field.choices.join(", "))) } }
                        td { (seen(&field.doc)) }
                    }
                }
            }
        } }
    }
}

fn value(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What the checks found: the index's word, with the author's details.
fn checks(shown: &Shown, newest: Option<&Entry>, loss: &Definition) -> Markup {
    let listed = newest.and_then(|entry| entry.losses.iter().find(|l| l.name == loss.name));
    let Some(listed) = listed.filter(|listed| !listed.checks.is_empty()) else {
        return html! {};
    };
    let card = shown.about.as_ref().map(|about| &about.card[&loss.name]);
    let details = |property: &str| {
        let all = card.and_then(|card| card.as_array()).map(Vec::as_slice).unwrap_or_default();
        let one = all.iter().find(|v| v["property"] == property);
        one.and_then(|v| v["detail"].as_str()).unwrap_or_default().to_owned()
    };
    html! {
        h2 { "Checks" }
        table.verdicts { tbody {
            @for (property, verdict) in &listed.checks {
                tr class=(class(verdict)) {
                    th { (seen(property)) }
                    td.status { (seen(verdict)) }
                    td { (seen(&details(property))) }
                }
            }
        } }
    }
}

/// A verdict's class of the style sheet.
fn class(verdict: &str) -> &'static str {
    match verdict {
        "holds" => "holds",
        "fails" => "fails",
        "exempt" => "exempt",
        _ => "unchecked",
    }
}

/// The conventional texts. Only addresses of the web are links.
fn about(shown: &Shown) -> Markup {
    let texts = shown.about.as_ref().map(|about| &about.texts);
    html! {
        @if let Some(texts) = texts.filter(|texts| !texts.is_empty()) {
            h2 { "The pack" }
            dl {
                @for (name, text) in texts {
                    dt { (name) }
                    dd {
                        @if text.starts_with("https://") || text.starts_with("http://") {
                            a rel="nofollow noopener" href=(seen(text)) { (seen(text)) }
                        } @else { (seen(text)) }
                    }
                }
            }
        }
    }
}

fn versions(all: &[Entry]) -> Markup {
    let signer = |entry: &Entry| -> String {
        let key = entry.key.as_deref().and_then(|key| key::fingerprint(key).ok());
        key.unwrap_or_else(|| "nobody".to_owned())
    };
    let cell = |text: &dyn Display| seen(&text.to_string());
    html! {
        div.scroll { table {
            thead { tr { th { "version" } th { "signed by" } th { "digest" } th {} } }
            tbody {
                @for entry in all {
                    tr {
                        td { (cell(&entry.version)) }
                        td { code { (signer(entry)) } }
                        td { code { (cell(&entry.digest)) } }
                        td { @if entry.yanked { "taken back" } }
                    }
                }
            }
        } }
    }
}
