//! Embedding networks by name: one file each, one line in [`NETWORKS`].

mod bn_inception;
mod convnet;
mod layers;
mod resnet;

pub use bn_inception::BnInception;
pub use convnet::ConvNet;
pub use resnet::ResNet;

use crate::session::Feature;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use layers::Init;
use serde::{Deserialize, Serialize};

/// Names of the networks, with what each is.
pub const NETWORKS: &[(&str, &str)] = &[
    ("convnet", "four 3x3 convolutions with batch norm, for small pictures"),
    ("resnet18", "ResNet of 18 layers, torchvision's names"),
    ("resnet34", "ResNet of 34 layers"),
    ("resnet50", "ResNet of 50 layers"),
    ("resnet101", "ResNet of 101 layers"),
    ("bn_inception", "Inception with batch norm, the names of the Caffe model's port"),
];

/// Which network, and how large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// One of [`NETWORKS`].
    pub name: String,
    /// Channels of `convnet`'s first block.
    pub width: usize,
    /// Dimensions of the embedding.
    pub embedding: usize,
    /// Whether embeddings are normalised to unit length.
    pub l2_norm: bool,
    /// Channels of the pictures: 1 grey, 3 colour. All networks but `convnet` see colour.
    pub channels: usize,
    /// Whether batch norms keep their statistics, scales and shifts in training.
    pub frozen_batch_norm: bool,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let name = "convnet".to_owned();
        NetworkConfig {
            name,
            width: 32,
            embedding: 512,
            l2_norm: true,
            channels: 3,
            frozen_batch_norm: false,
        }
    }
}

/// A network that can't be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkError {
    /// No network has this name.
    #[error("there is no network {name}; networks are: {known}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A size makes no sense.
    #[error("network {key} = {value} is out of range: {range}")]
    Size {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        value: usize,
        /// What it may be.
        range: &'static str,
    },
}

/// What a network gives for a batch.
#[derive(Clone, Debug)]
pub struct Output {
    /// `[n, d]`
    pub embedding: Tensor<2>,
    /// The map after each stage, early ones first; the pooled vector `[n, c]` last.
    pub features: Vec<Feature>,
}

/// An embedding network.
#[derive(Module, Debug)]
pub enum Backbone {
    /// See [`ConvNet`].
    ConvNet(ConvNet),
    /// See [`ResNet`].
    ResNet(ResNet),
    /// See [`BnInception`].
    BnInception(BnInception),
}

impl Backbone {
    /// A network with first values that depend on the seed alone.
    pub fn new(config: &NetworkConfig, seed: u64, device: &Device) -> Result<Self, NetworkError> {
        let check = |key, value, most, range| match value {
            v if v >= 1 && v <= most => Ok(()),
            value => Err(NetworkError::Size { key, value, range }),
        };
        check("width", config.width, 4096, "1 to 4096")?;
        check("embedding", config.embedding, 65_536, "1 to 65536")?;
        check("channels", config.channels, 4, "1 to 4")?;
        let init = Init { seed, device };
        let resnet = |blocks, deep| Backbone::ResNet(ResNet::new(config, blocks, deep, init));
        Ok(match config.name.as_str() {
            "convnet" => Backbone::ConvNet(ConvNet::new(config, init)),
            "resnet18" => resnet([2, 2, 2, 2], false),
            "resnet34" => resnet([3, 4, 6, 3], false),
            "resnet50" => resnet([3, 4, 6, 3], true),
            "resnet101" => resnet([3, 4, 23, 3], true),
            "bn_inception" => Backbone::BnInception(BnInception::new(config, init)),
            name => {
                return Err(NetworkError::Unknown {
                    name: name.to_owned(),
                    known: NETWORKS.iter().map(|n| n.0).collect::<Vec<_>>().join(", "),
                });
            }
        })
    }

    /// Embeds pictures `[n, c, h, w]` with values 0 to 255, red first.
    pub fn forward(&self, images: Tensor<4>) -> Output {
        let input = match self {
            Backbone::ConvNet(_) => ConvNet::input(images),
            Backbone::ResNet(_) => ResNet::input(images),
            Backbone::BnInception(_) => BnInception::input(images),
        };
        self.forward_input(input)
    }

    /// Embeds what the network itself sees, `[n, c, h, w]`: pictures that are normalised already.
    pub fn forward_input(&self, input: Tensor<4>) -> Output {
        match self {
            Backbone::ConvNet(net) => net.forward(input),
            Backbone::ResNet(net) => net.forward(input),
            Backbone::BnInception(net) => net.forward(input),
        }
    }

    /// The same network with all numbers in another type.
    #[must_use]
    pub fn cast(self, dtype: FloatDType) -> Self {
        struct Cast(FloatDType);
        impl ModuleMapper for Cast {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let (id, tensor, mapper) = param.consume();
                let tracked = tensor.is_require_grad();
                let tensor = if tensor.device().is_autodiff() {
                    Tensor::from_inner(tensor.inner().cast(self.0)).set_require_grad(tracked)
                } else {
                    tensor.cast(self.0)
                };
                Param::from_mapped_value(id, tensor, mapper)
            }
        }
        self.map(&mut Cast(dtype))
    }
}
