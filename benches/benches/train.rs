//! A training step of the demo's networks on the CPU. Beside it, where PyTorch is installed:
//! `python benches/torch/train.py`.

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{FloatDType, Tensor, TensorData};
use criterion::Criterion;
use retort_benches::{criterion, ratios};
use retort_core::Limits;
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_snapshots::{Case, cpu, session};
use serde_json::Map;

fn step(c: &mut Criterion, name: &str, width: usize, embedding: usize) {
    let device = cpu();
    let config = NetworkConfig { embedding, ..NetworkConfig::default().with("width", width) };
    let Ok(mut net) = Backbone::new(&config, 0, &device) else { return };
    let pixels: Vec<f32> = (0..96 * 3 * 32 * 32).map(|i| (i * 37 % 256) as f32).collect();
    let images = Tensor::<4>::from_data(TensorData::new(pixels, [96, 3, 32, 32]), &device);
    let mut inputs = Case::example(96, 8, 1).inputs(&device, FloatDType::F32);
    let made = session("proxy_anchor", &Map::new(), &device, FloatDType::F32, &Limits::default());
    let Ok(mut loss) = made else { return };
    let (mut optimizer, mut proxies) = (AdamWConfig::new().init(), AdamWConfig::new().init());
    let mut group = c.benchmark_group("training step of 96 pictures");
    group.sample_size(20);
    group.bench_function(name, |b| {
        b.iter(|| {
            inputs.target = Some(net.forward(images.clone()).embedding);
            let Ok(outcome) = loss.step(&inputs) else { return };
            let mut grads = outcome.value.backward();
            let of_net = GradientsParams::from_module(&mut grads, &net);
            let of_loss = GradientsParams::from_module(&mut grads, loss.parameters());
            net = optimizer.step(1e-3, net.clone(), of_net);
            loss.update(|p| proxies.step(1e-2, p, of_loss));
            loss.commit();
        });
    });
    group.finish();
}

fn main() {
    let mut c = criterion();
    step(&mut c, "target, width 8, 64-d", 8, 64);
    step(&mut c, "source, width 24, 512-d", 24, 512);
    c.final_summary();
    let names = ["target, width 8, 64-d", "source, width 24, 512-d"];
    ratios("training step of 96 pictures", &names);
}
