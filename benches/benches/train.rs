//! Training steps and embeddings of networks on the CPU, in turns with PyTorch on the same number of threads, where
//! a `python3` (or `PYTHON`) has it: one table.
//!
//! Each side runs in a process of its own. Arguments: `[ROUNDS [NAME…]]`; 3 rounds of all without.

use burn::tensor::{FloatDType, Tensor, TensorData};
use retort_core::Limits;
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_core::trainer::{Minibatch, Optimizer, Pictures, State, Term, Trainer};
use retort_core::{Precision, Recipe};
use retort_datasets::Identity;
use retort_snapshots::facts::Facts;
use retort_snapshots::{cpu, session};
use serde_json::{Map, Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

const THREADS: &str = "2";
const CLASSES: usize = 48;

/// What is trained: its name in the table and in `train.py`, its network with a width, if it has one, its dimensions,
/// size and number of pictures, and how many steps are timed.
const WORKS: [(&str, &str, usize, usize, usize, usize, usize); 6] = [
    ("demo target", "convnet", 8, 64, 32, 96, 40),
    ("demo source", "convnet", 24, 512, 32, 96, 20),
    ("ResNet-18, 64 px", "resnet18", 0, 128, 64, 16, 8),
    ("ResNet-18, 224 px", "resnet18", 0, 128, 224, 8, 3),
    ("BN-Inception, 224 px", "bn_inception", 0, 64, 224, 8, 3),
    ("ViT-S, 224 px", "vit_small", 0, 128, 224, 8, 3),
];

/// CPU time of this process's threads in seconds (Linux counts it in hundredths).
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// Median wall time and mean CPU time of `f`, in milliseconds; its first times don't count.
fn timed(count: usize, mut f: impl FnMut()) -> [f64; 2] {
    (0..count.div_ceil(4)).for_each(|_| f());
    let before = cpu_time();
    let mut walls: Vec<f64> = (0..count)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect();
    let cpu = (cpu_time() - before) / count as f64;
    walls.sort_by(f64::total_cmp);
    [walls[count / 2], cpu].map(|seconds| 1e3 * seconds)
}

/// One network: its training step with Proxy-Anchor and AdamW, and an embedding of the same pictures.
fn measure(name: &str) -> Option<()> {
    let (_, network, width, embedding, size, n, steps) =
        WORKS.into_iter().find(|work| work.0 == name)?;
    let device = cpu();
    let config = NetworkConfig { name: network.to_owned(), embedding, ..NetworkConfig::default() };
    let config = if width > 0 { config.with("width", width) } else { config };
    let target = Backbone::new(&config, 0, &device).ok()?;
    let recipe = Recipe { precision: Precision::F32, ..Recipe::default() };
    let session =
        session("proxy_anchor", &Map::new(), &device, FloatDType::F32, &Limits::default()).ok()?;
    let optimizer = Optimizer::new(&recipe).ok()?;
    let term = Term { name: name.to_owned(), weight: 1.0, lr_factor: 10.0, session, optimizer };
    let data = Arc::new(Facts {
        classes: (0..CLASSES).map(|class| class.to_string()).collect(),
        labels: (0..CLASSES).collect(),
    });
    let pixels: Vec<f32> = (0..n * 3 * size * size).map(|i| (i * 37 % 256) as f32).collect();
    let images = Tensor::<4>::from_data(TensorData::new(pixels, [n, 3, size, size]), &device);
    let images = images.div_scalar(63.75).sub_scalar(2.0);
    let batch = Minibatch {
        pictures: Pictures::Normalised(images.clone()),
        labels: (0..n as i64).map(|i| i / 2 % CLASSES as i64).collect(),
        ids: (0..n as i64).collect(),
        views: 1,
        draws: Vec::new(),
    };
    let mut trainer = Trainer {
        network: config,
        source: None,
        train: data.clone(),
        augmentation: Arc::new(Identity),
        test: data,
        ks: vec![1],
        image_size: size,
        seed: 0,
        device,
        replicas: Vec::new(),
        checkpoint: "none".into(),
        steps: 1000,
        state: State::new(target, vec![term], &recipe).ok()?,
        recipe,
    };
    trainer.probe(&batch).ok()?;
    trainer.begin_epoch();
    let step = timed(steps, || {
        let outcome = trainer.step(&batch).ok().flatten();
        outcome.map(|step| step.total.into_scalar::<f64>());
    });
    let (network, pictures) = (trainer.result(), Pictures::Normalised(images.inner()));
    let embed = timed(2 * steps, || drop(pictures.through(&network).embedding.into_data()));
    println!("{}", json!({"step": step, "embed": embed}));
    Some(())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let [one, name] = &args[..]
        && one == "measure"
    {
        measure(name);
        return;
    }
    let rounds = args.first().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    let wanted = args.get(1..).unwrap_or_default();
    let own = std::env::current_exe().unwrap_or_default();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/torch/train.py");
    let ask = |command: &mut Command| -> Option<Value> {
        let threads = command.env("RAYON_NUM_THREADS", THREADS).env("OMP_WAIT_POLICY", "passive");
        serde_json::from_slice(&threads.output().ok()?.stdout).ok()
    };
    println!("| | | retort, ms | PyTorch, ms | ratio | retort, CPU ms | PyTorch, CPU ms | ratio |");
    println!("|---|---|---|---|---|---|---|---|");
    for (name, .., steps) in WORKS {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let mut sides: [Vec<Value>; 2] = Default::default();
        for _ in 0..rounds {
            sides[0].extend(ask(Command::new(&own).args(["measure", name])));
            let command = &mut Command::new(&python);
            sides[1].extend(ask(command.args([script, name, &steps.to_string()])));
        }
        for what in ["step", "embed"] {
            let of = |side: usize, at: usize| {
                median(sides[side].iter().filter_map(|v| v[what][at].as_f64()).collect())
            };
            let mut row = format!("| {name} | {what} |");
            for at in [0, 1] {
                let (ours, theirs) = (of(0, at), of(1, at));
                let shown = |ms: Option<f64>| ms.map_or("–".to_owned(), |ms| format!("{ms:.1}"));
                let ratio = ours.zip(theirs).map(|(ours, theirs)| format!("{:.2}", ours / theirs));
                let ratio = ratio.unwrap_or_else(|| "–".to_owned());
                let cells = [shown(ours), shown(theirs), ratio];
                for cell in &cells {
                    row.extend([" ", cell, " |"]);
                }
            }
            println!("{row}");
        }
    }
}
