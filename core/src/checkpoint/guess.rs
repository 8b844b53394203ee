//! Which network a file's keys and shapes are of.

use crate::backbone::NetworkConfig;
use burn::store::burn_pack::Tensor;
use std::collections::BTreeMap;

/// A key that every network of its kind has, and none inside another.
const SIGNS: [&str; 4] = [
    "conv1_7x7_s2.weight",
    "layer1.0.conv1.weight",
    "patch_embed.proj.weight",
    "blocks.0.conv.weight",
];

/// Why no network is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNetwork {
    /// It looks like none.
    #[error("its keys are those of no network that retort has")]
    Unknown,
    /// It is one that retort doesn't have.
    #[error("{0}, which retort doesn't have")]
    Other(String),
    /// It holds several: each with what stands before its keys, and its name.
    #[error("it holds several networks: {}", several(.0))]
    Several(Vec<(String, String)>),
    /// It is retort's own, and doesn't say.
    #[error("its metadata is damaged, or of a newer retort: {0}")]
    Damaged(String),
}

/// The first ten networks.
fn several(networks: &[(String, String)]) -> String {
    let shown = |(prefix, name): &(String, String)| match prefix.as_str() {
        "" => format!("{name} before all prefixes"),
        prefix => format!("{name} behind {}", super::fit::shown(prefix)),
    };
    let first = networks.iter().take(10).map(shown).collect::<Vec<_>>().join(", ");
    if networks.len() > 10 { format!("{first}, …") } else { first }
}

/// A file's tensors behind a prefix.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub tensors: &'a BTreeMap<String, Tensor>,
    pub prefix: &'a str,
}

impl Keys<'_> {
    fn shape(&self, key: &str) -> Option<Vec<usize>> {
        self.tensors.get(&format!("{}{key}", self.prefix)).map(|t| t.shape.to_vec())
    }

    fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(&format!("{}{key}", self.prefix))
    }

    /// How many numbers from 0 on have a key, without a gap.
    fn count(&self, key: impl Fn(usize) -> String) -> usize {
        (0..self.tensors.len()).take_while(|&i| self.has(&key(i))).count()
    }

    /// Whether a key holds this.
    fn any(&self, part: &str) -> bool {
        let all = self.tensors.range(self.prefix.to_owned()..);
        all.map(|(key, _)| key)
            .take_while(|key| key.starts_with(self.prefix))
            .any(|key| key[self.prefix.len()..].contains(part))
    }
}

/// What stands before the keys of a network, if this is the key by which one is told.
pub(super) fn prefix_of(key: &str) -> Option<&str> {
    SIGNS.iter().find_map(|sign| {
        key.strip_suffix(sign).filter(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// The network, with the sizes that the shapes tell; else what the keys look like.
pub(super) fn network(keys: Keys) -> Result<NetworkConfig, NoNetwork> {
    let mut network = NetworkConfig::default();
    if let Some(&[size, _]) = keys.shape("embedding.weight").as_deref() {
        network.embedding = size;
    }
    network.name = if keys.has("conv1_7x7_s2.weight") {
        "bn_inception".to_owned()
    } else if keys.has("layer1.0.conv1.weight") {
        resnet(keys)?.to_owned()
    } else if let Some(&[width, _, patch, _]) = keys.shape("patch_embed.proj.weight").as_deref() {
        vit(keys, width, patch)?.to_owned()
    } else if let Some(&[width, channels, _, _]) = keys.shape("blocks.0.conv.weight").as_deref() {
        network.channels = channels;
        network = network.with("width", width);
        "convnet".to_owned()
    } else if keys.any("encoder.layer.0.attention.attention.") || keys.any("embedder.embedder.") {
        return Err(NoNetwork::Other(
            "it is a network of Hugging Face's transformers, with other layers and names than \
             torchvision's and timm's"
                .to_owned(),
        ));
    } else {
        return Err(NoNetwork::Unknown);
    };
    Ok(network)
}

/// A ResNet of torchvision's names. Its relatives have the same keys, or nearly: they are told by the sizes
/// of the first block's convolutions, and by what stands at the network's beginning.
fn resnet(keys: Keys) -> Result<&'static str, NoNetwork> {
    let stages = [1, 2, 3, 4].map(|stage| keys.count(|i| format!("layer{stage}.{i}.conv1.weight")));
    let deep = keys.has("layer1.0.conv3.weight");
    let known = match (stages, deep) {
        ([2, 2, 2, 2], false) => Some("resnet18"),
        ([3, 4, 6, 3], false) => Some("resnet34"),
        ([3, 4, 6, 3], true) => Some("resnet50"),
        ([3, 4, 23, 3], true) => Some("resnet101"),
        _ => None,
    };
    let depth = match (known, stages) {
        (Some(name), _) => format!("-{}", name.trim_start_matches("resnet")),
        (None, [3, 8, 36, 3]) if deep => "-152".to_owned(),
        _ => {
            let convolutions = if deep { 3 } else { 2 };
            format!(" with {stages:?} blocks of {convolutions} convolutions")
        }
    };
    let first = if deep { "layer1.0.conv2.weight" } else { "layer1.0.conv1.weight" };
    let (width, group) = match keys.shape(first).as_deref() {
        Some(&[width, group, _, _]) => (width, group.max(1)),
        _ => (64, 64),
    };
    let stem = keys.shape("conv1.weight");
    let mut differs = Vec::new();
    if keys.has("conv1.0.weight") {
        differs.push("three convolutions at its beginning (ResNet-C or -D)");
    }
    if matches!(stem.as_deref(), Some(&[_, _, height, _]) if height != 7) {
        differs.push("a first convolution for small pictures");
    }
    if matches!(keys.shape("layer2.0.downsample.1.weight").as_deref(), Some([_, _, _, _]))
        && differs.is_empty()
    {
        differs.push("a pool in its shortcuts (ResNet-D)");
    }
    if keys.any("layer1.0.se") {
        differs.push("squeeze and excitation");
    }
    let kind = if width > group {
        format!("it is a ResNeXt{depth} ({}x{group}d)", width / group)
    } else if width != 64 {
        format!("it is a wide ResNet{depth} with {width} channels in place of 64")
    } else {
        format!("it is a ResNet{depth}")
    };
    let plain = width == 64 && group == 64;
    match known {
        Some(name) if plain && differs.is_empty() => Ok(name),
        _ if differs.is_empty() => Err(NoNetwork::Other(kind)),
        _ => Err(NoNetwork::Other(format!("{kind} with {}", differs.join(" and ")))),
    }
}

fn vit(keys: Keys, width: usize, patch: usize) -> Result<&'static str, NoNetwork> {
    let depth = keys.count(|i| format!("blocks.{i}.norm1.weight"));
    // A file that lacks blocks is told by those that it lacks.
    match (width, patch) {
        (384, 16) if depth <= 12 => Ok("vit_small"),
        (768, 16) if depth <= 12 => Ok("vit_base"),
        _ => Err(NoNetwork::Other(format!(
            "it is a vision transformer of {depth} blocks of width {width} for patches of {patch} pixels"
        ))),
    }
}
