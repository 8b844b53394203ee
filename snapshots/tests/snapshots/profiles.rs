//! A program that is installed computes as fast as the one that was measured.

use retort_snapshots::workspace;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// How far each crate of a profile is optimised, all others being `*`.
fn optimised(profile: &Value) -> BTreeMap<&str, i64> {
    let packages = profile["package"].as_table().unwrap().iter();
    packages.map(|(name, of)| (name.as_str(), of["opt-level"].as_integer().unwrap())).collect()
}

#[test]
fn release_is_tuned_as_the_profile_that_is_measured() {
    let text = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let manifest: Table = text.parse().unwrap();
    let (dev, release) = (&manifest["profile"]["dev"], &manifest["profile"]["release"]);
    assert_eq!(optimised(release), optimised(dev));
    assert!(optimised(dev).len() > 30);
    // The workspace's own crates, which `*` doesn't mean.
    assert!(release["opt-level"].as_integer() >= dev["opt-level"].as_integer());
}
