//! Training against the relaxed losses' authors' code: optimisers and schedules on small vectors, and
//! short trainings with every transfer loss, through the trainer that the program has.
//!
//! The trajectories in 64 bits are the true test; in 32 bits rounding alone moves a run, by what the
//! golden data advises. All of it takes minutes, so the suite goes through each run's first epoch in
//! 64 bits, and through the second where something changes then that isn't the same in every run (a
//! warm-up ends, a step schedule falls, an optimiser other than AdamW); and in 32 bits through the first
//! step of the first run of each network with each loss. `RETORT_TRAJECTORIES=all` goes through all
//! steps of all runs in both, and compares how far parameters moved; `RETORT_TRAJECTORY=NAME` takes one
//! run.

use burn::module::{Module as _, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, FloatDType, Tensor, TensorData};
use retort_core::backbone::{Backbone, NetworkConfig};
use retort_core::trainer::{Minibatch, Optimizer, Pictures, Replica, State, Term, Trainer};
use retort_core::{Limits, LossParameters, Precision, Recipe, checkpoint};
use retort_datasets::Identity;
use retort_datasets::part::Chosen;
use retort_snapshots::facts::Facts;
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

/// An optimiser by its name in the files, with an ε where it has one.
fn optimizer_of(value: &Value, epsilon: f64) -> Chosen {
    let chosen = Chosen::from(value.as_str().unwrap());
    if chosen.name == "sgd" { chosen } else { chosen.with("epsilon", epsilon) }
}

fn step_of(every: usize, gamma: f64) -> Chosen {
    Chosen::from("step").with("every", every).with("gamma", gamma)
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
        optimizer: optimizer_of(&entry["optimizer"], hyper["eps"].as_f64().unwrap_or(1e-8)),
        lr: number(hyper, "lr"),
        weight_decay: number(hyper, "weight_decay"),
        clip_value: entry["clip_value"].as_f64().unwrap_or(0.0),
        ..Recipe::default()
    };
    let per_epoch = schedule["steps_per_epoch"].as_u64().unwrap_or(1) as usize;
    match schedule["kind"].as_str() {
        None => recipe.schedule = "constant".into(),
        Some("cosine") => recipe.epochs = count(schedule, "t_max"),
        Some("step") => {
            recipe.schedule = step_of(count(schedule, "step_size"), number(schedule, "gamma"));
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
    let mut optimizer = Optimizer::new(&recipe).unwrap();
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
            optimizer = Optimizer::new(&recipe).unwrap();
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
        let schedule = match parts[..] {
            ["cosine", "t", "max", length] => {
                assert_eq!(length.parse::<usize>().unwrap(), epochs, "{name}");
                Chosen::from("cosine")
            }
            ["step", size, "gamma", whole, fraction] => {
                let gamma = format!("{whole}.{fraction}").parse().unwrap();
                step_of(size.parse().unwrap(), gamma)
            }
            _ => panic!("a schedule {name}"),
        };
        for (group, base) in floats(&entry["base_lrs"]).into_iter().enumerate() {
            let schedule = schedule.clone();
            let recipe = Recipe { epochs, lr: base, schedule, ..Recipe::default() };
            for (epoch, want) in entry["lr_during_epoch"].as_array().unwrap().iter().enumerate() {
                let (got, want) = (recipe.lr_in(epoch), want[group].as_f64().unwrap());
                assert!((got - want).abs() <= 1e-12 * base, "{name}, epoch {epoch}: {got} {want}");
            }
        }
    }
}

/// One run of the golden file with what it needs.
struct Run<'a> {
    entry: &'a Value,
    config: &'a Value,
    networks: &'a Value,
    file: &'a File,
    dtype: FloatDType,
    made: &'a Made,
}

