//! Ioffe & Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal
//! Covariate Shift", ICML 2015 (BN-Inception), with the names and quirks of the Caffe model's PyTorch
//! port, which the field's checkpoints have.

use super::layers::{BatchNorm, Init, Layer as _, max_pool, normalised, pooled, unit_rows};
use super::{Entry, Network, NetworkConfig, Output};
use crate::loss::Feature;
use burn::module::Module;
use burn::nn::Linear;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::module::avg_pool2d;
use burn::tensor::ops::AvgPoolOptions;

/// The network of this file.
pub const NETWORKS: &[Entry] = &[Entry::new(
    "bn_inception",
    "Inception with batch norm; sees blue first, 0 to 255",
    "Ioffe & Szegedy, \"Batch Normalization: Accelerating Deep Network Training by Reducing Internal \
     Covariate Shift\", ICML 2015.",
    file!(),
    |config, init| BnInception::new(config, init).into(),
)];

/// Share of the newest batch in the running statistics, as the port has it.
const MOMENTUM: f64 = 0.9;

/// Convolutions with bias, each with its batch norm: channels in and out, kernel, stride.
macro_rules! layers {
    ($($conv:ident $bn:ident: $input:literal => $output:literal, $kernel:literal, $stride:literal;)*) => {
        /// Pictures `[n, 3, h, w]` to `[n, d]`; feature maps after 3c, 4e and 5b.
        #[derive(Module, Debug)]
        #[expect(missing_docs, reason = "the checkpoints' names")]
        pub struct BnInception {
            $(pub $conv: Conv2d, pub $bn: BatchNorm,)*
            pub embedding: Linear,
            l2_norm: bool,
        }

        impl BnInception {
            /// A network with first values from the seed.
            pub fn new(config: &NetworkConfig, init: Init) -> Self {
                BnInception {
                    $($conv: init.conv(stringify!($conv), [$input, $output], $kernel, $stride, true),
                    $bn: init.batch_norm($output, MOMENTUM, config.frozen_batch_norm),)*
                    embedding: init.embedding(1024, config.embedding),
                    l2_norm: config.l2_norm,
                }
            }

            /// Convolution, batch norm and ReLU by name, if the network has them.
            fn layer(&self, name: &str, x: Tensor<4>) -> Option<Tensor<4>> {
                Some(match name {
                    $(stringify!($conv) => self.$bn.run_relu(self.$conv.run(x)),)*
                    _ => return None,
                })
            }
        }
    };
}

