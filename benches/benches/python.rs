//! A loss in Python beside the same one in Rust, both as components: a step, an instance's memory, loading. It builds
//! `sdk/python/examples` with componentize-py.

use burn::tensor::FloatDType;
use criterion::Criterion;
use retort_benches::{criterion, ratios};
use retort_core::Limits;
use retort_host::plugin::component;
use retort_snapshots::{Case, built, cpu, session};
use serde_json::Map;
use std::path::{Path, PathBuf};

const LOSSES: [&str; 3] = ["relaxed_contrastive", "proxy_anchor", "crd"];

/// The components of both.
fn components() -> Option<[(&'static str, PathBuf); 2]> {
    Some([("Rust", built("plugins").wasm?), ("Python", built("sdk/python/examples").wasm?)])
}

fn steps(c: &mut Criterion, components: &[(&'static str, PathBuf)], n: usize, d: usize) {
    for loss in LOSSES {
        let inputs = Case::example(n, d, 1).inputs(&cpu(), FloatDType::F32);
        let mut group = c.benchmark_group(format!("{loss} of {n}"));
        group.sample_size(20);
        for (language, file) in components {
            let name = format!("{}#{loss}", file.display());
            let made = session(&name, &Map::new(), &cpu(), FloatDType::F32, &Limits::default());
            let Ok(mut session) = made else { continue };
            group.bench_function(*language, |b| {
                b.iter(|| {
                    let value = session.step(&inputs).map(|outcome| outcome.value);
                    let grads = value.map(|v| v.backward());
                    session.commit();
                    grads.is_ok()
                });
            });
        }
        group.finish();
    }
}

/// The least `memory_bytes` that a loss's step runs with, to 64 KiB.
fn memory(file: &Path, loss: &str) -> usize {
    let inputs = Case::example(12, 8, 1).inputs(&cpu(), FloatDType::F32);
    let name = format!("{}#{loss}", file.display());
    let runs = |pages: usize| {
        let limits = Limits { memory_bytes: pages << 16, ..Limits::default() };
        let made = session(&name, &Map::new(), &cpu(), FloatDType::F32, &limits);
        made.is_ok_and(|mut session| session.step(&inputs).is_ok())
    };
    let (mut too_few, mut enough) = (0, 1 << 14);
    while enough - too_few > 1 {
        let middle = usize::midpoint(too_few, enough);
        if runs(middle) { enough = middle } else { too_few = middle }
    }
    enough << 16
}

fn loading(c: &mut Criterion, components: &[(&'static str, PathBuf)]) {
    let cache = std::env::temp_dir().join("retort-bench-cache");
    let mut group = c.benchmark_group("load from the cache");
    for (language, file) in components {
        let _ = component::load_cached(file, &Limits::default(), Some(&cache)); // compiles it
        group.bench_function(*language, |b| {
            b.iter(|| component::load_cached(file, &Limits::default(), Some(&cache)).is_ok());
        });
    }
    group.finish();
    let _ = std::fs::remove_dir_all(&cache);
}

fn main() {
    let Some(components) = components() else { return };
    let mut c = criterion();
    loading(&mut c, &components);
    steps(&mut c, &components, 12, 8);
    steps(&mut c, &components, 180, 512);
    c.final_summary();
    ratios("load from the cache", &["Rust", "Python"]);
    for n in [12, 180] {
        for loss in LOSSES {
            ratios(&format!("{loss} of {n}"), &["Rust", "Python"]);
        }
    }
    for (language, file) in &components {
        for loss in LOSSES {
            println!("{loss} in {language}: {} KiB of memory", memory(file, loss) >> 10);
        }
    }
}
