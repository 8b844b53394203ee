//! The wgpu path: the same losses, and whole trainings of small networks, on a GPU, or on a software Vulkan device
//! as in `.ci/run`. What is computed agrees with the CPU to a thousandth, of any tensor's length (differences seen
//! are near 1e-6).

use burn::module::{Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_core::device::{DeviceChoice, resolve};
use retort_core::metric::{Embeddings, Search};
use retort_core::trainer::{
    Average, EpochReport, Observer, Optimizer, State, StepReport, Term, TrainError, Trainer, upload,
};
use retort_core::{Limits, LossParameters, Precision, Recipe, checkpoint};
use retort_datasets::part::Chosen;
use retort_datasets::{Batch, DataError, Dataset, Identity, Image};
use retort_snapshots::corpus::{self, Place, Program};
use retort_snapshots::{Case, cpu, losses, session, tensors};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The device to test: `RETORT_TEST_DEVICE`, or the first that wgpu finds.
fn name() -> String {
    std::env::var("RETORT_TEST_DEVICE").unwrap_or_else(|_| "gpu:0".to_owned())
}

fn gpu() -> Device {
    let choice: DeviceChoice = name().parse().unwrap();
    assert!(choice != DeviceChoice::Cpu, "this test compares a GPU with the CPU");
    let (device, info) = resolve(choice).unwrap();
    println!("{}: {} ({})", info.id, info.name, info.kind);
    device
}

/// That two results agree.
fn agree(what: &str, gpu: &[f64], cpu: &[f64]) {
    assert_eq!(gpu.len(), cpu.len(), "{what}");
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let difference: Vec<f64> = gpu.iter().zip(cpu).map(|(a, b)| a - b).collect();
    let error = norm(&difference) / norm(cpu).max(1e-6);
    println!("{what}: relative difference {error:.1e}");
    assert!(error < 1e-3, "{what}: {gpu:?} on the GPU, {cpu:?} on the CPU");
}

#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn losses_agree_with_the_cpu() {
    let gpu = gpu();
    for loss in losses() {
        let case = Case::example(16, 8, 11);
        let on = |device: &Device| case.run(&loss, device, FloatDType::F32).unwrap();
        let (there, here) = (on(&gpu), on(&cpu()));
        agree(&format!("{loss}, value"), &[there.value], &[here.value]);
        for (name, gradient) in &here.gradients {
            agree(&format!("{loss}, gradient of {name}"), &there.gradients[name], gradient);
        }
    }
}

/// Four grey pictures of each of four classes.
struct Drawn {
    classes: Vec<String>,
    labels: Vec<usize>,
}

impl Drawn {
    fn new() -> Arc<Self> {
        let classes = (0..4).map(|class| class.to_string()).collect();
        Arc::new(Drawn { classes, labels: (0..16).map(|i| i / 4).collect() })
    }
}

impl Dataset for Drawn {
    fn name(&self) -> &'static str {
        "drawn"
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        format!("drawing {i}")
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        let class = self.labels[i] + 1;
        let pixel = |p: usize| (p * class * 7 % 200 + i * p * 13 % 56) as u8;
        Ok(Image { width: 16, height: 16, channels: 1, pixels: (0..256).map(pixel).collect() })
    }
}

/// Ends a training after some steps.
struct Watch {
    after: usize,
    stop: &'static AtomicBool,
}

impl Observer for Watch {
    fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        self.stop.store(report.step >= self.after, Ordering::Relaxed);
        Ok(())
    }

    fn epoch(&mut self, _: &EpochReport) -> Result<(), TrainError> {
        Ok(())
    }
}

/// A small network that learns from another, with losses that see pairs and feature maps, have parameters and
/// memories.
fn trainer(recipe: &Recipe, device: &Device, checkpoint: &Path) -> Trainer {
    let network = |width: usize, embedding: usize, seed: u64| {
        let config = NetworkConfig {
            embedding,
            channels: 1,
            ..NetworkConfig::default().with("width", width)
        };
        let net = Backbone::new(&config, seed, device).unwrap();
        (config, net)
    };
    let term = |loss: &str, hyper: Value| {
        let hyper = serde_json::from_value::<Map<_, _>>(hyper).unwrap();
        let session = session(loss, &hyper, device, FloatDType::F32, &Limits::default()).unwrap();
        let optimizer = Optimizer::new(recipe).unwrap();
        Term { name: loss.to_owned(), weight: 1.0, lr_factor: 10.0, session, optimizer }
    };
    let terms = vec![
        term("relaxed_contrastive", json!({"sigma": 0.5})),
        term("proxy_anchor", json!({})),
        term("fitnet", json!({})),
        term("crd", json!({"negatives": 3, "noise": "uniform"})),
    ];
    let ((network, target), (_, source)) = (network(4, 6, 1), network(6, 9, 2));
    let data = Drawn::new();
    Trainer {
        network,
        source: Some(source),
        train: data.clone(),
        augmentation: Arc::new(Identity),
        test: data,
        ks: vec![1],
        image_size: 16,
        seed: 5,
        device: device.clone(),
        replicas: Vec::new(),
        checkpoint: checkpoint.to_owned(),
        steps: 0,
        state: State::new(target, terms, recipe).unwrap(),
        recipe: recipe.clone(),
    }
}

