//! The wgpu path: the same losses, and a training step of a tiny network, on a GPU, or on a software
//! Vulkan device as in `.ci/run`. Relative tolerance 1e-3 (differences seen are near 1e-6).
//!
//! On a real GPU everything must agree. SwiftShader can't run one of the matrix-product kernels that
//! Burn's autotune may pick, by timing: it prints `UNREACHABLE: TypePointer` and gives zeros. So there a
//! number that doesn't agree is reported with a warning, and three quarters must agree; where plain products
//! come out wrong, too, only losses without products are compared.

#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests; equality is bit for bit")]

use burn::module::{Module as _, Param, ParamId};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_core::device::{DeviceChoice, Kind, resolve};
use retort_core::metric::{Embeddings, Search};
use retort_core::trainer::{Average, Optimizer, upload};
use retort_core::{Inputs, Limits, LossParameters, Recipe};
use retort_datasets::Batch;
use retort_datasets::part::Chosen;
use retort_snapshots::corpus::{self, Place, Program};
use retort_snapshots::{Case, cpu, losses, session};
use serde_json::Map;

/// The device to test: `RETORT_TEST_DEVICE`, or the first that wgpu finds.
fn name() -> String {
    std::env::var("RETORT_TEST_DEVICE").unwrap_or_else(|_| "gpu:0".to_owned())
}

fn gpu() -> (Device, bool) {
    let choice: DeviceChoice = name().parse().unwrap();
    assert!(choice != DeviceChoice::Cpu, "this test compares a GPU with the CPU");
    let (device, info) = resolve(choice).unwrap();
    println!("{}: {} ({})", info.id, info.name, info.kind);
    (device, info.kind == Kind::Software)
}

/// Whether two results agree; they must, unless the device may be unable to compute one.
fn agree(what: &str, gpu: &[f64], cpu: &[f64], software: bool) -> bool {
    assert_eq!(gpu.len(), cpu.len(), "{what}");
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let difference: Vec<f64> = gpu.iter().zip(cpu).map(|(a, b)| a - b).collect();
    let error = norm(&difference) / norm(cpu).max(1e-6);
    println!("{what}: relative difference {error:.1e}");
    if error >= 1e-3 || error.is_nan() {
        assert!(software, "{what}: {gpu:?} on the GPU, {cpu:?} on the CPU");
        println!("WARNING: {what} is wrong on this software device");
        return false;
    }
    true
}

/// One step of a tiny network with a loss: its value, the gradients, and an optimiser step.
fn step(loss: &str, device: &Device) -> Vec<(String, Vec<f64>)> {
    let config = NetworkConfig { embedding: 8, ..NetworkConfig::default().with("width", 8) };
    let net = Backbone::new(&config, 3, device).unwrap();
    let pixels: Vec<f32> = (0..16 * 3 * 16 * 16).map(|i| (i * 37 % 256) as f32).collect();
    let images = Tensor::from_data(TensorData::new(pixels, [16, 3, 16, 16]), device);
    let output = net.forward(images);
    let case = Case::example(16, 8, 9);
    let example = case.inputs(device, FloatDType::F32);
    let embedding = output.embedding.clone();
    let inputs = Inputs { target: Some(embedding.clone()), ..example };
    let mut loss = session(loss, &Map::new(), device, FloatDType::F32, &Limits::default()).unwrap();
    let value = loss.step(&inputs).unwrap().value;
    let mut grads = value.backward();
    let floats = |data: TensorData| data.iter::<f64>().collect::<Vec<f64>>();
    let mut out = vec![
        ("value".to_owned(), floats(value.into_data())),
        ("embedding".to_owned(), floats(embedding.into_data())),
    ];
    let of_loss = GradientsParams::from_module(&mut grads, loss.parameters());
    let of_net = GradientsParams::from_module(&mut grads, &net);
    let mut optimizer = AdamWConfig::new().init();
    let after = optimizer.step(1e-3, net, of_net);
    loss.update(|p| AdamWConfig::new().init().step(1e-3, p, of_loss));
    loss.commit();
    let example = Tensor::<4>::ones([16, 3, 16, 16], &device.clone().inner()) * 100.0;
    let embedding = after.valid().forward(example).embedding;
    out.push(("embedding after the step".to_owned(), floats(embedding.into_data())));
    out
}

/// Losses whose formula has no matrix product, forward or backward.
const PRODUCTLESS: [&str; 1] = ["attention"];

