//! Batches on the device.

use super::dtype_of;
use crate::backbone::{Backbone, Output, full};
use burn::tensor::{DType, Device, FloatDType, Int, Tensor, TensorData};
use retort_datasets::Batch;

/// What a step is fed. Row `v * n + i` is view `v` of sample `i`.
#[derive(Clone, Debug)]
pub struct Minibatch {
    /// The pictures, on the training's device.
    pub pictures: Pictures,
    /// Class of each row.
    pub labels: Vec<i64>,
    /// Number of each row's sample in the training set.
    pub ids: Vec<i64>,
    /// Views of each sample.
    pub views: usize,
    /// Replaces the losses' random draws; empty in a training.
    pub draws: Vec<TensorData>,
}

/// Pictures `[n, c, h, w]`.
#[derive(Clone, Debug)]
pub enum Pictures {
    /// Values 0 to 255, red first; each network normalises them as it needs.
    Raw(Tensor<4>),
    /// What a network itself sees.
    Normalised(Tensor<4>),
}

impl Minibatch {
    /// A batch of the loader, on the device.
    pub fn new(batch: Batch, device: &Device, dtype: FloatDType) -> Self {
        Minibatch {
            pictures: Pictures::Raw(upload(&batch, device, dtype)),
            labels: batch.labels,
            ids: batch.ids,
            views: batch.views,
            draws: Vec::new(),
        }
    }
}

impl Pictures {
    /// What a network makes of them, in its own type of numbers; 16-bit results as 32-bit ones.
    pub fn through(&self, network: &Backbone) -> Output {
        let input = match self {
            Pictures::Raw(pictures) => network.input(pictures.clone()),
            Pictures::Normalised(input) => input.clone(),
        };
        network.forward_input(input.cast(dtype_of(network))).map(full, full)
    }

    /// The same without autodiff.
    #[must_use]
    pub fn inner(self) -> Self {
        self.map(Tensor::inner)
    }

    /// The same pictures, each tensor changed.
    #[must_use]
    pub fn map(self, f: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Self {
        match self {
            Pictures::Raw(x) => Pictures::Raw(f(x)),
            Pictures::Normalised(x) => Pictures::Normalised(f(x)),
        }
    }
}

/// A batch's pictures on the device, values 0 to 255. To a GPU they go as the bytes they are, four to a
/// whole number (not all devices know bytes), which the device takes apart.
pub fn upload(batch: &Batch, device: &Device, dtype: FloatDType) -> Tensor<4> {
    if device.clone().without_autodiff() == Device::flex() {
        let pixels: Vec<f32> = batch.images.iter().map(|&p| f32::from(p)).collect();
        let data = TensorData::new(pixels, batch.shape);
        return Tensor::from_data(data, (device, DType::from(dtype)));
    }
    let word = |bytes: &[u8]| {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        i32::from_le_bytes(four)
    };
    let words: Vec<i32> = batch.images.chunks(4).map(word).collect();
    let n = words.len();
    let data = TensorData::new(words, [n]);
    let words = Tensor::<1, Int>::from_data(data, (device, DType::I32));
    let byte = |shift: i32| words.clone().bitwise_right_shift_scalar(shift).bitwise_and_scalar(255);
    let bytes = Tensor::stack::<2>([0, 8, 16, 24].map(byte).to_vec(), 1).reshape([4 * n]);
    bytes.narrow(0, 0, batch.images.len()).float().cast(dtype).reshape(batch.shape)
}
