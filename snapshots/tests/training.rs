//! Training against the relaxed losses' authors' code: optimisers and schedules on small vectors, and
//! short trainings with every transfer loss, through the trainer that the program has.
//!
//! The trajectories in 64 bits are the true test, and run whole. In 32 bits rounding alone moves a
//! run by what the golden data advises, and one kind of mistake can't show in 64: a number that is
//! cut to 32 bits and back. The suite compares each run's first steps in 32 bits (those before the
//! second epoch), which the tolerances are tight for; `RETORT_TRAJECTORIES=all` compares all of them.

#![allow(clippy::unwrap_used, reason = "tests")]

use burn::module::{Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_core::trainer::{Minibatch, Optimizer, Pictures, State, Term, Trainer};
use retort_core::{Limits, LossParameters, Method, Precision, Recipe, Schedule, checkpoint};
use retort_datasets::{DataError, Dataset, Identity, Image};
use retort_snapshots::formula::{Images, parameter, scaled, state_dict};
use retort_snapshots::{cpu, golden, json, session, tensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

type File = BTreeMap<String, TensorData>;

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// |got - want| / |want|
fn apart(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference: Vec<f64> = got.iter().zip(want).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(want).max(1e-300)
}

fn method(value: &Value) -> Method {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("optimizer {value}: {e}"))
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is no number in {value}"))
}

fn count(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is no count in {value}")) as usize
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// Runs one optimiser over the given gradients; the worst relative difference.
fn optimizer(entry: &Value, file: &File, dtype: FloatDType) -> f64 {
    let hyper = &entry["hyperparameters"];
    let schedule = &entry["schedule"];
    let mut recipe = Recipe {
        optimizer: method(&entry["optimizer"]),
        lr: number(hyper, "lr"),
        weight_decay: number(hyper, "weight_decay"),
        epsilon: hyper["eps"].as_f64().unwrap_or(1e-8),
        clip_value: entry["clip_value"].as_f64().unwrap_or(0.0),
        ..Recipe::default()
    };
    let per_epoch = schedule["steps_per_epoch"].as_u64().unwrap_or(1) as usize;
    match schedule["kind"].as_str() {
        None => recipe.schedule = Schedule::Constant,
        Some("cosine") => recipe.epochs = count(schedule, "t_max"),
        Some("step") => {
            recipe.schedule = Schedule::Step;
            recipe.lr_decay_step = count(schedule, "step_size");
            recipe.lr_decay_gamma = number(schedule, "gamma");
        }
        Some(other) => panic!("a schedule of kind {other}"),
    }
    let device = cpu();
    let part = |name: &str| file[entry["tensors"][name].as_str().unwrap()].clone();
    let tensor = |values: &[f64]| {
        let data = TensorData::new(values.to_vec(), [1, 1, 1, values.len()]);
        Tensor::<4>::from_data(data, (&device, DType::from(dtype)))
    };
    let first: Vec<f64> = part("p0").iter::<f64>().collect();
    let second: Vec<f64> = first.iter().rev().copied().collect();
    let param = |values: &[f64]| Param::initialized(ParamId::new(), tensor(values).require_grad());
    let mut vectors = LossParameters { values: vec![param(&first), param(&second)] };
    let n = first.len();
    let gradients: Vec<f64> = part("grads").iter::<f64>().collect();
    let wanted: Vec<f64> = part("params_after_f64").iter::<f64>().collect();
    let late = count(entry, "first_parameter_has_no_gradient_before_step");
    let mut optimizer = Optimizer::new(&recipe);
    let mut worst = 0f64;
    for step in 0..count(entry, "steps") {
        let lr = recipe.lr_in(step / per_epoch);
        let expected = floats(&entry["lr_per_step_and_group"][step]);
        for (got, want) in [lr, 100.0 * lr].iter().zip(&expected) {
            assert!((got - want).abs() <= 1e-12 * want, "step {step}: rate {got}, not {want}");
        }
        let mut given = GradientsParams::new();
        let gradient = tensor(&gradients[step * n..][..n]).inner();
        for (i, param) in vectors.values.iter().enumerate() {
            if i == 1 || step >= late {
                given.register(param.id, gradient.clone());
            }
        }
        let rate = |name: &str| if name == "values.1" { 100.0 * lr } else { lr };
        if step == 2 {
            // What it remembers can be put down and taken up.
            let state = optimizer.state();
            optimizer = Optimizer::new(&recipe);
            optimizer.load_state(state, &device).unwrap();
        }
        vectors = optimizer.step(vectors, &mut given, &|name| name, &rate);
        for (i, param) in vectors.values.iter().enumerate() {
            let got: Vec<f64> = param.val().into_data().iter::<f64>().collect();
            worst = worst.max(apart(&got, &wanted[(step * 2 + i) * n..][..n]));
        }
    }
    worst
}

#[test]
fn optimizers_agree_with_pytorch() {
    let list = json(&golden("optimizers.json"));
    let file = tensors(&golden(list["file"].as_str().unwrap()));
    for entry in list["runs"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let wide = optimizer(entry, &file, FloatDType::F64);
        let narrow = optimizer(entry, &file, FloatDType::F32);
        println!("{name:24} f64 {wide:.0e}  f32 {narrow:.0e}");
        assert!(wide <= 1e-13, "{name}: {wide:.1e}");
        let spread = number(entry, "f32_vs_f64_max_rel");
        assert!(narrow <= 10.0 * spread, "{name} in f32: {narrow:.1e}, PyTorch's {spread:.1e}");
    }
}

#[test]
fn schedules_agree_with_pytorch() {
    let list = json(&golden("optimizers.json"));
    for entry in list["schedules"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let epochs = count(entry, "epochs");
        // Their parameters stand in their names only: cosine_t_max_<epochs>, step_<size>_gamma_<γ>.
        let parts: Vec<&str> = name.split('_').collect();
        let (schedule, size, gamma) = match parts[..] {
            ["cosine", "t", "max", length] => {
                assert_eq!(length.parse::<usize>().unwrap(), epochs, "{name}");
                (Schedule::Cosine, 1, 1.0)
            }
            ["step", size, "gamma", whole, fraction] => {
                let gamma = format!("{whole}.{fraction}").parse().unwrap();
                (Schedule::Step, size.parse().unwrap(), gamma)
            }
            _ => panic!("a schedule {name}"),
        };
        for (group, base) in floats(&entry["base_lrs"]).into_iter().enumerate() {
            let recipe = Recipe {
                epochs,
                lr: base,
                schedule,
                lr_decay_step: size,
                lr_decay_gamma: gamma,
                ..Recipe::default()
            };
            for (epoch, want) in entry["lr_during_epoch"].as_array().unwrap().iter().enumerate() {
                let (got, want) = (recipe.lr_in(epoch), want[group].as_f64().unwrap());
                assert!((got - want).abs() <= 1e-12 * base, "{name}, epoch {epoch}: {got} {want}");
            }
        }
    }
}

/// Classes and samples of a training set whose pictures come from elsewhere.
struct Facts {
    classes: Vec<String>,
    labels: Vec<usize>,
}

impl Dataset for Facts {
    fn name(&self) -> &'static str {
        "formula"
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        format!("formula {i}")
    }

    fn image(&self, _: usize) -> Result<Image, DataError> {
        unreachable!("its batches are given")
    }
}

/// One run of the golden file with what it needs.
struct Run<'a> {
    entry: &'a Value,
    config: &'a Value,
    networks: &'a Value,
    file: &'a File,
    dtype: FloatDType,
}

