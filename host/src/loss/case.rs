//! A loss on one batch that is given as plain numbers: for checks, pins and tests.

use crate::loss::evaluation::Evaluation;
use crate::plugin::registry::Registry;
use burn::tensor::{Device, FloatDType, Tensor, TensorData};
use retort_core::{Feature, Inputs, Limits, LossError, Session, Setup};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A loss on a batch.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// `[n, d]`
    pub target: Option<TensorData>,
    /// `[n, d']`
    pub source: Option<TensorData>,
    /// Maps `[n, c, h, w]` or vectors `[n, c]`.
    pub target_features: Vec<TensorData>,
    /// As the target's.
    pub source_features: Vec<TensorData>,
    /// `[n]`
    pub labels: Vec<i64>,
    /// `[n]`
    pub ids: Vec<i64>,
    /// Classes of the training set.
    pub classes: usize,
    /// Samples of the training set.
    pub samples: usize,
    /// Class of every sample of the training set.
    pub sample_labels: Vec<i64>,
    /// Replaces the step's random draws.
    pub draws: Vec<TensorData>,
    /// Views of each sample.
    pub views: usize,
    /// Parameters and buffers, as in `Session::load_state`.
    pub state: BTreeMap<String, TensorData>,
    /// Hyperparameters.
    pub hyper: Map<String, Value>,
}

/// What a batch is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Source and target have as many dimensions, and their feature maps as many channels.
    pub equal_widths: bool,
    /// Views of each sample.
    pub views: usize,
}

impl Layout {
    /// Those that are tried on a loss, the plainest first.
    pub const ALL: [Layout; 4] = [
        Layout { equal_widths: false, views: 1 },
        Layout { equal_widths: true, views: 1 },
        Layout { equal_widths: false, views: 2 },
        Layout { equal_widths: true, views: 2 },
    ];

    /// What has to be so for it; nothing for the plainest.
    pub fn words(self) -> Vec<&'static str> {
        let widths = self.equal_widths.then_some("equal widths");
        let views = (self.views > 1).then_some("two views");
        widths.into_iter().chain(views).collect()
    }
}

/// What a loss gives.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The loss.
    pub value: f64,
    /// What it reports beside.
    pub terms: BTreeMap<String, f64>,
    /// Gradients: `target`, `target_features.…` and `param.…`.
    pub gradients: BTreeMap<String, Vec<f64>>,
    /// Parameters and buffers after the step.
    pub state: BTreeMap<String, TensorData>,
}

/// A session of a loss, by a name that says where it comes from.
pub fn session(
    name: &str,
    hyper: &Map<String, Value>,
    device: &Device,
    dtype: FloatDType,
    limits: &Limits,
) -> Result<Session, String> {
    let mut registry = Registry::new(limits.clone()).map_err(|e| e.to_string())?;
    let found = registry.find(name).map_err(|e| e.to_string())?;
    let hyper = found.resolve(hyper).map_err(|e| e.to_string())?;
    let code = found.create(&hyper, limits).map_err(|e| e.to_string())?;
    let setup = Setup { device: device.clone(), dtype, seed: 1, limits: limits.clone() };
    Ok(Session::new(&found.definition.name, code, setup))
}

/// Numbers in [-1, 1): a formula of the salt, the same everywhere.
pub fn values(shape: &[usize], salt: u64) -> TensorData {
    let mut x = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    TensorData::new(values, shape)
}

/// Maps of 4 × 4 and 2 × 2 and a vector, of 3, 4 and 5 channels and so many more.
fn features(n: usize, more: usize, salt: u64) -> Vec<TensorData> {
    vec![
        values(&[n, 3 + more, 4, 4], salt),
        values(&[n, 4 + more, 2, 2], salt + 1),
        values(&[n, 5 + more], salt + 2),
    ]
}

impl Case {
    /// Random embeddings and feature maps of `n` samples in classes of two; a formula, the same
    /// everywhere. Target `[n, d]`, source `[n, d + 4]`, maps of 4 × 4 and 2 × 2, feature vectors.
    pub fn example(n: usize, d: usize, salt: u64) -> Self {
        Case {
            target: Some(values(&[n, d], salt + 1)),
            source: Some(values(&[n, d + 4], salt + 1000)),
            target_features: features(n, 0, salt + 2000),
            source_features: features(n, 2, salt + 3000),
            labels: (0..n as i64).map(|i| i / 2).collect(),
            sample_labels: (0..n as i64).map(|i| i / 2).collect(),
            ids: (0..n as i64).collect(),
            classes: n.div_ceil(2),
            samples: n,
            views: 1,
            ..Case::default()
        }
    }

    /// The same for a layout: with the target's widths for the source, or in views, for which `n` is
    /// rounded up.
    pub fn of(layout: Layout, n: usize, d: usize, salt: u64) -> Self {
        let n = n.next_multiple_of(layout.views);
        let mut case = Case::example(n, d, salt);
        if layout.equal_widths {
            case.source = Some(values(&[n, d], salt + 1000));
            case.source_features = features(n, 0, salt + 3000);
        }
        if layout.views > 1 { case.with_views(layout.views) } else { case }
    }

    /// The same batch as `views` views of each sample, stacked one after the other.
    #[must_use]
    pub fn with_views(mut self, views: usize) -> Self {
        let n = self.labels.len() as i64 / views.max(1) as i64;
        self.views = views;
        self.ids.iter_mut().for_each(|id| *id %= n.max(1));
        self.labels = self.ids.iter().map(|id| id / 2).collect();
        self
    }

