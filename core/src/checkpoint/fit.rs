//! A file's tensors into a network: all that it has, and no others.

use crate::backbone::Backbone;
use burn::store::burn_pack::Tensor;
use burn::store::{
    BurnToPyTorchAdapter, FloatCastAdapter, ModuleAdapter, ModuleSnapshot as _,
    PyTorchToBurnAdapter, bridge,
};
use burn::tensor::{DType, TensorData};
use std::collections::{BTreeMap, BTreeSet};

use super::file::dtype_name;
use super::position;

/// Layers of classifiers that come with published weights, and that an embedding network hasn't.
const HEADS: [&str; 5] = ["fc.", "last_linear.", "head.", "heads.", "classifier."];

/// Why tensors don't fit.
#[derive(Debug, Default)]
pub(super) struct Unfit {
    /// Keys that the file lacks.
    pub missing: Vec<String>,
    /// Keys that the network lacks.
    pub unexpected: Vec<String>,
    /// Keys of another shape or type, with both.
    pub wrong: Vec<String>,
    /// Values that couldn't be read.
    pub unreadable: Vec<String>,
    /// Patterns of `allow_missing` that name nothing.
    pub idle: Vec<String>,
    /// All keys that the network has.
    pub expected: Vec<String>,
}

impl Unfit {
    /// Each kind with its count and its first ten.
    pub fn text(&self) -> String {
        let lists = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape or type", &self.wrong),
            ("unreadable", &self.unreadable),
            ("to be allowed missing that the network doesn't have", &self.idle),
        ];
        let some = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let texts = some.map(|(what, names)| {
            let first =
                names.iter().take(10).map(|name| shown(name)).collect::<Vec<_>>().join(", ");
            let more = if names.len() > 10 { ", …" } else { "" };
            format!("{} {what} ({first}{more})", names.len())
        });
        texts.collect::<Vec<_>>().join("; ")
    }
}

/// Where tensors come from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A training of this network: nothing but its tensors, bit for bit.
    Own,
    /// Anywhere. The file may lack what these patterns name (`*` stands for anything); heads of classifiers,
    /// counters of batches, other float types and dimensions of 1 don't matter.
    Foreign(&'a [String]),
}

/// Tensors that fit a network.
pub(super) struct Fitting {
    tensors: Vec<Tensor>,
    /// Whether they are of any float type.
    cast: bool,
    /// Numbers of the network that the file lacks, and that may be missing.
    pub afresh: u64,
    /// What was done to make them fit, and the user should know of.
    pub remarks: Vec<String>,
}

/// Which tensors the network's parameters and running statistics take. Only shapes and types are looked at.
pub(super) fn fit(
    backbone: &Backbone,
    tensors: &BTreeMap<String, Tensor>,
    origin: Origin,
) -> Result<Fitting, Box<Unfit>> {
    let expected = backbone.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let mut unfit = Box::<Unfit>::default();
    let (own, allow_missing) = match origin {
        Origin::Own => (true, &[][..]),
        Origin::Foreign(allow_missing) => (false, allow_missing),
    };
    let mut fitting = Fitting { tensors: Vec::new(), cast: !own, afresh: 0, remarks: Vec::new() };
    for want in &expected {
        let allowed = || allow_missing.iter().any(|pattern| matches(pattern, &want.name));
        match tensors.get(&want.name) {
            None if allowed() => {
                fitting.afresh += want.shape.iter().map(|&d| d as u64).product::<u64>();
            }
            // A linear layer without a bias is one whose bias is zero.
            None if !own
                && want.name == "embedding.bias"
                && tensors.contains_key("embedding.weight") =>
            {
                fitting.tensors.push(zeros(want));
                fitting
                    .remarks
                    .push("its embedding layer has no bias, which is one of zeros".to_owned());
            }
            None => unfit.missing.push(want.name.clone()),
            Some(got) if !got.dtype.is_float() => {
                unfit.wrong.push(format!("{} is {}", want.name, dtype_name(got.dtype)));
            }
            Some(got) => match reshaped(got, &want.shape)
                .filter(|_| !own || got.shape == want.shape)
            {
                Some(mut tensor) => {
                    tensor.name.clone_from(&want.name);
                    fitting.tensors.push(tensor);
                }
                None if !own
                    && want.name == position::KEY
                    && let Some((tensor, [from, to])) = position::resampled(got, &want.shape) =>
                {
                    fitting.tensors.push(tensor);
                    fitting.remarks.push(format!(
                        "its position embeddings of {from} x {from} patches were resampled to {to} x {to} \
                         (bicubic, antialiased, as timm does)"
                    ));
                }
                None => unfit.wrong.push(format!(
                    "{} is {:?}, not {:?}",
                    want.name,
                    got.shape.to_vec(),
                    want.shape.to_vec()
                )),
            },
        }
    }
    let names: BTreeSet<&str> = expected.iter().map(|t| t.name.as_str()).collect();
    for pattern in allow_missing {
        if !names.iter().any(|name| matches(pattern, name)) {
            unfit.idle.push(pattern.clone());
        }
    }
    for name in tensors.keys() {
        let ignored = !own
            && (name.ends_with("num_batches_tracked")
                || HEADS.iter().any(|head| name.starts_with(head)));
        if !ignored && !names.contains(name.as_str()) {
            unfit.unexpected.push(name.clone());
        }
    }
    if unfit.text().is_empty() {
        return Ok(fitting);
    }
    unfit.expected = expected.into_iter().map(|tensor| tensor.name).collect();
    Err(unfit)
}

