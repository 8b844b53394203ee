//! Tables that list things are generated, and must be what the README shows.
#![allow(clippy::unwrap_used, reason = "tests")]

use retort_core::Limits;
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
