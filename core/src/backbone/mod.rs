//! Embedding networks by name: one file each, and one line in `networks!` below.

mod bn_inception;
mod convnet;
mod layers;
mod resnet;
mod summary;
mod vit;

pub use bn_inception::BnInception;
pub use convnet::ConvNet;
pub use resnet::ResNet;
pub use summary::{LayerSummary, Summary, summary};
pub use vit::Vit;
pub(crate) use vit::bicubic;

use crate::loss::Feature;
use crate::settings;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use layers::Init;
pub(crate) use layers::full;
use retort_datasets::part::{Values, unknown};
use retort_sdk::schema::{self, Field};
use serde_json::Value;

/// The enum of all networks, what it hands on to each, and the list of their lists of names.
macro_rules! networks {
    ($($file:ident: $Net:ident,)*) => {
        /// An embedding network.
        #[derive(Module, Debug)]
        #[expect(clippy::large_enum_variant, reason = "there are few, and they are seldom moved")]
        pub enum Backbone {
            $(#[doc = concat!("See [`", stringify!($Net), "`].")] $Net($Net),)*
        }

        $(impl From<$Net> for Backbone {
            fn from(net: $Net) -> Self {
                Backbone::$Net(net)
            }
        })*

        static FILES: &[&[Entry]] = &[$($file::NETWORKS,)*];

        impl Backbone {
            /// Whether the network can take pictures of this height and width; the error says which
            /// it can.
            pub fn check(&self, [height, width]: [usize; 2]) -> Result<(), NetworkError> {
                let (network, takes, rule): (_, fn(usize) -> bool, _) = match self {
                    $(Backbone::$Net(_) => (stringify!($file), $Net::takes, $Net::SIZES),)*
                };
                if takes(height) && takes(width) {
                    return Ok(());
                }
                let near = [height, width].map(|side| {
                    let below = (1..=side).rev().find(|&s| takes(s));
                    let above = (side + 1..side + 64).find(|&s| takes(s));
                    let sides = below.into_iter().chain(above.filter(|_| !takes(side)));
                    sides.map(|s| s.to_string()).collect::<Vec<_>>().join(" or ")
                });
                let near = format!("height {}, width {}", near[0], near[1]);
                Err(NetworkError::Pictures { network, height, width, rule, near })
            }

            /// Pictures `[n, c, h, w]` with values 0 to 255, red first, as the network wants them.
            pub fn input(&self, images: Tensor<4>) -> Tensor<4> {
                match self {
                    $(Backbone::$Net(_) => $Net::input(images),)*
                }
            }

            /// Embeds what the network itself sees, `[n, c, h, w]`: pictures that are normalised
            /// already.
            ///
            /// # Panics
            /// For a size that [`check`](Self::check) refuses, and for other channels than the
            /// network's.
            pub fn forward_input(&self, input: Tensor<4>) -> Output {
                match self {
                    $(Backbone::$Net(net) => net.forward(input),)*
                }
            }
        }
    };
}

networks! {
    convnet: ConvNet,
    resnet: ResNet,
    bn_inception: BnInception,
    vit: Vit,
}

/// A network that can be asked for by name.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// One line on what it is.
    pub doc: &'static str,
    /// Where it comes from.
    pub paper: &'static str,
    /// Its source file, from the workspace's folder.
    pub file: &'static str,
    /// Width and height in pixels that it is made for.
    pub image_size: usize,
    /// Whether it can be built for grey pictures; otherwise it sees three channels.
    pub any_channels: bool,
    /// Its own options.
    pub options: fn() -> Vec<Field>,
    build: fn(&NetworkConfig, Init) -> Backbone,
}

impl Entry {
    /// A network of colour pictures of 224 pixels; the file says what differs.
    const fn new(
        name: &'static str,
        doc: &'static str,
        paper: &'static str,
        file: &'static str,
        build: fn(&NetworkConfig, Init) -> Backbone,
    ) -> Self {
        let (image_size, any_channels, options) = (224, false, Vec::new as _);
        Entry { name, doc, paper, file, image_size, any_channels, options, build }
    }

    /// Its own options, checked and complete.
    pub fn resolve(&self, own: &Values) -> Result<Values, NetworkError> {
        let resolved = schema::resolve(self.name, "option", &(self.options)(), own);
        resolved.map_err(NetworkError::Option)
    }
}

/// All networks.
pub fn networks() -> impl Iterator<Item = &'static Entry> {
    FILES.iter().copied().flatten()
}

/// The network of that name.
pub fn find(name: &str) -> Result<&'static Entry, NetworkError> {
    networks().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<&str> = networks().map(|entry| entry.name).collect();
        NetworkError::Unknown(unknown("network", name, &known))
    })
}

settings! {
    /// Which network, and how large.
    #[derive(Eq)]
    pub struct NetworkConfig {
        /// The network.
        name: String = "convnet".to_owned(),
        /// Dimensions of the embedding.
        embedding: usize = 512 => 1..=65_536,
        /// Whether embeddings have unit length.
        l2_norm: bool = true,
        /// Channels that the network sees: 1 grey, 3 colour. Only `convnet` can see grey.
        channels: usize = 3 => 1..=4,
        /// Whether batch norms keep their statistics, scales and shifts in training.
        frozen_batch_norm: bool = false,
        /// The network's own options.
        #[serde(flatten)]
        own: Values = Values::new(),
    }
}

impl NetworkConfig {
    /// One of the network's own options set.
    #[must_use]
    pub fn with(mut self, option: &str, value: impl Into<Value>) -> Self {
        self.own.insert(option.to_owned(), value.into());
        self
    }

