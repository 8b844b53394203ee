//! Four blocks of convolution, batch norm, ReLU and pooling: the small network of first runs.

use super::{NetworkConfig, Output};
use crate::random;
use crate::session::Feature;
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Tensor, TensorData, activation::relu};

/// A 3x3 convolution without bias, then batch norm.
#[derive(Module, Debug)]
pub struct Block {
    conv: Conv2d,
    bn: BatchNorm,
}

/// `[n, c, h, w]` pictures to `[n, d]`: channels grow by half from block to block, the pooled
/// vector is the global average plus the global maximum, the embedding one linear layer on it.
#[derive(Module, Debug)]
pub struct ConvNet {
    blocks: Vec<Block>,
    embedding: Linear,
    l2_norm: bool,
}

impl ConvNet {
    /// First values depend on the seed and the parameter's name alone: He's for convolutions,
    /// orthogonal rows or columns for the embedding.
    pub fn new(config: &NetworkConfig, seed: u64, device: &Device) -> Self {
        let widths = [2, 3, 4, 6].map(|k| (config.width * k).div_ceil(2));
        let mut channels = config.channels;
        let mut blocks = Vec::new();
        for (i, &width) in widths.iter().enumerate() {
            let mut conv = Conv2dConfig::new([channels, width], [3, 3])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .with_bias(false)
                .init(device);
            let deviation = (2.0 / (9 * channels) as f64).sqrt();
            let values = normal(seed, &format!("blocks.{i}.conv.weight"), 9 * channels * width);
            let values: Vec<f32> = values.into_iter().map(|v| (deviation * v) as f32).collect();
            let data = TensorData::new(values, [width, channels, 3, 3]);
            conv.weight = Param::from_tensor(Tensor::from_data(data, device));
            blocks.push(Block { conv, bn: BatchNormConfig::new(width).init(device) });
            channels = width;
        }
        let mut embedding = LinearConfig::new(channels, config.embedding).init(device);
        let values = orthogonal(seed, "embedding.weight", channels, config.embedding);
        let data = TensorData::new(values, [channels, config.embedding]);
        embedding.weight = Param::from_tensor(Tensor::from_data(data, device));
        embedding.bias = Some(Param::from_tensor(Tensor::zeros([config.embedding], device)));
        ConvNet { blocks, embedding, l2_norm: config.l2_norm }
    }

    /// See [`Backbone::forward`](super::Backbone::forward).
    pub fn forward(&self, images: Tensor<4>) -> Output {
        let mut x = (images - 127.5) / 63.75;
        let mut features = Vec::new();
        for block in &self.blocks {
            x = relu(block.bn.forward(block.conv.forward(x)));
            let [_, _, h, w] = x.dims();
            if h > 1 && w > 1 {
                x = max_pool2d(x, MaxPoolOptions::new([2, 2]).with_stride([2, 2]));
            }
            features.push(Feature::Map(x.clone()));
        }
        let [n, c, h, w] = x.dims();
        let flat = x.reshape([n, c, h * w]);
        let pooled = (flat.clone().mean_dim(2) + flat.max_dim(2)).reshape([n, c]);
        features.push(Feature::Vector(pooled.clone()));
        let mut embedding = self.embedding.forward(pooled);
        if self.l2_norm {
            let norm = embedding.clone().powi_scalar(2).sum_dim(1).clamp_min(1e-24).sqrt();
            embedding = embedding / norm;
        }
        Output { embedding, features }
    }
}

fn normal(seed: u64, name: &str, n: usize) -> Vec<f64> {
    let mut stream = random::stream(random::key(seed, name), &[]);
    (0..n).map(|_| random::normal(&mut stream)).collect()
}

/// A matrix `[rows, columns]` whose shorter side's vectors are orthonormal (Gram-Schmidt on
/// normal numbers, as `torch.nn.init.orthogonal_` up to signs).
fn orthogonal(seed: u64, name: &str, rows: usize, columns: usize) -> Vec<f32> {
    let (count, length) = (rows.min(columns), rows.max(columns));
    let values = normal(seed, name, count * length);
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    for vector in values.chunks(length) {
        let mut vector = vector.to_vec();
        for _ in 0..2 {
            for other in &basis {
                let dot: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        basis.push(vector.iter().map(|x| x / norm).collect());
    }
    let at = |i: usize, j: usize| if rows <= columns { basis[i][j] } else { basis[j][i] };
    (0..rows * columns).map(|k| at(k / columns, k % columns) as f32).collect()
}
