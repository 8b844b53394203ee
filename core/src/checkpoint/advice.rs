//! What would make a file fit a network.

use super::file::Weights;
use super::guess::NoNetwork;
use super::misfit::{Misfit, Remedy};
use super::{fit, select};
use crate::backbone::NetworkConfig;
use std::collections::BTreeSet;

/// Layers that could be the embedding, with their dimensions.
pub(super) fn layers(weights: &Weights, features: Option<usize>) -> Vec<(String, usize)> {
    let Weights { prefix, tensors, beside, .. } = weights;
    features.map_or_else(Vec::new, |n| select::linear_layers(prefix, tensors, beside, n))
}

/// What has a network's keys, and nobody but its authors' programs can read: the first ten.
pub(super) fn unread(weights: &Weights) -> String {
    let first = weights.unread.iter().take(10);
    let first = first.map(|(key, what)| format!("{} is {}", fit::shown(key), fit::shown(what)));
    match first.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => none,
        some => format!(", and {some}, which only its authors' programs can read"),
    }
}

/// What more is to be said of a file that doesn't fit, and what would make it fit.
pub(super) fn advice(
    unfit: &fit::Unfit,
    network: &NetworkConfig,
    weights: &Weights,
    features: Option<usize>,
) -> Misfit {
    let all = |names: &[String]| names.iter().all(|name| name.starts_with("embedding."));
    let of_others: Vec<_> = unfit
        .missing
        .iter()
        .filter_map(|key| Some((key, weights.unread.get(key)?)))
        .take(10)
        .map(|(key, what)| format!("{key} is {}", fit::shown(what)))
        .collect();
    if !of_others.is_empty() {
        return format!(". In it {}, which retort doesn't read", of_others.join(", ")).into();
    }
    let misfit = Misfit::default();
    match weights.network() {
        Ok(guess) if guess.name != network.name => {
            Misfit::new(format!(". Its keys look like {}", guess.name))
                .or(Remedy::Model(Some(guess.name)))
        }
        Ok(guess)
            if !unfit.wrong.is_empty()
                && all(&unfit.wrong)
                && guess.embedding != network.embedding =>
        {
            Misfit::new(format!(". It embeds in {} dimensions", guess.embedding))
                .or(Remedy::Embedding(guess.embedding))
        }
        Ok(_) if !unfit.missing.is_empty() && all(&unfit.missing) && unfit.wrong.is_empty() => {
            let layers = layers(weights, features);
            let fault = match fit::heads(&weights.tensors) {
                _ if !layers.is_empty() => ". It has no layer called embedding".to_owned(),
                none if none.is_empty() => {
                    ". It has no embedding layer, as classifiers have none".to_owned()
                }
                heads => {
                    format!(". It has no embedding layer that is one linear layer ({heads} aren't)")
                }
            };
            let mut misfit = Misfit::new(fault);
            let map = |(layer, outputs)| Remedy::Map { layer, outputs };
            misfit.remedies.extend(layers.into_iter().map(map));
            misfit.remedies.push(Remedy::FreshEmbedding);
            misfit.remedies.extend(ignoring(&unfit.unexpected));
            misfit
        }
        Ok(_) if !unfit.missing.is_empty() => misfit.or(Remedy::Fresh),
        Ok(_) if !unfit.unexpected.is_empty() && unfit.wrong.is_empty() => {
            let parts: BTreeSet<&str> = unfit.expected.iter().map(|key| first_part(key)).collect();
            if unfit.unexpected.iter().any(|key| parts.contains(first_part(key))) {
                return Misfit::new(
                    ". It is a network like this one with more in its layers, which retort doesn't have",
                );
            }
            let remedies = ignoring(&unfit.unexpected).into_iter().collect();
            Misfit { remedies, ..misfit }
        }
        Err(why @ NoNetwork::Unknown) => {
            let why = why.to_string();
            format!(". {}{}{}", why[..1].to_uppercase(), &why[1..], unread(weights)).into()
        }
        Err(why) => {
            let why = why.to_string();
            format!(". {}{}", why[..1].to_uppercase(), &why[1..]).into()
        }
        Ok(_) => misfit,
    }
}

/// A key up to its first point.
fn first_part(key: &str) -> &str {
    key.split('.').next().unwrap_or_default()
}

/// To leave keys out that the network lacks, a layer at a time: the first ten.
fn ignoring(keys: &[String]) -> Option<Remedy> {
    let pattern = |key: &String| match first_part(key) {
        whole if whole == key => whole.to_owned(),
        layer => format!("{layer}.*"),
    };
    let patterns: BTreeSet<String> = keys.iter().map(pattern).collect();
    (!patterns.is_empty()).then(|| Remedy::Ignore(patterns.into_iter().take(10).collect()))
}