/// Whether the kernels that autotune has picked for the losses' products compute them.
fn multiplies(gpu: &Device) -> bool {
    let values: Vec<f32> = (0..16 * 8).map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0).collect();
    let products = |device: &Device| -> Vec<f32> {
        let device = &device.clone().inner();
        let x = Tensor::<4>::from_data(TensorData::new(values.clone(), [1, 1, 16, 8]), device);
        let square = x.clone().matmul(x.clone().swap_dims(2, 3));
        let back = [square.clone().matmul(x.clone()), square.clone().swap_dims(2, 3).matmul(x)];
        let all = [square].into_iter().chain(back);
        all.flat_map(|t| t.into_data().iter::<f32>().collect::<Vec<_>>()).collect()
    };
    products(gpu).iter().zip(products(&cpu())).all(|(a, b)| (a - b).abs() < 1e-3)
}

#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn losses_and_a_training_step_agree_with_the_cpu() {
    let (gpu, software) = gpu();
    let (mut agreed, mut without_products) = (Vec::new(), Vec::new());
    for loss in losses() {
        let first = agreed.len();
        let case = Case::example(16, 8, 11);
        let on = |device: &Device| case.run(&loss, device, FloatDType::F32).unwrap();
        let (a, b) = (on(&gpu), on(&cpu()));
        agreed.push(agree(&format!("{loss}, value"), &[a.value], &[b.value], software));
        for (name, gradient) in &b.gradients {
            let what = format!("{loss}, gradient of {name}");
            agreed.push(agree(&what, &a.gradients[name], gradient, software));
        }
        if PRODUCTLESS.contains(&loss.as_str()) {
            without_products.extend(first..agreed.len());
        }
    }
    let (a, b) = (step("relaxed_contrastive", &gpu), step("relaxed_contrastive", &cpu()));
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        agreed.push(agree(&format!("training step, {name}"), a, b, software));
    }
    if software && !multiplies(&gpu) {
        println!(
            "WARNING: this software device's products are wrong; only losses without any count"
        );
        agreed = without_products.into_iter().map(|i| agreed[i]).collect();
        assert!(!agreed.is_empty() && agreed.iter().all(|ok| *ok), "{agreed:?}");
    }
    let wrong = agreed.iter().filter(|ok| !**ok).count();
    println!("{} of {} results agree with the CPU", agreed.len() - wrong, agreed.len());
    assert!(wrong * 4 <= agreed.len(), "{wrong} of {} results are wrong", agreed.len());
}

/// Steps of an optimiser on a device, with a parameter whose first gradient comes late; the parameters, and what
/// the optimiser remembers.
fn optimized(method: &str, device: &Device) -> Vec<(String, Vec<f64>)> {
    let recipe = Recipe {
        optimizer: match method {
            "sgd" => method.into(),
            _ => Chosen::from(method).with("epsilon", 1e-3),
        },
        weight_decay: 0.1,
        clip_value: 0.6,
        ..Recipe::default()
    };
    let values = |n: usize, salt: usize| -> Vec<f32> {
        (0..n).map(|i| ((i + salt) * 37 % 101) as f32 / 50.0 - 1.0).collect()
    };
    let tensor = |rows: usize, salt: usize| {
        let data = TensorData::new(values(rows * 7, salt), [1, 1, rows, 7]);
        Tensor::<4>::from_data(data, device)
    };
    let param = |i| Param::initialized(ParamId::new(), tensor(1 + i % 5, i).require_grad());
    let mut module = LossParameters { values: (0..60).map(param).collect() };
    let mut optimizer = Optimizer::new(&recipe).unwrap();
    for step in 0..4 {
        let mut gradients = GradientsParams::new();
        for (i, param) in module.values.iter().enumerate() {
            if i != 7 || step > 1 {
                gradients.register(param.id, tensor(1 + i % 5, 100 * step + i).inner());
            }
        }
        let rate = |name: &str| if name.ends_with('3') { 0.1 } else { 0.01 };
        module = optimizer.step(module, &mut gradients, &|name| name, &rate);
    }
    let floats = |data: TensorData| data.iter::<f64>().collect::<Vec<f64>>();
    let params = module.values.iter().enumerate();
    let params = params.map(|(i, p)| (format!("parameter {i}"), floats(p.val().into_data())));
    params.chain(optimizer.state().into_iter().map(|(name, data)| (name, floats(data)))).collect()
}

