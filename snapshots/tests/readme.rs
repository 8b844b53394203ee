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
