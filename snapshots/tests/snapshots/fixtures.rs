//! Components that were compiled for an interface load in every later version, and give the same numbers.

use retort_snapshots::{retort, workspace};
use std::process::Command;

#[test]
fn what_was_compiled_for_an_interface_gives_the_same_numbers() {
    let folder = workspace().join("snapshots/fixtures");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let packs: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "wasm")).collect();
    assert!(!packs.is_empty());
    for pack in packs {
        let mut command = Command::new(retort());
        command.args(["snapshot", "verify", "--device=cpu", "--json"]).arg(&pack);
        command.arg("--against").arg(workspace().join("snapshots/snapshots"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}: {said}", pack.display());
        let verified: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let losses = verified["verified"].as_array().unwrap();
        assert!(losses.len() >= 27 && losses.iter().all(|loss| loss["same"] == true), "{verified}");
    }
}
