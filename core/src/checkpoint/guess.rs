//! Which network a file's keys and shapes are of.

use crate::backbone::NetworkConfig;
use burn::store::burn_pack::Tensor;
use std::collections::BTreeMap;

/// The network, with the sizes that the shapes tell; else what the keys look like.
pub(super) fn network(tensors: &BTreeMap<String, Tensor>) -> Result<NetworkConfig, String> {
    let shape = |key: &str| tensors.get(key).map(|t| t.shape.to_vec());
    let mut network = NetworkConfig::default();
    if let Some(&[size, _]) = shape("embedding.weight").as_deref() {
        network.embedding = size;
    }
    network.name = if tensors.contains_key("conv1_7x7_s2.weight") {
        "bn_inception".to_owned()
    } else if tensors.contains_key("layer1.0.conv1.weight") {
        resnet(tensors)?
    } else if let Some(&[width, _, patch, _]) = shape("patch_embed.proj.weight").as_deref() {
        vit(width, patch)?
    } else if let Some(&[width, channels, _, _]) = shape("blocks.0.conv.weight").as_deref() {
        (network.width, network.channels) = (width, channels);
        "convnet".to_owned()
    } else {
        return Err("its keys are those of no network that retort has".to_owned());
    };
    Ok(network)
}

fn resnet(tensors: &BTreeMap<String, Tensor>) -> Result<String, String> {
    let stages = [1, 2, 3, 4].map(|stage| {
        let first = |i: &usize| tensors.contains_key(&format!("layer{stage}.{i}.conv1.weight"));
        (0..tensors.len()).take_while(first).count()
    });
    let deep = tensors.contains_key("layer1.0.conv3.weight");
    let name = match (stages, deep) {
        ([2, 2, 2, 2], false) => "resnet18",
        ([3, 4, 6, 3], false) => "resnet34",
        ([3, 4, 6, 3], true) => "resnet50",
        ([3, 4, 23, 3], true) => "resnet101",
        _ => {
            let convolutions = if deep { 3 } else { 2 };
            return Err(format!(
                "it is a ResNet with {stages:?} blocks of {convolutions} convolutions, which retort \
                 doesn't have"
            ));
        }
    };
    Ok(name.to_owned())
}

fn vit(width: usize, patch: usize) -> Result<String, String> {
    match (width, patch) {
        (384, 16) => Ok("vit_small".to_owned()),
        (768, 16) => Ok("vit_base".to_owned()),
        _ => Err(format!(
            "it is a vision transformer of width {width} for patches of {patch} pixels, which retort \
             doesn't have"
        )),
    }
}
