//! Embedding networks by name: one file each, one line in [`NETWORKS`].

mod convnet;

pub use convnet::ConvNet;

use crate::session::Feature;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Names of the networks, with what each is.
pub const NETWORKS: &[(&str, &str)] =
    &[("convnet", "four 3x3 convolutions with batch norm, for small pictures")];

/// Which network, and how large.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// One of [`NETWORKS`].
    pub name: String,
    /// Channels of the first block.
    pub width: usize,
    /// Dimensions of the embedding.
    pub embedding: usize,
    /// Whether embeddings are normalised to unit length.
    pub l2_norm: bool,
    /// Channels of the pictures: 1 grey, 3 colour.
    pub channels: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let name = "convnet".to_owned();
        NetworkConfig { name, width: 32, embedding: 512, l2_norm: true, channels: 3 }
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
        match config.name.as_str() {
            "convnet" => Ok(Backbone::ConvNet(ConvNet::new(config, seed, device))),
            name => Err(NetworkError::Unknown {
                name: name.to_owned(),
                known: NETWORKS.iter().map(|n| n.0).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Embeds pictures `[n, c, h, w]` with values 0 to 255.
    pub fn forward(&self, images: Tensor<4>) -> Output {
        match self {
            Backbone::ConvNet(net) => net.forward(images),
        }
    }
}
