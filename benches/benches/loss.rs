//! What the plugin boundary costs: a loss as plain Burn code, built in, native and as a component.

use burn::tensor::activation::relu;
use burn::tensor::{Device, FloatDType, Tensor};
use criterion::Criterion;
use retort_benches::{criterion, ratios};
use retort_core::{Interpreter, Limits, LossCode, Session, Setup};
use retort_host::plugin::component;
use retort_sdk::Op;
use retort_snapshots::{Case, built, cpu, load_paths, session};
use serde_json::Map;

/// Relaxed Contrastive, written with Burn's tensors.
fn plain(t: &Tensor<2>, s: &Tensor<2>) -> Tensor<1> {
    let distance = |x: Tensor<2>| {
        let x = x.clone() - x.mean_dim(0).detach();
        let norm = (x.clone() * x.clone()).sum_dim(1);
        let squared = norm.clone() + norm.transpose() - x.clone().matmul(x.transpose()) * 2.0;
        let off = Tensor::<2>::eye(squared.dims()[0], &squared.device()).neg() + 1.0;
        squared.clamp_min(1e-12).sqrt() * off
    };
    let norm = (s.clone() * s.clone()).sum_dim(1).sqrt().clamp_min(1e-12);
    let s = s.clone() / norm;
    let d = distance(t.clone());
    let d = d.clone() / d.mean_dim(1).clamp_min(1e-12);
    let e = distance(s);
    let w = (-(e.clone() * e)).exp();
    let margin = relu(-d.clone() + 1.0);
    let pull = w.clone() * (d.clone() * d);
    let push = (-w + 1.0) * (margin.clone() * margin);
    let n = t.dims()[0];
    let off = Tensor::<2>::eye(n, &t.device()).neg() + 1.0;
    ((pull + push) * off).sum() / n as f64
}

fn boundary(c: &mut Criterion) {
    let (n, d) = (180, 512);
    let inputs = Case::example(n, d, 1).inputs(&cpu(), FloatDType::F32);
    let Some(leaf) = inputs.target.clone() else { return };
    let source = inputs.source.clone();
    let mut group = c.benchmark_group("relaxed_contrastive forward+backward");
    group.sample_size(60);
    if let Some(source) = &source {
        group.bench_function("plain Burn", |b| {
            b.iter(|| {
                let grads = plain(&leaf, source).backward();
                leaf.grad(&grads)
            });
        });
    }
    for (path, name) in load_paths("plugins", "relaxed_contrastive") {
        let made = session(&name, &Map::new(), &cpu(), FloatDType::F32, &Limits::default());
        let Ok(mut session) = made else { continue };
        group.bench_function(path, |b| {
            b.iter(|| {
                let value = session.step(&inputs).map(|outcome| outcome.value);
                let grads = value.map(|v| v.backward());
                session.commit();
                grads.ok().and_then(|g| leaf.grad(&g))
            });
        });
    }
    group.finish();
}

/// A loss that asks for the same thing a thousand times: the crossing and the bookkeeping.
struct Asks;

impl LossCode for Asks {
    fn run(&mut self, mut step: Box<Interpreter>) -> (Box<Interpreter>, Result<u64, String>) {
        let mut handle = 0;
        for _ in 0..1000 {
            handle = step.call(Op::Input as u32, &[], &[], "target");
        }
        (step, Ok(handle))
    }
}

fn calls(c: &mut Criterion) {
    let device: Device = cpu();
    let inputs = Case::example(1, 1, 1).inputs(&device, FloatDType::F32);
    let setup = Setup {
        device: device.clone(),
        dtype: FloatDType::F32,
        seed: 0,
        limits: Limits::default(),
    };
    let mut sessions = vec![("host alone", Session::new("asks", Box::new(Asks), setup))];
    for (path, name) in load_paths("snapshots/hostile", "chatty") {
        let made = session(&name, &Map::new(), &device, FloatDType::F32, &Limits::default());
        sessions.extend(made.ok().map(|session| (path, session)));
    }
    let mut group = c.benchmark_group("a thousand calls that compute nothing");
    for (path, session) in &mut sessions {
        group.bench_function(*path, |b| {
            b.iter(|| {
                let outcome = session.step(&inputs).is_ok();
                session.commit();
                outcome
            });
        });
    }
    group.finish();
}

fn loading(c: &mut Criterion) {
    let Some(wasm) = built("plugins").wasm else { return };
    let cache = std::env::temp_dir().join("retort-bench-cache");
    let _ = std::fs::remove_dir_all(&cache);
    // Benchmarks run alone, before any thread reads the environment.
    let mut group = c.benchmark_group("component load");
    group.sample_size(10);
    let entry = || std::fs::remove_dir_all(cache.join("components"));
    group.bench_function("cold", |b| {
        b.iter_batched(
            || drop(entry()),
            |()| component::load_cached(&wasm, &Limits::default(), Some(&cache)).is_ok(),
            criterion::BatchSize::PerIteration,
        );
    });
    group.bench_function("cached", |b| {
        b.iter(|| component::load_cached(&wasm, &Limits::default(), Some(&cache)).is_ok());
    });
    group.finish();
    let _ = std::fs::remove_dir_all(&cache);
}

fn main() {
    let mut c = criterion();
    boundary(&mut c);
    calls(&mut c);
    loading(&mut c);
    c.final_summary();
    let paths = ["plain Burn", "built in", "native", "wasm"];
    ratios("relaxed_contrastive forward+backward", &paths);
    ratios("a thousand calls that compute nothing", &["host alone", "native", "wasm"]);
    ratios("component load", &["cold", "cached"]);
}
