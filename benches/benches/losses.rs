//! Forward and backward of every loss on a batch as in the paper, beside PyTorch where it is installed.
//!
//! n = 180 in 36 classes, d = 512, feature maps of BN-Inception at 224. An argument picks losses.

use burn::tensor::{FloatDType, TensorData};
use retort_core::{Inputs, Limits};
use retort_snapshots::{Case, cpu, losses, session};
use serde_json::{Map, Value};
use std::process::Command;
use std::time::Instant;

const N: usize = 180;
/// CUB-200-2011's training half.
const CLASSES: usize = 100;
const SAMPLES: usize = 5864;

fn inputs(maps: bool) -> Inputs {
    let values = |shape: &[usize], salt: u64| {
        // Random enough, and quick for 10⁸ numbers.
        let mut x = salt | 1;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        };
        TensorData::new((0..shape.iter().product()).map(|_| next()).collect::<Vec<f32>>(), shape)
    };
    let features = |salt: u64| {
        let levels: &[[usize; 3]] =
            if maps { &[[576, 28, 28], [1056, 14, 14], [1024, 7, 7]] } else { &[] };
        let maps = levels.iter().map(|&[c, h, w]| values(&[N, c, h, w], salt));
        maps.chain([values(&[N, 1024], salt + 1)]).collect::<Vec<_>>()
    };
    let case = Case {
        target: Some(values(&[N, 512], 1)),
        source: Some(values(&[N, 512], 2)),
        target_features: features(3),
        source_features: features(5),
        labels: (0..N as i64).map(|i| i / 5).collect(),
        ids: (0..N as i64).map(|i| i * 31).collect(),
        sample_labels: (0..SAMPLES).map(|i| (i * CLASSES / SAMPLES) as i64).collect(),
        classes: CLASSES,
        samples: SAMPLES,
        views: 1,
        ..Case::default()
    };
    case.inputs(&cpu(), FloatDType::F32)
}

/// Seconds of the median step, and bytes of the step's tensors.
fn measure(loss: &str, inputs: &Inputs) -> Result<(f64, u64), String> {
    let mut session = session(loss, &Map::new(), &cpu(), FloatDType::F32, &Limits::default())?;
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < 4 || (times.len() < 40 && started.elapsed().as_secs_f64() < 4.0) {
        let step = Instant::now();
        let outcome = session.step(inputs).map_err(|e| e.to_string())?;
        let bytes = session.cost().1;
        drop(outcome.value.backward());
        session.commit();
        times.push((step.elapsed().as_secs_f64(), bytes));
    }
    // The first step makes parameters and warms the caches.
    let mut seconds: Vec<f64> = times[1..].iter().map(|t| t.0).collect();
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[seconds.len() / 2], times[1].1))
}

/// Milliseconds of a loss in PyTorch; none where it or Python isn't installed.
fn torch(loss: &str) -> Option<f64> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/torch/losses.py");
    let output = Command::new("python3").args([script, loss]).output().ok()?;
    let value: Value = serde_json::from_slice(&output.stdout).ok()?;
    value[loss].as_f64()
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let (plain, maps) = (inputs(false), inputs(true));
    println!("| loss | retort | PyTorch | ratio | tensors of a step |\n|---|---|---|---|---|");
    for loss in losses().into_iter().filter(|l| wanted.is_empty() || wanted.contains(l)) {
        let inputs =
            if ["attention", "fitnet", "vid"].contains(&loss.as_str()) { &maps } else { &plain };
        // Twice in turns, the better one: other work on the machine hits both alike.
        let mut best = (f64::INFINITY, f64::INFINITY, 0);
        for _ in 0..2 {
            match measure(&loss, inputs) {
                Ok((seconds, bytes)) => best = (best.0.min(seconds * 1e3), best.1, bytes),
                Err(e) => eprintln!("{loss}: {e}"),
            }
            best.1 = best.1.min(torch(&loss).unwrap_or(f64::INFINITY));
        }
        let (ours, theirs, bytes) = best;
        let mib = bytes as f64 / f64::from(1 << 20);
        if theirs.is_finite() {
            let ratio = ours / theirs;
            println!("| `{loss}` | {ours:.1} ms | {theirs:.1} ms | {ratio:.2} | {mib:.1} MiB |");
        } else {
            println!("| `{loss}` | {ours:.1} ms | | | {mib:.1} MiB |");
        }
    }
}
