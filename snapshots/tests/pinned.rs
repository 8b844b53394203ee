//! Every loss pinned on fixed embeddings, and the interface: a definition that changes shows here.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

use burn::tensor::FloatDType;
use retort_core::Limits;
use retort_host::plugin::registry::Registry;
use retort_sdk::Op;
use retort_snapshots::{Case, Tolerance, cpu, losses, workspace};
use std::fmt::Write as _;

/// Runs `f` with snapshots compared as texts with numbers.
fn pinned(f: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_comparator(Box::new(Tolerance(1e-5)));
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(f);
}

#[test]
fn losses_compute_what_they_did() {
    let mut registry = Registry::new(Limits::default()).unwrap();
    for loss in losses() {
        let found = registry.find(&loss).unwrap();
        let case = Case::example(12, 6, 42);
        let result = case.run(&loss, &cpu(), FloatDType::F64).unwrap();
        let mut text = format!("value {:.9}\n", result.value);
        for (name, value) in &result.terms {
            writeln!(text, "term {name} {value:.9}").unwrap();
        }
        for (name, gradient) in &result.gradients {
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            let some: Vec<String> =
                gradient.iter().step_by(gradient.len() / 5).map(|g| format!("{g:.9}")).collect();
            writeln!(text, "gradient {name} norm {norm:.9} some {}", some.join(" ")).unwrap();
        }
        for (name, data) in &result.state {
            writeln!(text, "state {name} shape {:?}", data.shape().to_vec()).unwrap();
        }
        for field in &found.definition.hyper {
            let (kind, range) = (field.kind, field.range);
            writeln!(text, "hyper {} {kind:?} = {} ({range})", field.name, field.default).unwrap();
        }
        pinned(|| insta::assert_snapshot!(format!("loss_{loss}"), text));
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