layers! {
    conv1_7x7_s2 conv1_7x7_s2_bn: 3 => 64, 7, 2;
    conv2_3x3_reduce conv2_3x3_reduce_bn: 64 => 64, 1, 1;
    conv2_3x3 conv2_3x3_bn: 64 => 192, 3, 1;
    inception_3a_1x1 inception_3a_1x1_bn: 192 => 64, 1, 1;
    inception_3a_3x3_reduce inception_3a_3x3_reduce_bn: 192 => 64, 1, 1;
    inception_3a_3x3 inception_3a_3x3_bn: 64 => 64, 3, 1;
    inception_3a_double_3x3_reduce inception_3a_double_3x3_reduce_bn: 192 => 64, 1, 1;
    inception_3a_double_3x3_1 inception_3a_double_3x3_1_bn: 64 => 96, 3, 1;
    inception_3a_double_3x3_2 inception_3a_double_3x3_2_bn: 96 => 96, 3, 1;
    inception_3a_pool_proj inception_3a_pool_proj_bn: 192 => 32, 1, 1;
    inception_3b_1x1 inception_3b_1x1_bn: 256 => 64, 1, 1;
    inception_3b_3x3_reduce inception_3b_3x3_reduce_bn: 256 => 64, 1, 1;
    inception_3b_3x3 inception_3b_3x3_bn: 64 => 96, 3, 1;
    inception_3b_double_3x3_reduce inception_3b_double_3x3_reduce_bn: 256 => 64, 1, 1;
    inception_3b_double_3x3_1 inception_3b_double_3x3_1_bn: 64 => 96, 3, 1;
    inception_3b_double_3x3_2 inception_3b_double_3x3_2_bn: 96 => 96, 3, 1;
    inception_3b_pool_proj inception_3b_pool_proj_bn: 256 => 64, 1, 1;
    inception_3c_3x3_reduce inception_3c_3x3_reduce_bn: 320 => 128, 1, 1;
    inception_3c_3x3 inception_3c_3x3_bn: 128 => 160, 3, 2;
    inception_3c_double_3x3_reduce inception_3c_double_3x3_reduce_bn: 320 => 64, 1, 1;
    inception_3c_double_3x3_1 inception_3c_double_3x3_1_bn: 64 => 96, 3, 1;
    inception_3c_double_3x3_2 inception_3c_double_3x3_2_bn: 96 => 96, 3, 2;
    inception_4a_1x1 inception_4a_1x1_bn: 576 => 224, 1, 1;
    inception_4a_3x3_reduce inception_4a_3x3_reduce_bn: 576 => 64, 1, 1;
    inception_4a_3x3 inception_4a_3x3_bn: 64 => 96, 3, 1;
    inception_4a_double_3x3_reduce inception_4a_double_3x3_reduce_bn: 576 => 96, 1, 1;
    inception_4a_double_3x3_1 inception_4a_double_3x3_1_bn: 96 => 128, 3, 1;
    inception_4a_double_3x3_2 inception_4a_double_3x3_2_bn: 128 => 128, 3, 1;
    inception_4a_pool_proj inception_4a_pool_proj_bn: 576 => 128, 1, 1;
    inception_4b_1x1 inception_4b_1x1_bn: 576 => 192, 1, 1;
    inception_4b_3x3_reduce inception_4b_3x3_reduce_bn: 576 => 96, 1, 1;
    inception_4b_3x3 inception_4b_3x3_bn: 96 => 128, 3, 1;
    inception_4b_double_3x3_reduce inception_4b_double_3x3_reduce_bn: 576 => 96, 1, 1;
    inception_4b_double_3x3_1 inception_4b_double_3x3_1_bn: 96 => 128, 3, 1;
    inception_4b_double_3x3_2 inception_4b_double_3x3_2_bn: 128 => 128, 3, 1;
    inception_4b_pool_proj inception_4b_pool_proj_bn: 576 => 128, 1, 1;
    inception_4c_1x1 inception_4c_1x1_bn: 576 => 160, 1, 1;
    inception_4c_3x3_reduce inception_4c_3x3_reduce_bn: 576 => 128, 1, 1;
    inception_4c_3x3 inception_4c_3x3_bn: 128 => 160, 3, 1;
    inception_4c_double_3x3_reduce inception_4c_double_3x3_reduce_bn: 576 => 128, 1, 1;
    inception_4c_double_3x3_1 inception_4c_double_3x3_1_bn: 128 => 160, 3, 1;
    inception_4c_double_3x3_2 inception_4c_double_3x3_2_bn: 160 => 160, 3, 1;
    inception_4c_pool_proj inception_4c_pool_proj_bn: 576 => 128, 1, 1;
    inception_4d_1x1 inception_4d_1x1_bn: 608 => 96, 1, 1;
    inception_4d_3x3_reduce inception_4d_3x3_reduce_bn: 608 => 128, 1, 1;
    inception_4d_3x3 inception_4d_3x3_bn: 128 => 192, 3, 1;
    inception_4d_double_3x3_reduce inception_4d_double_3x3_reduce_bn: 608 => 160, 1, 1;
    inception_4d_double_3x3_1 inception_4d_double_3x3_1_bn: 160 => 192, 3, 1;
    inception_4d_double_3x3_2 inception_4d_double_3x3_2_bn: 192 => 192, 3, 1;
    inception_4d_pool_proj inception_4d_pool_proj_bn: 608 => 128, 1, 1;
    inception_4e_3x3_reduce inception_4e_3x3_reduce_bn: 608 => 128, 1, 1;
    inception_4e_3x3 inception_4e_3x3_bn: 128 => 192, 3, 2;
    inception_4e_double_3x3_reduce inception_4e_double_3x3_reduce_bn: 608 => 192, 1, 1;
    inception_4e_double_3x3_1 inception_4e_double_3x3_1_bn: 192 => 256, 3, 1;
    inception_4e_double_3x3_2 inception_4e_double_3x3_2_bn: 256 => 256, 3, 2;
    inception_5a_1x1 inception_5a_1x1_bn: 1056 => 352, 1, 1;
    inception_5a_3x3_reduce inception_5a_3x3_reduce_bn: 1056 => 192, 1, 1;
    inception_5a_3x3 inception_5a_3x3_bn: 192 => 320, 3, 1;
    inception_5a_double_3x3_reduce inception_5a_double_3x3_reduce_bn: 1056 => 160, 1, 1;
    inception_5a_double_3x3_1 inception_5a_double_3x3_1_bn: 160 => 224, 3, 1;
    inception_5a_double_3x3_2 inception_5a_double_3x3_2_bn: 224 => 224, 3, 1;
    inception_5a_pool_proj inception_5a_pool_proj_bn: 1056 => 128, 1, 1;
    inception_5b_1x1 inception_5b_1x1_bn: 1024 => 352, 1, 1;
    inception_5b_3x3_reduce inception_5b_3x3_reduce_bn: 1024 => 192, 1, 1;
    inception_5b_3x3 inception_5b_3x3_bn: 192 => 320, 3, 1;
    inception_5b_double_3x3_reduce inception_5b_double_3x3_reduce_bn: 1024 => 192, 1, 1;
    inception_5b_double_3x3_1 inception_5b_double_3x3_1_bn: 192 => 224, 3, 1;
    inception_5b_double_3x3_2 inception_5b_double_3x3_2_bn: 224 => 224, 3, 1;
    inception_5b_pool_proj inception_5b_pool_proj_bn: 1024 => 128, 1, 1;
}

