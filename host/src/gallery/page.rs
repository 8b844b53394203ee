//! The pages of a gallery.

use super::{Shown, markdown, math};
use crate::command::parts;
use crate::html::Page;
use crate::share::key;
use crate::share::registry::entry::Entry;
use maud::{Markup, html};
use retort_sdk::schema::{Definition, Field};

const OWN: &str = include_str!("gallery.css");
const SEARCH: &str = include_str!("search.js");

/// A page in the gallery's style.
fn page(title: &str, script: Option<&'static str>, content: &Markup) -> String {
    Page { title, style: OWN, script, ..Page::default() }.with(content)
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
                        p { (summary(loss)) }
                        p.paper { small { (loss.paper) } }
                    }
                }
            }
        }
        footer { "Made by " code { "retort gallery build" } "." }
    };
    page("Losses", Some(SEARCH), &content)
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
        p.lead { (summary(loss)) }
        @if !loss.paper.is_empty() { p.paper { (loss.paper) } }
        pre.install { (install(shown, loss)) }
        @for paragraph in loss.doc.split("\n\n").skip(1) {
            @if math::is_equation(paragraph) {
                (math::typeset(paragraph))
                details { summary { small { "As written" } } pre { (paragraph) } }
            } @else {
                p { (paragraph) }
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
    page(&loss.name, None, &content)
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
                        td { (parts::default(field)) }
                        td { (parts::range(field)) }
                        td { (field.doc) }
                    }
                }
            }
        } }
    }
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
                    th { (property) }
                    td.status { (verdict) }
                    td { (details(property)) }
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
                            a rel="nofollow noopener" href=(text) { (text) }
                        } @else { (text) }
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
    html! {
        div.scroll { table {
            thead { tr { th { "version" } th { "signed by" } th { "digest" } th {} } }
            tbody {
                @for entry in all {
                    tr {
                        td { (entry.version) }
                        td { code { (signer(entry)) } }
                        td { code { (entry.digest) } }
                        td { @if entry.yanked { "taken back" } }
                    }
                }
            }
        } }
    }
}
