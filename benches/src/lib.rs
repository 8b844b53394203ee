//! Benchmarks, run by hand: `cargo bench --profile dev`. Each prints ratios against its baseline,
//! measured in the same run.

use criterion::Criterion;
use std::path::PathBuf;

/// Criterion with what the command line says.
pub fn criterion() -> Criterion {
    Criterion::default().without_plots().configure_from_args()
}

/// Prints the median of each function of a group, and its ratio to the first.
pub fn ratios(group: &str, functions: &[&str]) {
    let median = |function: &str| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")),
            PathBuf::from,
        );
        let folder = target.join("criterion").join(group).join(function);
        let text = std::fs::read_to_string(folder.join("new/estimates.json")).ok()?;
        let estimates: serde_json::Value = serde_json::from_str(&text).ok()?;
        estimates["median"]["point_estimate"].as_f64()
    };
    println!("\n{group}");
    let baseline = functions.first().and_then(|f| median(f));
    for function in functions {
        match (median(function), baseline) {
            (Some(ns), Some(base)) => {
                println!("  {function:24} {:>12.1} us   {:>6.3} x", ns / 1e3, ns / base);
            }
            _ => println!("  {function:24} not measured"),
        }
    }
}
