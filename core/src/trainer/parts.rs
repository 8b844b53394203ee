//! A batch in parts: one after the other where memory is short, side by side on several devices. The
//! losses see the whole batch, because a pair's two samples may be in two parts.
//!
//! Gao, Zhang, Han & Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
//! Setup", 2021: all parts are embedded first; the losses give the gradient of every embedding; and
//! each part goes backward from its embeddings' gradients. With one part on each device the graph of
//! the first pass is kept; with more, only one part's graph is ever held, at the price of a second
//! forward pass.
//!
//! (Burn's own collective operations aren't there on its CPU backend, and average gradients only.)
//!
//! Gradients are those of the whole batch, but for batch norms that aren't frozen: each normalises by
//! the statistics of its part, as in PyTorch's `DataParallel`. Their running statistics take in one
//! part after the other on a device, and are averaged over devices.

use super::average::{Collect, Mix};
use super::batch::Pictures;
use super::step::{Step, constant, teach};
use super::{Minibatch, TrainError, Trainer};
use crate::backbone::{Backbone, Output};
use crate::loss::Feature;
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, FloatDType, Gradients, Tensor};
use std::collections::BTreeMap;
use std::ops::Range;

/// A further device that shares each batch's work.
#[derive(Debug)]
pub struct Replica {
    device: Device,
    source: Option<Backbone>,
}

impl Replica {
    /// A device, with autodiff, and its copy of the source network.
    pub fn new(device: Device, source: Option<&Backbone>) -> Self {
        let source = source.map(|net| net.valid().to_device(&device.clone().inner()));
        Replica { device, source }
    }
}

/// A device's share of a step.
struct Worker {
    device: Device,
    target: Backbone,
    source: Option<Backbone>,
    /// Rows of its parts and their pictures.
    parts: Vec<(Range<usize>, Pictures)>,
    /// Keep the graph of the only part.
    keep: bool,
    features: [bool; 2],
}

/// What a part's first pass gives: values without graph, and the output with it, if kept.
struct Seen {
    target: Output,
    source: Option<Output>,
    kept: Option<Output>,
}

impl Trainer {
    /// Whether batches go in parts, or through a 16-bit copy of the network, as one part.
    pub(super) fn in_parts(&self) -> bool {
        let mixed = self.recipe.precision.half().is_some();
        self.recipe.chunks > 1 || mixed || !self.replicas.is_empty()
    }

    /// A step whose batch goes in parts.
    pub(super) fn step_in_parts(&mut self, batch: &Minibatch) -> Result<Option<Step>, TrainError> {
        let mut workers = self.workers(batch);
        let seen = each(&mut workers, &Worker::first_pass);
        // Devices' parts are neighbours, so their order is the batch's.
        let seen: Vec<Seen> = seen.into_iter().flatten().collect();
        let (targets, sources): (Vec<_>, Vec<_>) =
            seen.iter().map(|s| (s.target.clone(), s.source.clone())).unzip();
        let target = leaves(constant(gather(&targets, &self.device)));
        let sources: Option<Vec<Output>> = sources.into_iter().collect();
        let source = sources.map(|all| gather(&all, &self.device));
        let source = source.map(constant);
        let inputs = self.inputs(batch, target.clone(), source);
        let step = self.losses(&inputs)?;
        drop(inputs);
        let Some(step) = step else { return Ok(None) };

        if !step.learns {
            return Ok(Some(step));
        }
        let mut gradients = step.total.backward();
        let of_losses = self.loss_gradients(&mut gradients);
        let scale = self.recipe.precision.gradient_scale();
        let wanted = Wanted::of(&target, &gradients, scale);
        let kept: Vec<Option<Output>> = seen.into_iter().map(|s| s.kept).collect();
        let mut kept = kept.into_iter();
        let mut second: Vec<(Worker, Vec<Option<Output>>)> = workers
            .into_iter()
            .map(|w| {
                let outputs = kept.by_ref().take(w.parts.len()).collect();
                (w, outputs)
            })
            .collect();
        let of_parts =
            each(&mut second, &|(worker, kept)| worker.second_pass(&wanted, std::mem::take(kept)));
        let of_parts = of_parts.into_iter().flatten().collect();
        if self.recipe.precision.half().is_some() || !self.replicas.is_empty() {
            let replicas: Vec<&Backbone> = second.iter().map(|(w, _)| &w.target).collect();
            self.take_statistics(&replicas);
        }
        let merged = merge(&self.state.target, of_parts, scale, &self.device);
        self.update_network(merged);
        self.update_losses(of_losses);
        Ok(Some(step))
    }