/// Caffe's pooling between stages: windows that hang over the edge count.
fn shrink(x: Tensor<4>) -> Tensor<4> {
    max_pool(x, 3, 2, 0, true)
}

impl Network for BnInception {
    const SIZES: &'static str =
        "height and width must be 31 or more, and modulo 32 they must be 31 or 0 to 6";

    /// For other sizes the branches of 3c or 4e differ: convolutions round up, pools round down.
    fn takes(side: usize) -> bool {
        let before_3c = side.div_ceil(2) / 2 / 2;
        let before_4e = before_3c / 2;
        before_4e > 0 && before_3c.is_multiple_of(2) && before_4e.is_multiple_of(2)
    }

    /// Blue first, with Caffe's means taken off.
    fn input(images: Tensor<4>) -> Tensor<4> {
        normalised(&images.flip([1]), 1.0, [104.0, 117.0, 128.0], [1.0, 1.0, 1.0])
    }

    fn forward(&self, x: Tensor<4>) -> Output {
        let layer = |name: &str, x: Tensor<4>| self.layer(name, x.clone()).unwrap_or(x);
        let x = shrink(layer("conv1_7x7_s2", x));
        let x = layer("conv2_3x3", layer("conv2_3x3_reduce", x));
        let mut x = shrink(x);
        let mut features = Vec::new();
        for block in ["3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"] {
            x = self.mix(block, x);
            if ["3c", "4e", "5b"].contains(&block) {
                features.push(Feature::Map(x.clone()));
            }
        }
        let pooled = pooled(&x);
        features.push(Feature::Vector(pooled.clone()));
        Output { embedding: unit_rows(self.embedding.run(pooled), self.l2_norm), features }
    }
}

impl BnInception {
    /// A block's branches side by side. Those that halve the size (3c and 4e) have no 1x1 branch, and
    /// pass the pooled input on as it is.
    fn mix(&self, block: &str, x: Tensor<4>) -> Tensor<4> {
        let layer = |part: &str, x: Tensor<4>| {
            self.layer(&format!("inception_{block}_{part}"), x.clone()).unwrap_or(x)
        };
        let one = self.layer(&format!("inception_{block}_1x1"), x.clone());
        let three = layer("3x3", layer("3x3_reduce", x.clone()));
        let double = layer("double_3x3_1", layer("double_3x3_reduce", x.clone()));
        let double = layer("double_3x3_2", double);
        let pool = if one.is_none() {
            shrink(x)
        } else {
            let pool = if block == "5b" {
                max_pool(x, 3, 1, 1, false)
            } else {
                let options = AvgPoolOptions::new([3, 3]).with_stride([1, 1]);
                avg_pool2d(x, options.with_padding([1, 1]).with_count_include_pad(true))
            };
            layer("pool_proj", pool)
        };
        let branches: Vec<Tensor<4>> = one.into_iter().chain([three, double, pool]).collect();
        Tensor::cat(branches, 1)
    }
}