    /// The same batch with its rows changed: `change` gets `target`, `source`, `target_features.0` …
    /// by name, each as one vector a sample.
    pub fn change_rows(&mut self, mut change: impl FnMut(&str, &mut [Vec<f64>])) {
        let mut one = |name: &str, data: &mut TensorData| {
            let dims = data.shape().to_vec();
            let values: Vec<f64> = data.iter::<f64>().collect();
            let width = dims[1..].iter().product::<usize>().max(1);
            let mut rows: Vec<Vec<f64>> = values.chunks(width).map(<[f64]>::to_vec).collect();
            change(name, &mut rows);
            *data = TensorData::new(rows.concat(), dims);
        };
        self.target.iter_mut().for_each(|x| one("target", x));
        self.source.iter_mut().for_each(|x| one("source", x));
        for (name, list) in [
            ("target_features", &mut self.target_features),
            ("source_features", &mut self.source_features),
        ] {
            list.iter_mut().enumerate().for_each(|(i, x)| one(&format!("{name}.{i}"), x));
        }
    }

    /// The same batch in another order of samples.
    #[must_use]
    pub fn reordered(&self, order: &[usize]) -> Self {
        let mut out = self.clone();
        out.change_rows(|_, rows| {
            let old = rows.to_vec();
            rows.iter_mut().zip(order).for_each(|(row, &i)| row.clone_from(&old[i]));
        });
        let pick = |list: &[i64]| order.iter().map(|&i| list[i]).collect();
        (out.labels, out.ids) = (pick(&self.labels), pick(&self.ids));
        out
    }

    /// As the tensors that `retort loss eval --input` reads.
    pub fn tensors(&self) -> BTreeMap<String, TensorData> {
        let mut out = self.state.clone();
        let matrices = [("target", &self.target), ("source", &self.source)];
        let matrices = matrices.into_iter().filter_map(|(n, x)| Some((n.to_owned(), x.clone()?)));
        out.extend(matrices);
        let lists = [
            ("target_features", &self.target_features),
            ("source_features", &self.source_features),
            ("random", &self.draws),
        ];
        for (name, list) in lists {
            out.extend(list.iter().enumerate().map(|(i, x)| (format!("{name}.{i}"), x.clone())));
        }
        let indices =
            [("labels", &self.labels), ("ids", &self.ids), ("sample_labels", &self.sample_labels)];
        out.extend(
            indices
                .map(|(name, list)| (name.to_owned(), TensorData::new(list.clone(), [list.len()]))),
        );
        out
    }

    /// Refuses shapes that aren't those of a step.
    fn check(&self) -> Result<(), String> {
        let one = |name: &str, data: &TensorData, ranks: &[usize]| {
            let shape = data.shape().to_vec();
            if ranks.contains(&shape.len()) && !shape.contains(&0) {
                return Ok(());
            }
            let ranks = ranks.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ");
            Err(format!("{name} has shape {shape:?}; it needs {ranks} dimensions, none of them 0"))
        };
        for (name, data) in [("target", &self.target), ("source", &self.source)] {
            data.as_ref().map_or(Ok(()), |data| one(name, data, &[2]))?;
        }
        for (name, list) in
            [("target_features", &self.target_features), ("source_features", &self.source_features)]
        {
            for (i, data) in list.iter().enumerate() {
                one(&format!("{name}.{i}"), data, &[2, 4])?;
            }
        }
        Ok(())
    }

    /// The inputs of a step; the target is a leaf of the graph.
    pub fn inputs(&self, device: &Device, dtype: FloatDType) -> Inputs {
        let options = || (device, burn::tensor::DType::from(dtype));
        let feature = |data: &TensorData, leaf: bool| {
            let feature = if data.rank() == 4 {
                Feature::Map(Tensor::from_data(data.clone(), options()))
            } else {
                Feature::Vector(Tensor::from_data(data.clone(), options()))
            };
            if leaf { feature.map(Tensor::require_grad, Tensor::require_grad) } else { feature }
        };
        let target = self.target.clone();
        Inputs {
            target: target.map(|t| Tensor::from_data(t, options()).require_grad()),
            source: self.source.clone().map(|s| Tensor::from_data(s, options())),
            target_features: self.target_features.iter().map(|x| feature(x, true)).collect(),
            source_features: self.source_features.iter().map(|x| feature(x, false)).collect(),
            labels: self.labels.clone(),
            ids: self.ids.clone(),
            classes: self.classes,
            samples: self.samples,
            sample_labels: self.sample_labels.clone().into(),
            draws: self.draws.clone(),
            views: self.views,
            ..Inputs::default()
        }
    }

    /// Runs a loss for one step.
    pub fn run(&self, name: &str, device: &Device, dtype: FloatDType) -> Result<Outcome, String> {
        let mut session = session(name, &self.hyper, device, dtype, &Limits::default())?;
        let error = |e: LossError| e.to_string();
        session.load_state(self.state.clone()).map_err(error)?;
        self.step(&mut session, device, dtype).map_err(error)
    }

    /// Runs one step of a session, and commits it.
    pub fn step(
        &self,
        session: &mut Session,
        device: &Device,
        dtype: FloatDType,
    ) -> Result<Outcome, LossError> {
        let fault = |fault| LossError::Fault { loss: session.name().to_owned(), fault };
        self.check().map_err(fault)?;
        let inputs = self.inputs(device, dtype);
        let evaluation = Evaluation::run(session, &inputs)?;
        let gradients = evaluation.gradients(session, &inputs)?;
        session.commit();
        let Evaluation { value, terms, .. } = evaluation;
        Ok(Outcome { value, terms, gradients: numbers(gradients), state: session.state() })
    }
}

fn numbers(tensors: BTreeMap<String, TensorData>) -> BTreeMap<String, Vec<f64>> {
    tensors.into_iter().map(|(name, data)| (name, data.iter::<f64>().collect())).collect()
}