    fn workers(&self, batch: &Minibatch) -> Vec<Worker> {
        let devices: Vec<(&Device, Option<Backbone>)> =
            std::iter::once((&self.device, self.source.clone()))
                .chain(self.replicas.iter().map(|r| (&r.device, r.source.clone())))
                .collect();
        let (rows, count) = (batch.labels.len(), devices.len() * self.recipe.chunks);
        // No part is empty, however small the batch.
        let count = count.min(rows);
        let bounds: Vec<usize> = (0..=count).map(|k| k * rows / count).collect();
        let used: Vec<String> =
            self.state.terms.iter().flat_map(|t| t.session.inputs_used()).collect();
        let uses = |what: &str| used.is_empty() || used.iter().any(|name| name.starts_with(what));
        let features = [uses("target_features"), uses("source_features")];
        let alone = devices.len() == 1;
        let share = self.recipe.chunks;
        devices
            .into_iter()
            .enumerate()
            .filter(|(d, _)| d * share < count)
            .map(|(d, (device, source))| {
                // Running statistics are shared between clones.
                let target = match self.recipe.precision.half() {
                    Some(half) => copy(&self.state.target, device).halved(half),
                    None if alone => self.state.target.clone(),
                    None => copy(&self.state.target, device),
                };
                let parts = (d * share..count.min((d + 1) * share)).map(|k| {
                    let rows = bounds[k]..bounds[k + 1];
                    let pictures =
                        batch.pictures.clone().map(|x| x.slice([rows.clone()]).to_device(device));
                    (rows, pictures)
                });
                Worker {
                    device: device.clone(),
                    target,
                    source,
                    parts: parts.collect(),
                    keep: share == 1,
                    features,
                }
            })
            .collect()
    }

    /// Takes the mean of the replicas' running statistics.
    fn take_statistics(&mut self, replicas: &[&Backbone]) {
        let mut mean: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        let device = self.device.clone().inner();
        for net in replicas {
            for (name, value) in Collect::of(&net.valid()) {
                if !name.contains("running_") {
                    continue;
                }
                let value = value.to_device(&device) / replicas.len() as f64;
                let sum = match mean.remove(&name) {
                    Some(sum) => sum + value,
                    None => value,
                };
                mean.insert(name, sum);
            }
        }
        self.state.target = Mix::replace(self.state.target.clone(), mean);
    }
}

impl Worker {
    fn first_pass(&mut self) -> Vec<Seen> {
        // Without gradients, so that no graph grows; and with running statistics of its own, because
        // the second pass will count.
        let shadow = (!self.keep).then(|| copy(&self.target, &self.device).no_grad());
        let one = |(_, pictures): &(Range<usize>, Pictures)| {
            let output = pictures.through(shadow.as_ref().unwrap_or(&self.target));
            let source = self.source.as_ref().map(|net| inner(teach(net, pictures)));
            let value = inner(output.clone());
            Seen {
                target: without(value, self.features[0]),
                source: source.map(|s| without(s, self.features[1])),
                kept: self.keep.then_some(output),
            }
        };
        self.parts.iter().map(one).collect()
    }

    fn second_pass(&mut self, wanted: &Wanted, kept: Vec<Option<Output>>) -> Vec<GradientsParams> {
        let one = |((rows, pictures), kept): (&(Range<usize>, Pictures), Option<Output>)| {
            let output = kept.unwrap_or_else(|| pictures.through(&self.target));
            match wanted.pull(output, rows) {
                None => GradientsParams::new(),
                Some(sum) => {
                    let mut gradients = sum.backward();
                    GradientsParams::from_module(&mut gradients, &self.target)
                }
            }
        };
        self.parts.iter().zip(kept).map(one).collect()
    }
}

/// The losses' gradients with respect to what the network gives, for the whole batch.
struct Wanted {
    embedding: Option<Tensor<2>>,
    features: Vec<Option<Feature>>,
    /// What they are multiplied with, if anything.
    scale: Option<f64>,
}

impl Wanted {
    fn of(target: &Output, gradients: &Gradients, scale: Option<f64>) -> Self {
        let feature = |feature: &Feature| {
            feature.see(
                |map| map.grad(gradients).map(Feature::Map),
                |vector| vector.grad(gradients).map(Feature::Vector),
            )
        };
        Wanted {
            embedding: target.embedding.grad(gradients),
            features: target.features.iter().map(feature).collect(),
            scale,
        }
    }

