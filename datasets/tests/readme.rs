//! The README's table of data sets is generated from the registry.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use retort_datasets::DATASETS;

#[test]
fn the_readme_lists_every_data_set() {
    let rows = DATASETS.iter().map(|entry| {
        let files = entry.files.strip_prefix("Give the folder (--data-root) that holds ");
        let files = files.unwrap_or("none: it is generated");
        format!("| [`{0}`](datasets/src/{0}.rs) | {1} | {files} |", entry.name, entry.doc)
    });
    let table = rows.collect::<Vec<_>>().join("\n");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(workspace.join("README.md")).unwrap();
    assert!(readme.contains(&table), "the README's table of data sets should be:\n{table}");
}
