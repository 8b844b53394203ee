//! He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, with torchvision's
//! names and its stride in the 3x3 convolution.

use super::layers::{BatchNorm, Init, Layer as _, imagenet, max_pool, pooled, unit_rows};
use super::{Entry, Network, NetworkConfig, Output};
use crate::loss::Feature;
use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, activation::relu};

/// The networks of this file.
pub const NETWORKS: &[Entry] = &[
    Entry::new("resnet18", "residual network of 18 layers", PAPER, file!(), |config, init| {
        ResNet::new(config, [2, 2, 2, 2], false, init).into()
    }),
    Entry::new("resnet34", "residual network of 34 layers", PAPER, file!(), |config, init| {
        ResNet::new(config, [3, 4, 6, 3], false, init).into()
    }),
    Entry::new("resnet50", "residual network of 50 layers", PAPER, file!(), |config, init| {
        ResNet::new(config, [3, 4, 6, 3], true, init).into()
    }),
    Entry::new("resnet101", "residual network of 101 layers", PAPER, file!(), |config, init| {
        ResNet::new(config, [3, 4, 23, 3], true, init).into()
    }),
];

const PAPER: &str =
    "He, Zhang, Ren & Sun, \"Deep Residual Learning for Image Recognition\", CVPR 2016.";

/// Two 3x3 convolutions, or 1x1, 3x3, 1x1, added to the input or a 1x1 convolution of it.
#[derive(Module, Debug)]
pub struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm>,
    downsample: Option<(Conv2d, BatchNorm)>,
}

/// Pictures `[n, 3, h, w]` to `[n, d]`; feature maps after each of the four stages.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    embedding: Linear,
    l2_norm: bool,
}

impl ResNet {
    /// A network with `blocks` in each stage, of three convolutions each if `deep`, else of two.
    pub fn new(config: &NetworkConfig, blocks: [usize; 4], deep: bool, init: Init) -> Self {
        let bn = |channels| init.batch_norm(channels, 0.1, config.frozen_batch_norm);
        let conv =
            |name: &str, channels, kernel, stride| init.conv(name, channels, kernel, stride, false);
        let mut input = 64;
        let mut stage = |number: usize| -> Vec<Block> {
            let width = 64 << number;
            let output = if deep { 4 * width } else { width };
            let mut list = Vec::new();
            for i in 0..blocks[number] {
                let stride = if i == 0 && number > 0 { 2 } else { 1 };
                let name = |part: &str| format!("layer{}.{i}.{part}", number + 1);
                let shortcut = stride != 1 || input != output;
                let strides = if deep { [1, stride] } else { [stride, 1] };
                let first = if deep { 1 } else { 3 };
                list.push(Block {
                    conv1: conv(&name("conv1"), [input, width], first, strides[0]),
                    bn1: bn(width),
                    conv2: conv(&name("conv2"), [width, width], 3, strides[1]),
                    bn2: bn(width),
                    conv3: deep.then(|| conv(&name("conv3"), [width, output], 1, 1)),
                    bn3: deep.then(|| bn(output)),
                    downsample: shortcut.then(|| {
                        (conv(&name("downsample.0"), [input, output], 1, stride), bn(output))
                    }),
                });
                input = output;
            }
            list
        };
        let [layer1, layer2, layer3, layer4] = [0, 1, 2, 3].map(&mut stage);
        ResNet {
            conv1: conv("conv1", [3, 64], 7, 2),
            bn1: bn(64),
            layer1,
            layer2,
            layer3,
            layer4,
            embedding: init.embedding(if deep { 2048 } else { 512 }, config.embedding),
            l2_norm: config.l2_norm,
        }
    }
}

impl Network for ResNet {
    fn input(images: Tensor<4>) -> Tensor<4> {
        imagenet(&images)
    }

    fn forward(&self, x: Tensor<4>) -> Output {
        let x = self.bn1.run_relu(self.conv1.run(x));
        let mut x = max_pool(x, 3, 2, 1, false);
        let mut features = Vec::new();
        for stage in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            for block in stage {
                x = block.forward(x);
            }
            features.push(Feature::Map(x.clone()));
        }
        let pooled = pooled(&x);
        features.push(Feature::Vector(pooled.clone()));
        Output { embedding: unit_rows(self.embedding.run(pooled), self.l2_norm), features }
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some((conv, bn)) => bn.run(conv.run(x.clone())),
            None => x.clone(),
        };
        let x = self.bn1.run_relu(self.conv1.run(x));
        let x = self.conv2.run(x);
        let x = match (&self.conv3, &self.bn3) {
            (Some(conv), Some(bn)) => bn.run(conv.run(self.bn2.run_relu(x))),
            _ => self.bn2.run(x),
        };
        relu(x + shortcut)
    }
}