impl Run<'_> {
    fn name(&self) -> &str {
        self.entry["name"].as_str().unwrap()
    }

    fn text(&self, key: &str) -> &str {
        self.config[key].as_str().unwrap_or_else(|| panic!("{}: no {key}", self.name()))
    }

    fn count(&self, key: &str) -> usize {
        count(self.config, key)
    }

    fn flag(&self, key: &str) -> bool {
        self.count(key) != 0
    }

    fn network(
        &self,
        arch: &str,
        embedding: usize,
        norm: &str,
        salt: &str,
    ) -> (NetworkConfig, Backbone) {
        let config = NetworkConfig {
            name: arch.to_owned(),
            embedding,
            l2_norm: self.flag(norm),
            frozen_batch_norm: self.flag("bn_freeze"),
            ..NetworkConfig::default()
        };
        let shapes = &self.networks["architectures"][arch]["state_dict_for_embedding_size_64"];
        let cases = self.networks["cases"].as_array().unwrap();
        let gain = number(cases.iter().find(|case| case["arch"] == arch).unwrap(), "gain");
        let state = state_dict(shapes, self.count(salt) as u32, gain, embedding);
        let mut net = Backbone::new(&config, 0, &cpu()).unwrap();
        checkpoint::load_state_dict(&mut net, &state).unwrap();
        (config, net.cast(self.dtype))
    }

    fn term(&self, loss: &str, hyper: Value, lr_factor: f64, recipe: &Recipe) -> Term {
        let hyper = serde_json::from_value::<Map<_, _>>(hyper).unwrap();
        let session = session(loss, &hyper, &cpu(), self.dtype, &Limits::default()).unwrap();
        let optimizer = Optimizer::new(recipe);
        Term { name: loss.to_owned(), weight: 1.0, lr_factor, session, optimizer }
    }

    fn terms(&self, recipe: &Recipe) -> Vec<Term> {
        let hyper = match self.text("loss") {
            "relaxed_contrastive" | "relaxed_ms" => {
                json!({"sigma": self.config["sigma"], "delta": self.config["delta"]})
            }
            "crd" => json!({"negatives": self.config["crd_K"]}),
            _ => json!({}),
        };
        let loss = match self.text("loss") {
            "attention_transfer" => "attention",
            other => other,
        };
        let proxies = || json!({"margin": 0.1, "alpha": 32.0});
        match loss {
            "proxy_anchor" => vec![self.term(loss, proxies(), 100.0, recipe)],
            "attention" | "fitnet" | "crd" => vec![
                self.term(loss, hyper, 1.0, recipe),
                self.term("proxy_anchor", proxies(), 100.0, recipe),
            ],
            _ => vec![self.term(loss, hyper, 1.0, recipe)],
        }
    }

    /// First values of a loss's parameters and buffers; none for those that it makes itself.
    fn first_value(&self, key: &str, shape: &[usize]) -> Option<TensorData> {
        let salt = self.count("target_salt") as u32;
        let values = match key {
            "param.proxies" => parameter("proxies", shape, salt, 6.0),
            "buffer.memory_target" | "buffer.memory_source" => {
                let name = if key.ends_with("target") { "crd.memory_v1" } else { "crd.memory_v2" };
                scaled(name, shape, salt, 1.0 / (128.0f64 / 3.0).sqrt())
            }
            _ => match key.split('.').collect::<Vec<_>>()[..] {
                ["param", "transform", level, "weight"] => {
                    scaled(&format!("fitnet.{level}.weight"), shape, salt, 0.005)
                }
                ["param", side @ ("embed_target" | "embed_source"), part] => {
                    let side = if side == "embed_target" { "embed_t" } else { "embed_s" };
                    parameter(&format!("crd.{side}.linear.{part}"), shape, salt, 3.0)
                }
                _ => return None,
            },
        };
        Some(TensorData::new(values, shape))
    }

    fn pictures(&self, keys: Vec<[String; 3]>) -> Pictures {
        let size = self.count("size");
        let scale = if self.text("arch") == "bn_inception" { 128.0 } else { 2.0 };
        let salt = self.count("image_salt") as u32;
        let images = Images { keys, size: [size, size], salt, scale };
        let device = cpu();
        Pictures::Normalised(Tensor::from_data(images.data(), (&device, DType::from(self.dtype))))
    }

    fn batch(&self, step: usize) -> Minibatch {
        let (set, views) = (self.text("image_set"), self.count("views"));
        let (classes, each) = (self.count("classes_per_batch"), self.count("images_per_class"));
        let label = |j: usize| (step * classes + j / each) % self.count("nb_classes");
        let images = classes * each;
        let rows = (0..views).flat_map(|view| (0..images).map(move |j| (view, j)));
        let keys = rows.clone().map(|(view, j)| {
            let instance = format!("{set}/step{step}/img{j}");
            let noise = format!("{instance}/view{view}");
            [format!("{set}/class{}", label(j)), instance, noise]
        });
        let labels: Vec<i64> = rows.clone().map(|(_, j)| label(j) as i64).collect();
        let wanted = &self.entry["labels_per_step"][step];
        let wanted: Vec<i64> =
            wanted.as_array().unwrap().iter().map(|v| v.as_i64().unwrap()).collect();
        assert_eq!(labels, wanted, "{}", self.name());
        let draws = self.file.get(&format!("{}/contrast_idx", self.name())).map(|all| {
            let [_, n, k] = all.shape().to_vec()[..] else { panic!("contrast_idx isn't 3D") };
            let of_step: Vec<i64> = all.iter::<i64>().skip(step * n * k).take(n * k).collect();
            TensorData::new(of_step.repeat(views), [views * n, k])
        });
        Minibatch {
            pictures: self.pictures(keys.collect()),
            labels,
            ids: rows.map(|(_, j)| (step * images + j) as i64).collect(),
            views,
            draws: draws.into_iter().collect(),
        }
    }

    fn recipe(&self) -> Recipe {
        let source = self.text("recipe") == "source";
        let optimizer = method(&self.config["optimizer"]);
        Recipe {
            epochs: self.count("epochs"),
            views: self.count("views"),
            optimizer,
            lr: number(self.config, "lr"),
            weight_decay: number(self.config, "weight_decay"),
            // The authors' training of targets has this with Adam.
            epsilon: if optimizer == Method::Adam && !source { 1.0 } else { 1e-8 },
            schedule: if source { Schedule::Step } else { Schedule::Cosine },
            lr_decay_step: self.config["lr_decay_step"].as_u64().unwrap_or(1) as usize,
            lr_decay_gamma: self.config["lr_decay_gamma"].as_f64().unwrap_or(1.0),
            new_only_epochs: self.count("warm"),
            thaw_batch_norm: self.config["keep_bn_affine_frozen"] != true,
            clip_value: self.config["clip_value"].as_f64().unwrap_or(0.0),
            precision: match self.dtype {
                FloatDType::F64 => Precision::F64,
                _ => Precision::F32,
            },
            ..Recipe::default()
        }
    }

    fn trainer(&self) -> Trainer {
        let recipe = self.recipe();
        let arch = self.text("arch");
        let (network, target) =
            self.network(arch, self.count("embedding_size"), "target_norm", "target_salt");
        let source = (self.text("recipe") == "target").then(|| {
            let arch = if arch.starts_with("resnet") { "resnet50" } else { arch };
            self.network(arch, 512, "source_norm", "source_salt").1
        });
        let samples = self.config["crd_n_data"].as_u64().unwrap_or(1) as usize;
        let data = Arc::new(Facts {
            classes: (0..self.count("nb_classes")).map(|c| c.to_string()).collect(),
            labels: vec![0; samples],
        });
        let state = State::new(target, self.terms(&recipe), &recipe);
        Trainer {
            network,
            source,
            train: data.clone(),
            augmentation: Arc::new(Identity),
            test: data,
            ks: vec![1],
            image_size: self.count("size"),
            seed: 0,
            device: cpu(),
            checkpoint: "none".into(),
            steps: recipe.epochs * self.count("steps_per_epoch"),
            recipe,
            state,
        }
    }

    /// Trains for some steps; what isn't as it should be.
    fn run(&self, steps: usize) -> Vec<String> {
        let name = self.name();
        let exact = self.dtype == FloatDType::F64;
        let mut trainer = self.trainer();
        let first = self.batch(0);
        trainer.probe(&first).unwrap_or_else(|e| panic!("{name}: {e}"));
        for term in &mut trainer.state.terms {
            let state = term.session.state().into_iter();
            let state = state.filter_map(|(key, data)| {
                let value = self.first_value(&key, &data.shape().to_vec())?;
                Some((key, value))
            });
            term.session.load_state(state.collect()).unwrap();
        }
        let before = checkpoint::state_dict(&trainer.result()).unwrap();
        let set = self.text("image_set");
        let probe = (0..4).map(|c| {
            let instance = format!("{set}/probe{c}");
            let noise = format!("{instance}/view0");
            [format!("{set}/class{c}"), instance, noise]
        });
        let probe = self.pictures(probe.collect()).inner();
        let mut failed = Vec::new();
        // Not `got > most`, which NaN passes.
        let mut check = |what: String, got: f64, most: f64| {
            if !(got <= most) {
                failed.push(format!("{name}: {what}: {got:.1e} is more than {most:.0e}"));
            }
        };
        let mut look = |trainer: &Trainer, step: usize| {
            let wanted = &self.entry["probe"][format!("step{step}")];
            if wanted.is_null() {
                return;
            }
            let got = probe.through(&trainer.result()).embedding.into_data();
            let want = &self.file[wanted["tensor"].as_str().unwrap()];
            let got: Vec<f64> = got.iter::<f64>().collect();
            let want: Vec<f64> = want.iter::<f64>().collect();
            let most = if exact { 1e-6 } else { number(wanted, "advised_rel_l2") };
            check(format!("probe after step {step}"), apart(&got, &want), most);
        };
        look(&trainer, 0);
        let per_epoch = self.count("steps_per_epoch");
        let (losses, advised) =
            (floats(&self.entry["loss_f64"]), floats(&self.entry["advised_loss_rtol_per_step"]));
        let mut compared = Vec::new();
        for step in 0..steps.min(losses.len()) {
            (trainer.state.epoch, trainer.state.batch) = (step / per_epoch, step % per_epoch);
            trainer.begin_epoch();
            let rates = floats(&self.entry["lr_per_step_and_group"][step]);
            let last = trainer.state.terms.last().unwrap().lr_factor;
            let ours =
                [trainer.lr(), if rates.len() > 1 { last * trainer.lr() } else { trainer.lr() }];
            for (got, want) in ours.iter().zip([rates[0], rates[rates.len() - 1]]) {
                assert!((got - want).abs() <= 1e-12 * want, "{name}, step {step}: {got} {want}");
            }
            let batch = if step == 0 { first.clone() } else { self.batch(step) };
            let outcome = trainer.step(&batch).unwrap_or_else(|e| panic!("{name}: {e}"));
            let loss = outcome.unwrap().0.into_scalar::<f64>();
            let most = if exact { 1e-6 } else { advised[step] };
            compared.push((step, (loss - losses[step]).abs() / losses[step].abs(), most));
            look(&trainer, step + 1);
        }
        for (step, got, most) in compared {
            check(format!("loss of step {step}"), got, most);
        }
        if exact && steps >= losses.len() {
            let after = checkpoint::state_dict(&trainer.result()).unwrap();
            let values = |state: &File, key: &str| {
                let key = key.strip_prefix("model.").unwrap_or(key);
                state.get(key).map(|data| data.iter::<f64>().collect::<Vec<_>>())
            };
            for (key, want) in self.entry["parameters_after"].as_object().unwrap() {
                // Heads that aren't built are among them.
                let Some(x) = values(&after, key) else { continue };
                let moved: Vec<f64> =
                    x.iter().zip(values(&before, key).unwrap()).map(|(a, b)| a - b).collect();
                let length = number(want, "norm");
                check(format!("norm of {key}"), (norm(&x) - length).abs() / length, 1e-6);
                let off = (norm(&moved) - number(want, "moved_norm")).abs() / length;
                check(format!("way of {key}"), off, 1e-6);
            }
            for key in self.entry["parameters_unmoved"].as_array().unwrap() {
                let key = key.as_str().unwrap();
                if let Some(x) = values(&after, key) {
                    let moved = x != values(&before, key).unwrap();
                    check(format!("{key} moved, and shouldn't"), f64::from(u8::from(moved)), 0.0);
                }
            }
        }
        failed
    }
}