    /// Puts in the defaults of its own options; refuses those that it doesn't have.
    pub fn resolve(&mut self) -> Result<(), NetworkError> {
        self.own = find(&self.name)?.resolve(&self.own)?;
        Ok(())
    }

    /// Leaves out options that the network doesn't have: older files have `width` beside every network.
    pub fn forget_foreign(&mut self) {
        let fields = find(&self.name).map_or_else(|_| Vec::new(), |entry| (entry.options)());
        self.own.retain(|key, _| fields.iter().any(|field| field.name == *key));
    }

    /// The configuration for pictures with so many channels. A network that sees colour is given grey
    /// pictures with their one channel repeated, as torchvision's loaders do.
    pub fn set_channels(&mut self, pictures: usize) -> Result<(), NetworkError> {
        self.channels = if find(&self.name)?.any_channels { pictures } else { 3 };
        Ok(())
    }
}

/// A network that can't be built.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkError {
    /// No network has this name.
    #[error("{0}")]
    Unknown(String),
    /// It has no such option, or another range.
    #[error("{0}")]
    Option(String),
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
    /// Pictures of a size that the network can't compute.
    #[error(
        "{network} can't take pictures of {height}x{width} pixels (height x width): {rule}; the nearest that work: {near}"
    )]
    Pictures {
        /// The network's kind.
        network: &'static str,
        /// Height of the pictures.
        height: usize,
        /// Their width.
        width: usize,
        /// Which sizes work.
        rule: &'static str,
        /// Sizes like the given ones that work.
        near: String,
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

impl Output {
    /// The same after an operation on all of it.
    #[must_use]
    pub fn map(
        self,
        of_map: impl Fn(Tensor<4>) -> Tensor<4>,
        of_vector: impl Fn(Tensor<2>) -> Tensor<2>,
    ) -> Self {
        let features = self.features.into_iter();
        Output {
            embedding: of_vector(self.embedding),
            features: features.map(|feature| feature.map(&of_map, &of_vector)).collect(),
        }
    }
}

/// What a network's file has beside its constructor and its list of names.
trait Network {
    /// Which sizes it [takes](Self::takes), in words.
    const SIZES: &'static str = "height and width must be at least 1";

    /// Whether pictures may be so many pixels high, or wide.
    fn takes(side: usize) -> bool {
        side > 0
    }

    /// Pictures with values 0 to 255, red first, as the network wants them.
    fn input(images: Tensor<4>) -> Tensor<4>;

    /// Embeds what [`input`](Self::input) gives.
    fn forward(&self, x: Tensor<4>) -> Output;
}

impl Backbone {
    /// A network with first values that depend on the seed alone.
    pub fn new(config: &NetworkConfig, seed: u64, device: &Device) -> Result<Self, NetworkError> {
        Self::build(config, Init { seed: Some(seed), device })
    }

    /// A network whose weights are zero, and take no memory: to be looked at, or loaded into.
    pub fn blank(config: &NetworkConfig, device: &Device) -> Result<Self, NetworkError> {
        Self::build(config, Init { seed: None, device })
    }

    fn build(config: &NetworkConfig, init: Init) -> Result<Self, NetworkError> {
        let check = |key, value, most, range| match value {
            v if v >= 1 && v <= most => Ok(()),
            value => Err(NetworkError::Size { key, value, range }),
        };
        check("embedding", config.embedding, 65_536, "1 to 65536")?;
        check("channels", config.channels, 4, "1 to 4")?;
        let mut config = config.clone();
        config.resolve()?;
        let entry = find(&config.name)?;
        if !entry.any_channels && config.channels != 3 {
            let (key, value, range) = ("channels", config.channels, "this network sees 3");
            return Err(NetworkError::Size { key, value, range });
        }
        Ok((entry.build)(&config, init))
    }

    /// Embeds pictures `[n, c, h, w]` with values 0 to 255, red first.
    ///
    /// # Panics
    /// As [`forward_input`](Self::forward_input).
    pub fn forward(&self, images: Tensor<4>) -> Output {
        self.forward_input(self.input(images))
    }

    /// The same network with all numbers in another type.
    #[must_use]
    pub fn cast(self, dtype: FloatDType) -> Self {
        self.map(&mut Cast { dtype, inside: 0, all: true })
    }

    /// The same network for 16-bit arithmetic: its numbers in another type, but for batch norms and the
    /// embedding layer, whose sums need 32 bits.
    #[must_use]
    pub fn halved(self, dtype: FloatDType) -> Self {
        self.map(&mut Cast { dtype, inside: 0, all: false })
    }
}

struct Cast {
    dtype: FloatDType,
    /// How deep the walk is in parts that need 32 bits.
    inside: usize,
    /// Cast those, too.
    all: bool,
}

impl Cast {
    fn keeps(name: &str, container: &str) -> bool {
        container == "Struct:BatchNorm" || name == "embedding"
    }
}

impl ModuleMapper for Cast {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.inside += usize::from(Cast::keeps(name, container));
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.inside -= usize::from(Cast::keeps(name, container));
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.inside > 0 && !self.all {
            return param;
        }
        let (id, tensor, mapper) = param.consume();
        let tracked = tensor.is_require_grad();
        let tensor = if tensor.device().is_autodiff() {
            Tensor::from_inner(tensor.inner().cast(self.dtype)).set_require_grad(tracked)
        } else {
            tensor.cast(self.dtype)
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
