//! What a network is made of: its layers as they run, with shapes, parameters and multiplications.

use super::layers::{Ran, observed};
use super::{Backbone, NetworkConfig, NetworkError};
use crate::loss::Feature;
use burn::module::{Module as _, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};

/// One layer, for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSummary {
    /// Its name in the checkpoint: `layer1.0.conv1`.
    pub name: String,
    /// `conv2d`, `batch_norm`, `linear`, `layer_norm`, `attention` (the products of queries with keys and
    /// of weights with values), or `parameter`, which is no layer.
    pub kind: &'static str,
    /// Shape of its output; of a parameter its own.
    pub output: Vec<usize>,
    /// Scalars in its weights and biases; running statistics don't count.
    pub parameters: usize,
    /// Multiplications, each with its addition. Norms, activations and pooling have none.
    pub macs: u64,
}

/// A network, for one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// In the order in which they run.
    pub layers: Vec<LayerSummary>,
    /// Shapes of the feature maps, early ones first; the pooled vector's last.
    pub features: Vec<Vec<usize>>,
    /// Scalars in all weights and biases.
    pub parameters: usize,
    /// Multiplications in all.
    pub macs: u64,
}

impl Summary {
    /// What belongs to the embedding layer: parameters and multiplications.
    pub fn embedding(&self) -> (usize, u64) {
        let layer = self.layers.iter().find(|layer| layer.name == "embedding");
        layer.map(|layer| (layer.parameters, layer.macs)).unwrap_or_default()
    }
}

/// A parameter's identity, name and shape.
struct Named {
    id: ParamId,
    name: String,
    shape: Vec<usize>,
}

/// All parameters under their names in a checkpoint, without running statistics.
struct Names {
    path: Vec<(String, bool)>,
    found: Vec<Named>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, container: &str) {
        // The variant of `Backbone` is no part of a name.
        self.path.push((name.to_owned(), container.starts_with("Enum")));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let names = self.path.iter().filter(|(_, skip)| !skip).map(|(name, _)| name.as_str());
        let name = names.collect::<Vec<_>>().join(".");
        if !name.contains("running_") {
            self.found.push(Named { id: param.id, name, shape: param.dims().to_vec() });
        }
    }
}

/// Everything up to the last dot.
fn parent(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(parent, _)| parent)
}

/// Runs a network without weights on one empty picture, and lists what ran.
pub fn summary(config: &NetworkConfig, [h, w]: [usize; 2]) -> Result<Summary, NetworkError> {
    let device = Device::flex();
    let net = Backbone::blank(config, &device)?;
    net.check([h, w])?;
    let mut names = Names { path: Vec::new(), found: Vec::new() };
    net.visit(&mut names);
    let picture = Tensor::zeros([1, config.channels, h, w], &device);
    let (output, ran) = observed(|| net.forward_input(picture));

    let size = |named: &Named| named.shape.iter().product::<usize>();
    let (mut layers, mut seen) = (Vec::new(), Vec::new());
    for Ran { id, kind, output, macs } in ran {
        let Some(named) = names.found.iter().find(|named| named.id == id) else { continue };
        let layer = parent(&named.name);
        let mine = names.found.iter().filter(|other| parent(&other.name) == layer);
        // Attention has no weights of its own: it is known by its queries' layer.
        let (name, parameters) = match kind {
            "attention" => (parent(layer), 0),
            _ => (layer, mine.map(size).sum()),
        };
        seen.push(layer.to_owned());
        layers.push(LayerSummary { name: name.to_owned(), kind, output, parameters, macs });
    }
    let rest = names.found.iter().filter(|named| !seen.iter().any(|s| s == parent(&named.name)));
    let rest = rest.map(|named| LayerSummary {
        name: named.name.clone(),
        kind: "parameter",
        output: named.shape.clone(),
        parameters: size(named),
        macs: 0,
    });
    layers.splice(0..0, rest.collect::<Vec<_>>());
    let features = output.features.iter().map(Feature::dims);
    Ok(Summary {
        features: features.collect(),
        parameters: names.found.iter().map(size).sum(),
        macs: layers.iter().map(|layer| layer.macs).sum(),
        layers,
    })
}