#[test]
fn trajectories_agree_with_the_authors_code() {
    let list = json(&golden("trajectories.json"));
    let file = tensors(&golden(list["file"].as_str().unwrap()));
    let networks = json(&golden("networks.json"));
    let all = std::env::var_os("RETORT_TRAJECTORIES").is_some_and(|v| v == "all");
    let only = std::env::var("RETORT_TRAJECTORY").ok();
    let runs = list["runs"].as_array().unwrap();
    let jobs: Vec<(&Value, FloatDType)> = runs
        .iter()
        .filter(|entry| only.as_ref().is_none_or(|name| entry["name"] == name.as_str()))
        .flat_map(|entry| [(entry, FloatDType::F64), (entry, FloatDType::F32)])
        .collect();
    let queue = Mutex::new(jobs.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(&(entry, dtype)) = queue.lock().unwrap().next() else { return };
                    let config = &entry["config"];
                    let run = Run { entry, config, networks: &networks, file: &file, dtype };
                    let whole = all || dtype == FloatDType::F64;
                    let steps = if whole { usize::MAX } else { count(config, "steps_per_epoch") };
                    let start = Instant::now();
                    let problems = run.run(steps);
                    println!("{:55} {dtype:?} {:.1?}", run.name(), start.elapsed());
                    failed.lock().unwrap().extend(problems);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