/// Networks that several runs begin with.
type Made = Mutex<BTreeMap<String, Backbone>>;

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
        // Two runs that come at once may both make it.
        let key = format!("{config:?} {} {:?}", self.count(salt), self.dtype);
        let made = self.made.lock().unwrap().get(&key).cloned();
        let net = made.unwrap_or_else(|| {
            let shapes = &self.networks["architectures"][arch]["state_dict_for_embedding_size_64"];
            let cases = self.networks["cases"].as_array().unwrap();
            let gain = number(cases.iter().find(|case| case["arch"] == arch).unwrap(), "gain");
            let state = state_dict(shapes, self.count(salt) as u32, gain, embedding);
            let mut net = Backbone::new(&config, 0, &cpu()).unwrap();
            checkpoint::load_state_dict(&mut net, &state).unwrap();
            let net = net.cast(self.dtype);
            self.made.lock().unwrap().insert(key, net.clone());
            net
        });
        // With running statistics of its own: clones share them.
        (config, net.valid().train())
    }

    fn term(&self, loss: &str, hyper: Value, lr_factor: f64, recipe: &Recipe) -> Term {
        let hyper = serde_json::from_value::<Map<_, _>>(hyper).unwrap();
        let session = session(loss, &hyper, &cpu(), self.dtype, &Limits::default()).unwrap();
        let optimizer = Optimizer::new(recipe).unwrap();
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
        // The authors' training of targets has this with Adam.
        let adam = self.config["optimizer"] == "adam";
        let epsilon = if adam && !source { 1.0 } else { 1e-8 };
        let falls = |key: &str| self.config[key].as_f64();
        let every = falls("lr_decay_step").unwrap_or(1.0) as usize;
        Recipe {
            epochs: self.count("epochs"),
            views: self.count("views"),
            optimizer: optimizer_of(&self.config["optimizer"], epsilon),
            lr: number(self.config, "lr"),
            weight_decay: number(self.config, "weight_decay"),
            schedule: if source {
                step_of(every, falls("lr_decay_gamma").unwrap_or(1.0))
            } else {
                "cosine".into()
            },
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
        let state = State::new(target, self.terms(&recipe), &recipe).unwrap();
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
            replicas: Vec::new(),
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
        let whole = exact && steps >= self.entry["loss_f64"].as_array().unwrap().len();
        let before =
            if whole { checkpoint::state_dict(&trainer.result()).unwrap() } else { File::new() };
        let set = self.text("image_set");
        let probe = (0..4).map(|c| {
            let instance = format!("{set}/probe{c}");
            let noise = format!("{instance}/view0");
            [format!("{set}/class{c}"), instance, noise]
        });
        let probe = self.pictures(probe.collect()).inner();
        let mut failed = Vec::new();
        let mut check = |what: String, got: f64, most: f64| {
            if got.is_nan() || got > most {
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
            let loss = outcome.unwrap().total.into_scalar::<f64>();
            let most = if exact { 1e-6 } else { advised[step] };
            compared.push((step, (loss - losses[step]).abs() / losses[step].abs(), most));
            look(&trainer, step + 1);
        }
        for (step, got, most) in compared {
            check(format!("loss of step {step}"), got, most);
        }
        if whole {
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
        .flat_map(|entry| {
            let what = |entry: &Value| {
                ["arch", "loss"].map(|key| entry["config"][key].as_str().unwrap().to_owned())
            };
            let first = runs.iter().find(|other| what(other) == what(entry));
            let narrow = all || first.is_some_and(|first| first["name"] == entry["name"]);
            [(entry, FloatDType::F64)].into_iter().chain(narrow.then_some((entry, FloatDType::F32)))
        })
        .collect();
    let (queue, made) = (Mutex::new(jobs.iter()), Made::default());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(&(entry, dtype)) = queue.lock().unwrap().next() else { return };
                    let config = &entry["config"];
                    let run =
                        Run { entry, config, networks: &networks, file: &file, dtype, made: &made };
                    let changes = count(config, "warm") > 0
                        || !config["lr_decay_step"].is_null()
                        || config["optimizer"] != "adamw";
                    let epochs = if changes { 2 } else { 1 };
                    let steps = match dtype {
                        _ if all => usize::MAX,
                        FloatDType::F64 => epochs * count(config, "steps_per_epoch"),
                        _ => 1,
                    };
                    let start = Instant::now();
                    let problems = run.run(steps);
                    let verdict = if problems.is_empty() { "agrees" } else { "differs" };
                    println!("{:55} {dtype:?} {verdict} {:.1?}", run.name(), start.elapsed());
                    failed.lock().unwrap().extend(problems);
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A small training in 64 bits, with losses that look at pairs across the batch, at feature maps, and
/// that have parameters and memories.
fn small(frozen: bool, recipe: &Recipe, replicas: usize) -> Trainer {
    let recipe = Recipe { precision: Precision::F64, ..recipe.clone() };
    let network = |width: usize, embedding: usize, seed: u64| {
        let config = NetworkConfig {
            embedding,
            frozen_batch_norm: frozen,
            l2_norm: false,
            channels: 1,
            ..NetworkConfig::default().with("width", width)
        };
        let net = Backbone::new(&config, seed, &cpu()).unwrap();
        (config, net.cast(FloatDType::F64))
    };
    let term = |loss: &str, hyper: Value| {
        let hyper = serde_json::from_value::<Map<_, _>>(hyper).unwrap();
        let session = session(loss, &hyper, &cpu(), FloatDType::F64, &Limits::default()).unwrap();
        let optimizer = Optimizer::new(&recipe).unwrap();
        Term { name: loss.to_owned(), weight: 1.0, lr_factor: 1.0, session, optimizer }
    };
    let terms = vec![
        term("relaxed_contrastive", json!({"sigma": 0.5})),
        term("proxy_anchor", json!({})),
        term("fitnet", json!({})),
        term("crd", json!({"negatives": 3, "noise": "uniform"})),
    ];
    let (config, target) = network(4, 6, 1);
    let source = network(6, 9, 2).1;
    let data = Arc::new(Facts {
        classes: (0..4).map(|c| c.to_string()).collect(),
        labels: (0..40).map(|i| i % 4).collect(),
    });
    Trainer {
        network: config,
        replicas: (0..replicas).map(|_| Replica::new(cpu(), Some(&source))).collect(),
        source: Some(source),
        train: data.clone(),
        augmentation: Arc::new(Identity),
        test: data,
        ks: vec![1],
        image_size: 32,
        seed: 0,
        device: cpu(),
        checkpoint: "none".into(),
        steps: 4,
        state: State::new(target, terms, &recipe).unwrap(),
        recipe,
    }
}

/// Four steps of it; its weights, and the losses' state.
fn four_steps(
    trainer: &mut Trainer,
    mut after: impl FnMut(&Trainer),
) -> BTreeMap<String, Vec<f64>> {
    for step in 0..4 {
        let keys = (0..10).map(|j| {
            [format!("class{}", j % 4), format!("step{step}/img{j}"), format!("noise{step}/{j}")]
        });
        let images = Images { keys: keys.collect(), size: [32, 32], salt: 0, scale: 2.0 };
        let device = cpu();
        let input = Tensor::<4>::from_data(images.data(), (&device, DType::F64));
        let batch = Minibatch {
            pictures: Pictures::Normalised(input.slice([0..10, 0..1])),
            labels: (0..10).map(|j| j % 4).collect(),
            ids: (0..10).map(|j| (step * 10 + j) % 40).collect(),
            views: 1,
            draws: Vec::new(),
        };
        if step == 0 {
            trainer.probe(&batch).unwrap();
        }
        trainer.begin_epoch();
        trainer.step(&batch).unwrap().unwrap();
        after(trainer);
    }
    let mut all = checkpoint::state_dict(&trainer.result()).unwrap();
    for term in &trainer.state.terms {
        let state = term.session.state().into_iter();
        all.extend(state.map(|(key, data)| (format!("{}.{key}", term.name), data)));
    }
    all.into_iter().map(|(key, data)| (key, data.iter::<f64>().collect())).collect()
}

/// The largest difference of two results, relative to its tensor's norm.
fn furthest(a: &BTreeMap<String, Vec<f64>>, b: &BTreeMap<String, Vec<f64>>, but: &str) -> f64 {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let keys = a.keys().filter(|key| but.is_empty() || !key.contains(but));
    let far = keys.map(|key| apart(&a[key], &b[key]));
    far.fold(0.0, f64::max)
}

#[test]
fn parts_of_a_batch_and_two_devices_give_what_the_whole_batch_gives() {
    // SGD shows differences of gradients as they are; Adam's first steps follow their signs.
    let recipe = |chunks| Recipe { optimizer: "sgd".into(), lr: 1e-3, chunks, ..Recipe::default() };
    let run = |frozen, chunks, replicas| {
        four_steps(&mut small(frozen, &recipe(chunks), replicas), |_| {})
    };
    let whole = run(true, 1, 0);
    for (chunks, replicas) in [(3, 0), (1, 1), (2, 1), (1, 3)] {
        let parts = run(true, chunks, replicas);
        let far = furthest(&parts, &whole, "");
        println!("{chunks} chunks on {} devices: {far:.0e}", replicas + 1);
        assert!(far <= 1e-12, "{chunks} chunks on {} devices: {far:.1e}", replicas + 1);
    }
    // Batch norms that aren't frozen see their part, on one device as on two.
    let (learning, chunks, devices) = (run(false, 1, 0), run(false, 2, 0), run(false, 1, 1));
    assert!(furthest(&chunks, &learning, "") > 1e-6, "batch norms saw the whole batch");
    let far = furthest(&devices, &chunks, "running_");
    assert!(far <= 1e-12, "two devices, two chunks: {far:.1e}");
    // The same numbers every time, whatever the order in which threads end.
    assert_eq!(run(false, 1, 3), run(false, 1, 3));
}

#[test]
fn the_average_of_the_weights_is_what_it_says() {
    let decay = 0.75;
    let recipe = Recipe { lr: 1e-3, ema_decay: decay, ..Recipe::default() };
    let mut trainer = small(false, &recipe, 0);
    let weights = |net: &Backbone| -> BTreeMap<String, Vec<f64>> {
        let state = checkpoint::state_dict(net).unwrap().into_iter();
        state.map(|(key, data)| (key, data.iter::<f64>().collect())).collect()
    };
    let mut wanted = weights(&trainer.state.target.valid());
    let averaged = four_steps(&mut trainer, |trainer| {
        for (key, now) in weights(&trainer.state.target.valid()) {
            for (kept, now) in wanted.get_mut(&key).unwrap().iter_mut().zip(now) {
                *kept = *kept * decay + now * (1.0 - decay);
            }
        }
    });
    let got = weights(&trainer.result());
    assert!(furthest(&got, &wanted, "") <= 1e-14);
    let last = weights(&trainer.state.target.valid());
    assert!(furthest(&last, &got, "") > 1e-6, "it is the last step's");
    assert!(got.iter().all(|(key, values)| averaged[key] == *values));
}
