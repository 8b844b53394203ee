//! Looks at a training on its first batch, before anything is trained.

use super::step::teach;
use super::{Minibatch, TrainError, Trainer, parts};
use crate::backbone::Backbone;
use crate::checkpoint;
use crate::loss::{LossError, guarded};
use crate::recipe::OnUndefined;
use burn::tensor::Tensor;

/// A source whose embeddings differ by less than this share of their size tells nothing apart.
const ALIKE: f64 = 1e-5;

impl Trainer {
    /// Refuses networks whose embeddings aren't numbers, lets every loss ask for its parameters and
    /// buffers once, on a batch like the training's, and tries its backward pass, before anything is
    /// trained. Returns what whoever trains should know.
    pub fn probe(&mut self, batch: &Minibatch) -> Result<Vec<String>, TrainError> {
        let seen = guarded(|| {
            let source = self.source.as_ref().map(|net| teach(net, &batch.pictures));
            let target = teach(&self.state.target, &batch.pictures);
            (parts::leaves(target), source)
        });
        let (target, source) = seen.map_err(|why| {
            TrainError::Setup(format!("the networks can't compute a batch: {why}"))
        })?;
        let mut remarks = Vec::new();
        if let (Some(net), Some(output)) = (&self.source, &source) {
            let embedding = output.embedding.clone().inner();
            if all_alike(net, &embedding).map_err(TrainError::Source)? {
                remarks.push(
                    "the source's embeddings of the first batch are all alike: it has collapsed, or sees \
                     other pictures than it was trained with, and there is nothing to learn from it"
                        .to_owned(),
                );
            }
        }
        all_alike(&self.state.target, &target.embedding.clone().inner())
            .map_err(|why| TrainError::Setup(format!("the network to train can't start: {why}")))?;
        let inputs = self.inputs(batch, target, source);
        for term in &mut self.state.terms {
            match term.session.probe(&inputs) {
                Err(LossError::Undefined { .. })
                    if self.recipe.on_undefined == OnUndefined::Skip => {}
                probed => probed.map_err(|e| TrainError::Probe(Box::new(e)))?,
            }
        }
        Ok(remarks)
    }
}

/// Whether embeddings `[n, d]` of different pictures are all alike; or why they aren't numbers.
fn all_alike(net: &Backbone, embedding: &Tensor<2>) -> Result<bool, String> {
    let [n, d] = embedding.dims();
    let values: Vec<f64> = embedding.to_data().iter::<f64>().collect();
    if values.iter().any(|x| !x.is_finite()) {
        return Err(format!("its embeddings of the first batch aren't numbers: {}", blame(net)));
    }
    let size = values.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    let spread = (0..d).map(|column| {
        let column = values.iter().skip(column).step_by(d);
        let (low, high) = column
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
        high - low
    });
    Ok(n > 1 && spread.fold(0.0, f64::max) <= ALIKE * size)
}

/// What makes a network's embeddings NaN or infinite.
fn blame(net: &Backbone) -> String {
    let bad = checkpoint::state_dict(net).ok().and_then(|state| {
        state.into_iter().find_map(|(name, data)| {
            let bad = data.iter::<f64>().filter(|x| !x.is_finite()).count();
            (bad > 0).then(|| (name, data.shape().to_vec(), bad))
        })
    });
    match bad {
        Some((name, shape, bad)) => format!(
            "{bad} of the values of its tensor {name} {shape:?} are NaN or infinite; take a checkpoint from \
             before it diverged"
        ),
        None => "its weights are, so they are too large, or its pictures aren't scaled as it was trained; \
                 or, with a mixed precision, 16 bits can't hold what it computes"
            .to_owned(),
    }
}
