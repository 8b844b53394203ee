//! What one step shows to its losses.

use super::bounds::Bounds;
use super::budget::elements;
use super::contrast::Contrast;
use super::interpreter::Shown;
use super::node::Given;
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A feature map, or the pooled vector that ends the list.
#[derive(Clone, Debug)]
pub enum Feature {
    /// `[n, c, h, w]`
    Map(Tensor<4>),
    /// `[n, c]`
    Vector(Tensor<2>),
}

impl Feature {
    /// The same after an operation on it, whichever it is.
    #[must_use]
    pub fn map(
        self,
        of_map: impl FnOnce(Tensor<4>) -> Tensor<4>,
        of_vector: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        match self {
            Feature::Map(map) => Feature::Map(of_map(map)),
            Feature::Vector(vector) => Feature::Vector(of_vector(vector)),
        }
    }

    /// What either is looked at for.
    pub fn see<R>(
        &self,
        of_map: impl FnOnce(&Tensor<4>) -> R,
        of_vector: impl FnOnce(&Tensor<2>) -> R,
    ) -> R {
        match self {
            Feature::Map(map) => of_map(map),
            Feature::Vector(vector) => of_vector(vector),
        }
    }

    /// Its shape.
    pub fn dims(&self) -> Vec<usize> {
        self.see(|map| map.dims().to_vec(), |vector| vector.dims().to_vec())
    }

    /// Its numbers.
    pub fn to_data(&self) -> TensorData {
        self.see(Tensor::to_data, Tensor::to_data)
    }

    fn slot(&self) -> Result<Given, String> {
        let map = |map: &Tensor<4>| {
            elements(map.dims())?;
            Ok(Given::float(map.clone(), 4))
        };
        self.see(map, |vector| matrix(vector.clone()))
    }
}

/// What one step shows to its losses. Tensors live on the run's autodiff device.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The target's embeddings, `[n, d]`.
    pub target: Option<Tensor<2>>,
    /// The source's embeddings, `[n, d']`, without gradient.
    pub source: Option<Tensor<2>>,
    /// The target's feature maps, early ones first, the pooled vector last.
    pub target_features: Vec<Feature>,
    /// The source's feature maps, without gradient.
    pub source_features: Vec<Feature>,
    /// Class of each row; none if the data has no labels.
    pub labels: Vec<i64>,
    /// Number of each row's sample in the training set; none if unknown.
    pub ids: Vec<i64>,
    /// Classes in the training set.
    pub classes: usize,
    /// Samples in the training set.
    pub samples: usize,
    /// Class of every sample in the training set, for drawing negatives; empty if unknown.
    pub sample_labels: Arc<[i64]>,
    /// Views of each sample in the batch.
    pub views: usize,
    /// Epoch, from 0.
    pub epoch: usize,
    /// Share of the training that is done, 0 to 1.
    pub progress: f64,
    /// Replaces the step's first, second, … random draw; empty in a training.
    pub draws: Vec<TensorData>,
    /// What of the labels and ids lies on the device already: all losses of a step share it.
    pub uploads: Uploads,
}

impl Inputs {
    /// A step with target embeddings `[n, d]` and nothing else.
    pub fn new(target: Tensor<2>) -> Self {
        Inputs { target: Some(target), ..Inputs::default() }
    }

    /// Rows of the batch.
    pub fn rows(&self) -> usize {
        let of = |feature: &Feature| feature.dims()[0];
        let target = self.target.as_ref().map(|t| t.dims()[0]);
        target.or_else(|| self.target_features.first().map(of)).unwrap_or(0)
    }
}

impl Default for Inputs {
    /// A step that shows nothing.
    fn default() -> Self {
        Inputs {
            target: None,
            source: None,
            target_features: Vec::new(),
            source_features: Vec::new(),
            labels: Vec::new(),
            ids: Vec::new(),
            classes: 0,
            samples: 0,
            sample_labels: Arc::default(),
            views: 1,
            epoch: 0,
            progress: 0.0,
            draws: Vec::new(),
            uploads: Uploads::default(),
        }
    }
}

