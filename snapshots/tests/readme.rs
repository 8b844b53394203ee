//! Tables that list things are generated, and must be what the README shows.
#![allow(clippy::unwrap_used, reason = "tests")]

use retort_core::Limits;
use retort_core::backbone::{NetworkConfig, networks, summary};
use retort_host::plugin::registry::Registry;
use retort_snapshots::workspace;

#[test]
fn the_readme_lists_every_loss() {
    let registry = Registry::new(Limits::default()).unwrap();
    let rows = registry.builtin().description.losses.iter().map(|loss| {
        let summary = loss.doc.lines().next().unwrap_or_default();
        let name = &loss.name;
        format!("| [`{name}`](plugins/src/{name}.rs) | {summary} | {} |", loss.paper)
    });
    let table = rows.collect::<Vec<_>>().join("\n");
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    assert!(readme.contains(&table), "the README's table of losses should be:\n{table}");
}

#[test]
fn the_readme_lists_every_network() {
    let rows = networks().map(|n| {
        let config = NetworkConfig { name: n.name.to_owned(), ..NetworkConfig::default() };
        let s = summary(&config, [n.image_size; 2]).unwrap();
        let (parameters, macs) = s.embedding();
        let pooled = s.features.last().unwrap()[1];
        let maps: Vec<String> = s.features[..s.features.len() - 1]
            .iter()
            .map(|f| format!("{}x{}x{}", f[1], f[2], f[3]))
            .collect();
        format!(
            "| [`{}`]({}) | {} | {size}x{size} | {} | {pooled} | {:.1} M | {:.2} G | {} |",
            n.name,
            n.file,
            n.doc,
            maps.join(", "),
            (s.parameters - parameters) as f64 / 1e6,
            (s.macs - macs) as f64 / 1e9,
            n.paper,
            size = n.image_size,
        )
    });
    let table = rows.collect::<Vec<_>>().join("\n");
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    assert!(readme.contains(&table), "the README's table of networks should be:\n{table}");
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
