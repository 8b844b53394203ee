//! Four blocks of convolution, batch norm, ReLU and pooling: the small network of first runs.

use super::layers::{BatchNorm, Init, Layer as _, max_pool, pooled, unit_rows};
use super::{Entry, Network, NetworkConfig, Output};
use crate::loss::Feature;
use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use retort_datasets::part::read;
use retort_sdk::{Hyper as _, hyper};

hyper! {
    /// How large it is.
    pub struct Size {
        /// Channels of the first block.
        width: usize = 32 => 1..=4096,
    }
}

/// The network of this file.
pub const NETWORKS: &[Entry] = &[Entry {
    image_size: 32,
    any_channels: true,
    options: Size::fields,
    ..Entry::new(
        "convnet",
        "four 3x3 convolutions, for small pictures",
        "Retort's own.",
        file!(),
        |config, init| ConvNet::new(config, init).into(),
    )
}];

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
    pub fn new(config: &NetworkConfig, init: Init) -> Self {
        let Size { width } = read(&config.own);
        let widths = [2, 3, 4, 6].map(|k| (width * k).div_ceil(2));
        let mut channels = config.channels;
        let mut blocks = Vec::new();
        for (i, &width) in widths.iter().enumerate() {
            let conv = init.conv(&format!("blocks.{i}.conv"), [channels, width], 3, 1, false);
            blocks.push(Block { conv, bn: init.batch_norm(width, 0.1, config.frozen_batch_norm) });
            channels = width;
        }
        let embedding = init.embedding(channels, config.embedding);
        ConvNet { blocks, embedding, l2_norm: config.l2_norm }
    }
}

impl Network for ConvNet {
    fn input(images: Tensor<4>) -> Tensor<4> {
        (images - 127.5) / 63.75
    }

    fn forward(&self, mut x: Tensor<4>) -> Output {
        let mut features = Vec::new();
        for block in &self.blocks {
            x = block.bn.run_relu(block.conv.run(x));
            let [_, _, h, w] = x.dims();
            if h > 1 && w > 1 {
                x = max_pool(x, 2, 2, 0, false);
            }
            features.push(Feature::Map(x.clone()));
        }
        let pooled = pooled(&x);
        features.push(Feature::Vector(pooled.clone()));
        Output { embedding: unit_rows(self.embedding.run(pooled), self.l2_norm), features }
    }
}