#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn optimisers_move_parameters_as_on_the_cpu() {
    let (gpu, _) = gpu();
    for method in ["adamw", "adam", "sgd", "rmsprop"] {
        let (there, here) = (optimized(method, &gpu), optimized(method, &cpu()));
        assert_eq!(there.len(), here.len(), "{method}");
        for ((name, there), (other, here)) in there.iter().zip(&here) {
            assert_eq!((name, there.len()), (other, here.len()), "{method}");
            for (a, b) in there.iter().zip(here) {
                assert!((a - b).abs() < 2e-6 * b.abs().max(1.0), "{method}, {name}: {a}, not {b}");
            }
        }
    }
}

#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn averages_of_weights_are_those_of_the_cpu() {
    let (gpu, _) = gpu();
    let averaged = |device: &Device| {
        let config = NetworkConfig { embedding: 8, ..NetworkConfig::default().with("width", 8) };
        let [one, other] = [3, 4].map(|seed| Backbone::new(&config, seed, device).unwrap());
        let mut average = Average::new(0.75, &one);
        (0..3).for_each(|_| average.update(&other));
        retort_core::checkpoint::state_dict(average.network()).unwrap()
    };
    let (there, here) = (averaged(&gpu), averaged(&cpu()));
    assert!(there.len() > 10 && there.keys().eq(here.keys()));
    for (name, there) in &there {
        for (a, b) in there.iter::<f64>().zip(here[name].iter::<f64>()) {
            assert!((a - b).abs() < 2e-6 * b.abs().max(1.0), "{name}: {a}, not {b}");
        }
    }
}

/// Pictures travel as bytes, and arrive bit for bit.
#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn pictures_arrive_as_they_were_sent() {
    let (gpu, _) = gpu();
    for shape in [[2, 3, 5, 7], [1, 1, 3, 3], [4, 3, 16, 16]] {
        let images: Vec<u8> = (0..shape.iter().product()).map(|i: usize| (i * 37) as u8).collect();
        let batch = Batch { images: images.clone(), shape, labels: vec![], ids: vec![], views: 1 };
        let there = upload(&batch, &gpu, FloatDType::F32);
        assert_eq!(there.dims(), shape);
        let back: Vec<f32> = there.into_data().iter::<f32>().collect();
        assert!(back.iter().zip(&images).all(|(a, b)| *a == f32::from(*b)), "{shape:?}");
    }
}

/// Whatever the device computes, the ranks are exact: a product that is off is found out.
#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn a_search_on_the_gpu_finds_what_the_cpu_finds() {
    let (gpu, software) = gpu();
    let mut x = 1u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u32 << 24) as f32
    };
    let (n, dim) = (1200, 64);
    let rows = (0..n * dim).map(|_| 5.0 + next()).collect();
    let labels = (0..n as i64).map(|i| i % 200).collect();
    let data = Embeddings { rows, dim, labels };
    // So little memory that the device gets several tiles.
    let search = Search { memory: 7 << 20, threads: 2, ..Search::default() };
    let cpu = search.retrieval(&data, &[1, 10, 1000]).unwrap();
    let search = Search { device: Some(gpu), ..search };
    let mut found = search.retrieval(&data, &[1, 10, 1000]).unwrap();
    println!("the device's products were refused: {}", found.device_refused);
    assert!(software || !found.device_refused);
    found.device_refused = false;
    assert!(found == cpu);
    let nearest = search.nearest(&data, &data, 5).unwrap();
    assert_eq!(nearest, Search { device: None, ..search }.nearest(&data, &data, 5).unwrap());
}

/// Indices and sizes that a GPU could take otherwise than the CPU: it reads nothing that isn't the
/// tensor's, and the sentence is the CPU's.
#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn attacks_end_as_on_the_cpu() {
    let program = Program { path: retort_snapshots::retort(), device: name() };
    let place = Place::new().unwrap();
    let mut jobs = corpus::jobs(place.folder());
    jobs.retain(|job| job.attack.gpu && job.dtype == "f32");
    // A software GPU compiles its shaders in this process's memory.
    let base = corpus::base(&program, &place) + 500;
    let ends = corpus::run(&jobs, &program, &place);
    let there = jobs.iter().zip(&ends).filter_map(|(job, end)| end.fault(job, base));
    let there: Vec<String> = there.collect();
    assert!(there.is_empty(), "{} faults:\n{}", there.len(), there.join("\n"));

    let here = corpus::run(&jobs, &Program { device: "cpu".to_owned(), ..program }, &place);
    for ((job, there), here) in jobs.iter().zip(&ends).zip(&here) {
        assert!(
            there.message == here.message || there.message.contains("32 bits"),
            "{job}: {there:?}, {here:?}"
        );
    }
}