impl Inputs {
    /// On a device whose integers hold these.
    pub(crate) fn shown(&self, device: &Device, integers: Bounds) -> Shown {
        let mut tensors = BTreeMap::new();
        for (name, matrix_of) in [("target", &self.target), ("source", &self.source)] {
            if let Some(tensor) = matrix_of {
                tensors.insert(name.to_owned(), matrix(tensor.clone()));
            }
        }
        for (name, list) in
            [("target_features", &self.target_features), ("source_features", &self.source_features)]
        {
            for (level, feature) in list.iter().enumerate() {
                tensors.insert(format!("{name}.{level}"), feature.slot());
            }
        }
        for (name, list) in [("labels", &self.labels), ("ids", &self.ids)] {
            if !list.is_empty() {
                let given = self.uploads.given(list, device, integers);
                tensors.insert(name.to_owned(), Ok(given));
            }
        }
        let (positive, negative) = pairs(&self.labels);
        let facts = BTreeMap::from([
            ("positive_pairs", positive),
            ("negative_pairs", negative),
            ("classes", self.classes as f64),
            ("samples", self.samples as f64),
            ("views", self.views as f64),
            ("epoch", self.epoch as f64),
            ("progress", self.progress),
            ("target_features", self.target_features.len() as f64),
            ("source_features", self.source_features.len() as f64),
        ]);
        let contrast = Contrast {
            ids: self.ids.clone(),
            views: self.views,
            samples: self.samples,
            labels: self.sample_labels.clone(),
        };
        Shown { tensors, facts, draws: self.draws.clone(), contrast }
    }
}

/// Unordered pairs of one class and of two.
fn pairs(labels: &[i64]) -> (f64, f64) {
    let mut counts = BTreeMap::<i64, usize>::new();
    for &label in labels {
        *counts.entry(label).or_default() += 1;
    }
    let choose = |n: usize| (n * n.saturating_sub(1) / 2) as f64;
    let positive = counts.values().map(|&n| choose(n)).sum();
    (positive, choose(labels.len()) - positive)
}

fn matrix(tensor: Tensor<2>) -> Result<Given, String> {
    let [n, d] = tensor.dims();
    elements([1, 1, n, d])?;
    Ok(Given::float(tensor.reshape([1, 1, n, d]), 2))
}

/// Labels or ids. One that the device's integers don't hold can't be the number of a class or a sample,
/// only be compared: a negative number that no other has stands for it.
fn whole_numbers(list: &[i64], device: &Device, integers: Bounds) -> Given {
    let Bounds { low, high } = integers;
    let odd: BTreeSet<i64> = list.iter().copied().filter(|i| !(low..=high).contains(i)).collect();
    let free = (1..=high).map(|i| -i).filter(|i| !list.contains(i));
    let names: BTreeMap<i64, i64> = odd.into_iter().zip(free).collect();
    let list: Vec<i64> = list.iter().map(|i| names.get(i).copied().unwrap_or(*i)).collect();
    let tensor = Tensor::<1, Int>::from_data(list.as_slice(), device);
    Given::int(tensor.reshape([1, 1, 1, list.len()]), 1, list)
}

/// Lists of whole numbers on their devices. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Uploads(Arc<Mutex<Vec<Upload>>>);

#[derive(Debug)]
struct Upload {
    list: Vec<i64>,
    device: Device,
    given: Given,
}

impl Uploads {
    /// The list on the device, where it may lie already.
    fn given(&self, list: &[i64], device: &Device, integers: Bounds) -> Given {
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = uploads.iter().find(|u| u.list == list && u.device == *device) {
            return known.given.clone();
        }
        let given = whole_numbers(list, device, integers);
        uploads.push(Upload { list: list.to_vec(), device: device.clone(), given: given.clone() });
        given
    }
}
