//! `docs/` is a book, whose links lead somewhere; so do those of the other pages.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use retort_snapshots::workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a page links to, and the anchors of its headings.
struct Page {
    links: Vec<String>,
    anchors: BTreeSet<String>,
}

fn read(text: &str) -> Page {
    let (mut links, mut anchors, mut seen) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push(dest_url.into_string());
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let name = anchor(&heading.take().unwrap_or_default());
                let times = seen.entry(name.clone()).and_modify(|n| *n += 1).or_insert(0);
                anchors.insert(if *times == 0 { name } else { format!("{name}-{times}") });
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            _ => {}
        }
    }
    Page { links, anchors }
}

/// A heading's anchor, as mdBook and forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn pages() -> Vec<PathBuf> {
    let root = workspace().canonicalize().unwrap();
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root.join(name))
        .collect();
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|e| e == "md")));
    pages.sort();
    pages
}

/// What is wrong with a page's links.
fn broken(page: &Path, text: &str) -> Vec<String> {
    let own = read(text);
    let docs = workspace().canonicalize().unwrap().join("docs");
    let mut wrong = Vec::new();
    for link in &own.links {
        if link.starts_with("https://") || link.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = page.parent().unwrap().join(file);
        let target = if file.is_empty() { page.to_owned() } else { target };
        let Ok(target) = target.canonicalize() else {
            wrong.push(format!("{link}: there is no such file"));
            continue;
        };
        // The book has what is in its folder, and nothing else of the repository.
        if page.starts_with(&docs) && !target.starts_with(&docs) {
            wrong.push(format!("{link}: it leads out of the book"));
        }
        if !anchor.is_empty() {
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            if !read(&text).anchors.contains(anchor) {
                wrong.push(format!("{link}: there is no such heading"));
            }
        }
    }
    wrong
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let wrong = broken(&page, &text);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", page.display());
    }
}

#[test]
fn a_wrong_link_is_found() {
    let page = workspace().canonicalize().unwrap().join("docs/runs.md");
    let text = "[1](security.md#limits) [2](security.md#none) [3](none.md) [4](../README.md) <https://a.b>\n\n\
                | [5](compare.svg) | ![6](none.svg) |\n|---|---|\n\n`[7](none)`\n";
    let wrong = broken(&page, text);
    let links: Vec<&str> = wrong.iter().map(|why| why.split(':').next().unwrap()).collect();
    assert_eq!(links, ["security.md#none", "none.md", "../README.md", "none.svg"]);
    let anchors = read("# A `b`, c\n\n## A `b`, c\n").anchors;
    assert!(anchors.iter().eq(["a-b-c", "a-b-c-1"]));
}

#[test]
fn the_table_of_contents_has_every_page_once() {
    let docs = workspace().canonicalize().unwrap().join("docs");
    let summary = read(&std::fs::read_to_string(docs.join("SUMMARY.md")).unwrap());
    let mut listed: Vec<PathBuf> = summary.links.iter().map(|link| docs.join(link)).collect();
    listed.sort();
    let mut there = pages();
    there.retain(|page| page.starts_with(&docs) && !page.ends_with("SUMMARY.md"));
    assert_eq!(listed, there);
}

#[test]
fn the_book_is_made_of_this_folder() {
    let text = std::fs::read_to_string(workspace().join("docs/book.toml")).unwrap();
    let book: toml::Table = text.parse().unwrap();
    assert_eq!(book["book"]["src"].as_str(), Some("."));
    assert_eq!(book["output"]["html"]["search"]["enable"].as_bool(), Some(true));
    // Other files are copied beside the pages, which become HTML: neither overwrites the other.
    let pages = pages().into_iter().filter(|page| page.parent().unwrap().ends_with("docs"));
    for page in pages {
        let twin = page.with_extension("html");
        assert!(!twin.exists(), "{} would be overwritten in the book", twin.display());
    }
}

/// What the page for people who know torch says is in the SDK.
#[test]
fn the_page_on_torch_names_what_there_is() {
    let sdk: String = std::fs::read_dir(workspace().join("sdk/src"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let page = std::fs::read_to_string(workspace().join("docs/torch-to-retort.md")).unwrap();
    let right = page.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| torch"));
    let mut named = 0;
    for row in right {
        let (_, ours) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        for code in ours.split('`').skip(1).step_by(2) {
            for (at, _) in code.match_indices('(') {
                let before = &code[..at];
                let start = before.rfind(|c: char| !c.is_alphanumeric() && c != '_');
                let name = &before[start.map_or(0, |i| i + 1)..];
                if name.is_empty() || name.starts_with(char::is_uppercase) {
                    continue;
                }
                named += 1;
                // By hand or by a macro of operations: `name Operation`.
                let there =
                    ["(", "<", " "].iter().any(|end| sdk.contains(&format!("fn {name}{end}")))
                        || sdk.lines().any(|line| {
                            let mut words = line.split_whitespace();
                            words.next() == Some(name)
                                && words.next().is_some_and(|w| w.starts_with(char::is_uppercase))
                                && words.next().is_none()
                        });
                assert!(there, "{row}: the SDK has no {name}");
            }
        }
    }
    assert!(named > 100, "{named}");
}
