//! Every loss pinned on fixed embeddings, and the interface: a definition that changes shows here.

use insta::Snapshot;
use insta::internals::SnapshotContents;
use retort_core::Limits;
use retort_host::loss::pin;
use retort_host::plugin::registry::Registry;
use retort_sdk::Op;
use retort_snapshots::{losses, workspace};

/// Runs `f` with the settings of the snapshots' folder.
fn pinned(f: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(f);
}

/// Equal but for rounding.
#[derive(Debug)]
struct Close;

impl insta::Comparator for Close {
    fn matches(&self, reference: &Snapshot, test: &Snapshot) -> bool {
        match (reference.contents(), test.contents()) {
            (SnapshotContents::Text(old), SnapshotContents::Text(new)) => {
                let (old, new) = (old.to_string(), new.to_string());
                let found = pin::differences(&old, &new, pin::TOLERANCE);
                // insta shows both texts; this says by how much, and where first.
                for difference in &found {
                    println!("{difference}");
                }
                found.is_empty()
            }
            _ => false,
        }
    }

    fn dyn_clone(&self) -> Box<dyn insta::Comparator> {
        Box::new(Close)
    }
}

#[test]
fn losses_compute_what_they_did() {
    let mut registry = Registry::new(Limits::default()).unwrap();
    for loss in losses() {
        let text = pin::record(&registry.find(&loss).unwrap(), &Limits::default());
        let text = text.unwrap_or_else(|e| panic!("{loss}: {}", e.message));
        pinned(|| {
            let mut settings = insta::Settings::clone_current();
            settings.set_comparator(Box::new(Close));
            settings.bind(|| insta::assert_snapshot!(format!("loss_{loss}"), text));
        });
    }
}

#[test]
fn operations_are_append_only() {
    let list: Vec<String> =
        Op::ALL.iter().map(|&op| format!("{} {op}: {}", op as u32, op.doc().trim())).collect();
    pinned(|| insta::assert_snapshot!("operations", list.join("\n")));
}

#[test]
fn the_wit_world_stays() {
    let wit = std::fs::read_to_string(workspace().join("sdk/wit/plugin.wit")).unwrap();
    pinned(|| insta::assert_snapshot!("wit", wit));
}