/// The weights of a classifier's or another head's layers, the first five.
pub(super) fn heads(tensors: &BTreeMap<String, Tensor>) -> String {
    let weights = tensors
        .keys()
        .filter(|key| key.ends_with(".weight") && HEADS.iter().any(|head| key.starts_with(head)));
    weights.take(5).map(|key| shown(key)).collect::<Vec<_>>().join(", ")
}

/// Inputs of a network's embedding layer.
pub(super) fn features(backbone: &Backbone) -> Option<usize> {
    let expected = backbone.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let layer = expected.iter().find(|tensor| tensor.name == "embedding.weight")?;
    layer.shape.to_vec().last().copied()
}

/// A hundred characters of what may be long.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Sets the network's parameters and running statistics. After an error of reading, some are set.
pub(super) fn apply(backbone: &mut Backbone, fitting: Fitting) -> Result<(), Box<Unfit>> {
    let adapter: Box<dyn ModuleAdapter> = if fitting.cast {
        Box::new(PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32)))
    } else {
        Box::new(PyTorchToBurnAdapter)
    };
    let result = backbone.apply(fitting.tensors, None, Some(adapter), true);
    let unreadable: Vec<String> = result.errors.iter().map(ToString::to_string).collect();
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(Box::new(Unfit { unreadable, ..Unfit::default() }))
}

/// Zeros for a tensor of the network.
fn zeros(want: &Tensor) -> Tensor {
    let shape = want.shape.to_vec();
    let numbers = shape.iter().product();
    let read = move || Ok(TensorData::new(vec![0f32; numbers], shape.clone()));
    bridge::deferred(want.name.clone(), DType::F32, want.shape.clone(), None, read)
}

/// The tensor in this shape, if the two differ in dimensions of 1 only, as `[1, C]` and `[C]` do.
fn reshaped(tensor: &Tensor, shape: &[usize]) -> Option<Tensor> {
    if *tensor.shape == *shape {
        return Some(tensor.clone());
    }
    let squeezed = |shape: &[usize]| shape.iter().copied().filter(|d| *d != 1).collect::<Vec<_>>();
    if squeezed(&tensor.shape) != squeezed(shape) {
        return None;
    }
    let (name, dtype, shape) = (tensor.name.clone(), tensor.dtype, shape.to_vec());
    let (source, declared) = (tensor.clone(), shape.clone());
    Some(bridge::deferred(name, dtype, shape.into(), None, move || {
        let data = bridge::to_data(&source)?;
        Ok(TensorData::from_bytes(data.into_bytes(), declared.clone(), dtype))
    }))
}

/// Whether a key is what the pattern says, where `*` stands for any text.
pub(super) fn matches(pattern: &str, key: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| key.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
