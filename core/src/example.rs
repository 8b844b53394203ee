//! A small batch that has everything a loss may ask for: for finding out what it asks for.

use crate::loss::{Feature, Inputs};
use crate::random;
use burn::tensor::{Device, Tensor, TensorData};

/// Eight samples of four classes in one view, with feature maps at two levels and the pooled
/// vectors; target `[8, 16]`, source `[8, 24]`.
pub fn example_batch(device: &Device) -> Inputs {
    let mut stream = random::stream(0, &[]);
    let mut values = |dims: &[usize]| {
        let n = dims.iter().product();
        let values: Vec<f32> = (0..n).map(|_| random::normal(&mut stream) as f32).collect();
        TensorData::new(values, dims.to_vec())
    };
    let mut level = |dims: [usize; 4]| Feature::Map(Tensor::from_data(values(&dims), device));
    let target_features = vec![level([8, 4, 4, 4]), level([8, 6, 2, 2])];
    let source_features = vec![level([8, 6, 4, 4]), level([8, 8, 2, 2])];
    let target = Tensor::<2>::from_data(values(&[8, 16]), device).require_grad();
    let source = Tensor::from_data(values(&[8, 24]), device);
    let pooled = |x: &Tensor<2>| Feature::Vector(x.clone().detach());
    Inputs {
        target_features: [target_features, vec![pooled(&target)]].concat(),
        source_features: [source_features, vec![pooled(&source)]].concat(),
        source: Some(source),
        labels: (0..8).map(|i| i / 2).collect(),
        ids: (0..8).collect(),
        classes: 4,
        samples: 8,
        sample_labels: (0..8).map(|i| i / 2).collect(),
        ..Inputs::new(target)
    }
}