    /// A number whose gradients, for these rows, are the wanted ones times the scale.
    fn pull(&self, output: Output, rows: &Range<usize>) -> Option<Tensor<1>> {
        let mut sum: Option<Tensor<1>> = None;
        let mut add = |term: Tensor<1>| {
            sum = Some(match sum.take() {
                None => term,
                Some(sum) => sum + term,
            });
        };
        if let Some(gradient) = &self.embedding {
            add(weighted(output.embedding, gradient, rows));
        }
        for (feature, gradient) in output.features.into_iter().zip(&self.features) {
            match (feature, gradient) {
                (Feature::Map(map), Some(Feature::Map(g))) => add(weighted(map, g, rows)),
                (Feature::Vector(v), Some(Feature::Vector(g))) => add(weighted(v, g, rows)),
                _ => {}
            }
        }
        let sum = sum.filter(Tensor::is_tracked)?;
        Some(match self.scale {
            Some(scale) => sum * scale,
            None => sum,
        })
    }
}

fn weighted<const D: usize>(x: Tensor<D>, gradient: &Tensor<D>, rows: &Range<usize>) -> Tensor<1> {
    let device = x.device();
    let gradient = gradient.clone().slice([rows.clone()]).to_device(&device.clone().inner());
    (x * Tensor::from_inner(gradient)).sum()
}

/// Runs each on a thread of its own, if there are several; results in order.
fn each<T: Send, R: Send>(list: &mut [T], f: &(impl Fn(&mut T) -> Vec<R> + Sync)) -> Vec<Vec<R>> {
    if let [only] = list {
        return vec![f(only)];
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = list.iter_mut().map(|item| scope.spawn(move || f(item))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Vec<R>>| {
            // A panic of the backend is caught further up, as without threads.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

/// A network with the same parameters on a device, and running statistics of its own: clones share
/// them.
fn copy(network: &Backbone, device: &Device) -> Backbone {
    network.valid().train().fork(device)
}

/// Without autodiff.
pub(super) fn inner(output: Output) -> Output {
    output.map(Tensor::inner, Tensor::inner)
}

/// Without feature maps, unless somebody wants them.
fn without(output: Output, features: bool) -> Output {
    Output { features: if features { output.features } else { Vec::new() }, ..output }
}

/// Parts as one batch on this device, without autodiff.
fn gather(parts: &[Output], device: &Device) -> Output {
    let device = device.clone().inner();
    let levels = parts.iter().map(|p| p.features.len()).min().unwrap_or(0);
    let level = |level: usize| {
        let maps: Option<Vec<Tensor<4>>> = parts.iter().map(|p| map(&p.features[level])).collect();
        if let Some(maps) = maps {
            return Feature::Map(join(maps, &device));
        }
        let vectors = parts.iter().filter_map(|p| match &p.features[level] {
            Feature::Vector(vector) => Some(vector.clone()),
            Feature::Map(_) => None,
        });
        Feature::Vector(join(vectors.collect(), &device))
    };
    Output {
        features: (0..levels).map(level).collect(),
        embedding: join(parts.iter().map(|p| p.embedding.clone()).collect(), &device),
    }
}

fn map(feature: &Feature) -> Option<Tensor<4>> {
    match feature {
        Feature::Map(map) => Some(map.clone()),
        Feature::Vector(_) => None,
    }
}

fn join<const D: usize>(parts: Vec<Tensor<D>>, device: &Device) -> Tensor<D> {
    Tensor::cat(parts.into_iter().map(|x| x.to_device(device)).collect(), 0)
}

/// These constants as the start of a new graph.
pub(super) fn leaves(output: Output) -> Output {
    output.map(Tensor::require_grad, Tensor::require_grad)
}

/// Sums of the parts' gradients on one device, in the network's type, without their scale.
fn merge(
    network: &Backbone,
    parts: Vec<GradientsParams>,
    scale: Option<f64>,
    device: &Device,
) -> GradientsParams {
    struct Sum {
        parts: Vec<GradientsParams>,
        scale: Option<f64>,
        device: Device,
        out: GradientsParams,
    }
    impl ModuleVisitor for Sum {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let found = self.parts.iter_mut().filter_map(|part| part.remove::<D>(param.id));
            let dtype = FloatDType::from(param.val().dtype());
            let sum = found.map(|g| g.to_device(&self.device).cast(dtype)).reduce(|a, b| a + b);
            if let Some(sum) = sum {
                let sum = match self.scale {
                    Some(scale) => sum / scale,
                    None => sum,
                };
                self.out.register(param.id, sum);
            }
        }
    }
    let mut sum = Sum { parts, scale, device: device.clone().inner(), out: GradientsParams::new() };
    network.visit(&mut sum);
    sum.out
}
