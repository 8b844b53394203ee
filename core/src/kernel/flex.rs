//! Tensors of Burn's CPU backend as slices, and back.

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;

/// The numbers of a contiguous tensor of 32-bit floats.
pub(super) fn numbers(tensor: &FlexTensor) -> &[f32] {
    let length = tensor.shape().num_elements();
    &tensor.storage::<f32>()[tensor.layout().start_offset()..][..length]
}

/// Numbers as a tensor.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, dims: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, dims))
}