/// Trains until some step, from the checkpoint that may be there; all that the checkpoint says then.
fn trained(recipe: &Recipe, device: &Device, file: &Path, after: usize) -> Vec<(String, Vec<f64>)> {
    let mut trainer = trainer(recipe, device, file);
    if file.exists() {
        trainer.resume(checkpoint::load(file, device).unwrap()).unwrap();
    }
    let stop: &'static AtomicBool = Box::leak(Box::default());
    trainer.run(&mut Watch { after, stop }, stop).unwrap();
    let all = tensors(file).into_iter();
    all.map(|(name, data)| (name, data.iter::<f64>().collect())).collect()
}

/// The trainings that are compared: three epochs of two steps each.
fn recipes() -> Vec<(&'static str, Recipe)> {
    let base = Recipe {
        epochs: 3,
        batch: 8,
        images_per_class: 2,
        lr: 1e-3,
        weight_decay: 0.1,
        log_every: 1,
        // Where gradients are rounding errors, Adam's steps would follow their signs.
        optimizer: Chosen::from("adamw").with("epsilon", 1e-3),
        ..Recipe::default()
    };
    let average = Recipe { ema_decay: 0.5, clip_value: 0.05, ..base.clone() };
    vec![
        ("warm-up", Recipe { warmup_epochs: 1, new_only_epochs: 1, ..base.clone() }),
        ("average, clipped", Recipe { optimizer: "sgd".into(), ..average }),
        ("two parts, two views", Recipe { chunks: 2, views: 2, ..base.clone() }),
        ("16 bits, 5 of exponent", Recipe { precision: Precision::MixedF16, ..base.clone() }),
        ("16 bits, 8 of exponent", Recipe { precision: Precision::MixedBf16, ..base }),
    ]
}

/// Whether the device has the numbers of a recipe.
fn has_numbers(device: &Device, name: &str, recipe: &Recipe) -> bool {
    let has = recipe.precision.half().is_none_or(|half| device.supports_dtype(half));
    if !has {
        println!("{name}: this device can't compute in {:?}", recipe.precision.half());
    }
    has
}

/// Through `Trainer::run`: loader, schedule, freezing, our optimisers, averages, parts, losses' parameters and
/// memories, checkpoints.
#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn trainings_agree_with_the_cpu() {
    let (gpu, cpu) = (gpu().autodiff(), cpu());
    let dir = tempfile::tempdir().unwrap();
    for (what, recipe) in recipes() {
        if !has_numbers(&gpu, what, &recipe) {
            continue;
        }
        let there = trained(&recipe, &gpu, &dir.path().join(format!("{what}.gpu")), 100);
        let here = trained(&recipe, &cpu, &dir.path().join(format!("{what}.cpu")), 100);
        assert!(here.len() > 50 && here.len() == there.len(), "{what}");
        // Sums of 16-bit numbers differ by their rounding, in whichever order they are made.
        let narrow = recipe.precision.half().is_some();
        for ((name, there), (other, here)) in there.iter().zip(&here) {
            assert_eq!(name, other);
            if !narrow || !name.starts_with("optimizer.") {
                agree(&format!("{what}: {name}"), there, here);
            }
        }
    }
}

/// A training that was stopped in the middle of an epoch goes on bit for bit.
#[test]
#[ignore = "needs a Vulkan device; .ci/run gives it a software one"]
fn a_training_goes_on_where_it_stopped() {
    let gpu = gpu().autodiff();
    let dir = tempfile::tempdir().unwrap();
    for (what, recipe) in recipes() {
        if !has_numbers(&gpu, what, &recipe) {
            continue;
        }
        let whole = trained(&recipe, &gpu, &dir.path().join(format!("{what}.whole")), 100);
        let file = dir.path().join(format!("{what}.parts"));
        let half = trained(&recipe, &gpu, &file, 3);
        assert!(half != whole, "{what}: it wasn't stopped");
        assert!(trained(&recipe, &gpu, &file, 100) == whole, "{what}");
    }
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
    let gpu = gpu();
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
    let gpu = gpu();
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
    let gpu = gpu();
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
    let gpu = gpu();
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
    let found = search.retrieval(&data, &[1, 10, 1000]).unwrap();
    assert!(!found.device_refused);
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
