//! Embeds and evaluates a data set.

use super::batch::upload;
use super::{TrainError, dtype_of};
use crate::backbone::{Backbone, Output};
use crate::checkpoint::weights_in;
use crate::metric::{Embeddings, recall_at};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use retort_datasets::{Batch, Batches, Dataset};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How an evaluation's pictures come.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// Channels of the network's input.
    pub channels: usize,
    /// Pictures in a batch.
    pub batch: usize,
    /// Threads that load them.
    pub workers: usize,
}

impl Feed {
    /// Batches of 64, loaded on as many threads as there are processors.
    pub fn new(channels: usize) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Feed { channels, batch: 64, workers }
    }
}

/// A network's outputs for a whole data set in order, in evaluation mode, computed in the network's own
/// element type. Pictures that the data set skips are missing.
pub fn outputs<'a>(
    net: &'a Backbone,
    data: &Arc<dyn Dataset>,
    feed: &Feed,
    dtype: FloatDType,
    device: &'a Device,
) -> impl Iterator<Item = Result<(Batch, Output), TrainError>> + 'a {
    let loader = Batches::evaluation(data.clone(), feed.batch, feed.channels, feed.workers);
    let some = loader.filter(|batch| batch.as_ref().map_or(true, |batch| !batch.ids.is_empty()));
    some.map(move |batch| {
        let batch = batch?;
        let [_, _, height, width] = batch.shape;
        net.check([height, width]).map_err(|e| TrainError::Setup(e.to_string()))?;
        let output = net.forward(upload(&batch, device, dtype));
        Ok((batch, output))
    })
}

/// Embeds a data set in evaluation mode.
pub fn embed(
    net: &Backbone,
    data: &Arc<dyn Dataset>,
    feed: &Feed,
    device: &Device,
) -> Result<Embeddings, TrainError> {
    embed_numbered(net, data, feed, device).map(|(embeddings, _)| embeddings)
}

/// The same, and the sample that each row is of: not every one, where the data set skips some.
pub fn embed_numbered(
    net: &Backbone,
    data: &Arc<dyn Dataset>,
    feed: &Feed,
    device: &Device,
) -> Result<(Embeddings, Vec<usize>), TrainError> {
    let net = net.valid();
    let (device, dtype) = (device.clone().inner(), dtype_of(&net));
    let (mut rows, mut labels, mut ids, mut dim) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for done in outputs(&net, data, feed, dtype, &device) {
        let (batch, Output { embedding, .. }) = done?;
        dim = embedding.dims()[1];
        rows.extend(embedding.into_data().iter::<f32>());
        labels.extend_from_slice(&batch.labels);
        ids.extend(batch.ids.iter().map(|&id| id as usize));
    }
    if let (true, Some(first)) = (labels.is_empty(), data.skipped().first()) {
        let n = data.len();
        return Err(TrainError::Setup(format!(
            "none of the {n} pictures can be read; the first: {first}"
        )));
    }
    Ok((Embeddings { rows, dim, labels }, ids))
}

/// Recall@K of a network on a data set.
pub fn evaluate(
    net: &Backbone,
    data: &Arc<dyn Dataset>,
    feed: &Feed,
    ks: &[usize],
    device: &Device,
) -> Result<BTreeMap<usize, f64>, TrainError> {
    let embeddings = embed(net, data, feed, device)?;
    let recall = recall_at(&embeddings, ks, Some(device))?;
    Ok(ks.iter().copied().zip(recall).collect())
}

/// Scalars of a network that are trained: weights and biases, not running statistics.
pub fn parameter_count(net: &Backbone) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().is_require_grad() {
                self.0 += param.val().dims().iter().product::<usize>();
            }
        }
    }
    let mut count = Count(0);
    net.visit(&mut count);
    count.0
}

/// The path of a run's checkpoint, of the weights in a folder of Hugging Face, or the checkpoint itself.
pub fn checkpoint_in(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let own = path.join("checkpoint.safetensors");
    if own.exists() { own } else { weights_in(path).unwrap_or(own) }
}
