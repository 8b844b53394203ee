//! What would make a file's weights fit, in the words that were typed.

use crate::failure::Failure;
use retort_core::checkpoint::{CheckpointError, Choice, Misfit, Remedy, shown};

/// What each option of [`OpenOptions`](retort_core::checkpoint::OpenOptions) is called where a file is opened;
/// none where there is no such flag.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    model: Option<&'static str>,
    embedding: Option<&'static str>,
    prefix: Option<&'static str>,
    ignore: Option<&'static str>,
    map: Option<&'static str>,
    allow_missing: Option<&'static str>,
}

/// `retort checkpoint import`, which has all of them.
pub const IMPORT: Words = Words {
    model: Some("--model"),
    embedding: Some("--embedding"),
    prefix: Some("--prefix"),
    ignore: Some("--ignore"),
    map: Some("--map"),
    allow_missing: Some("--allow-missing"),
};

/// A training's source.
pub const SOURCE: Words = Words {
    model: Some("--source-model"),
    embedding: None,
    prefix: Some("--source-prefix"),
    ignore: Some("--source-ignore"),
    map: Some("--source-map"),
    allow_missing: None,
};

/// The weights that a training starts from.
pub const PRETRAINED: Words = Words {
    prefix: Some("--pretrained-prefix"),
    ignore: Some("--pretrained-ignore"),
    map: Some("--pretrained-map"),
    allow_missing: Some("--pretrained-allow-missing"),
    ..IMPORT
};

/// Commands that open a file, and choose none of its keys.
pub const OPENED: Words = Words { prefix: None, ignore: None, map: None, ..IMPORT };

impl Words {
    fn flag(&self, choice: Choice) -> Option<&'static str> {
        match choice {
            Choice::Model => self.model,
            Choice::Embedding => self.embedding,
            Choice::Prefix => self.prefix,
            Choice::Ignore => self.ignore,
            Choice::Map => self.map,
            Choice::AllowMissing => self.allow_missing,
        }
    }

    /// A flag, and whether it is one of `retort checkpoint import` alone.
    fn name(&self, choice: Choice, elsewhere: &mut bool) -> &'static str {
        let own = self.flag(choice);
        *elsewhere |= own.is_none();
        own.or(IMPORT.flag(choice)).unwrap_or_default()
    }
}

/// Why a file isn't used, with what to type.
pub fn failure(e: CheckpointError, words: &Words) -> Failure {
    match &e {
        CheckpointError::Mismatch { misfit, .. } => {
            Failure::usage(format!("{e}{}", advice(misfit, words)))
        }
        CheckpointError::Network { .. } => Failure::usage(e),
        _ => Failure::new(e),
    }
}

impl From<CheckpointError> for Failure {
    fn from(e: CheckpointError) -> Self {
        failure(e, &IMPORT)
    }
}

fn advice(misfit: &Misfit, words: &Words) -> String {
    let mut elsewhere = false;
    let remedies: Vec<String> =
        misfit.remedies.iter().map(|remedy| what(remedy, words, &mut elsewhere)).collect();
    if remedies.is_empty() {
        return String::new();
    }
    let import = " (flags of `retort checkpoint import`, whose file can be used here)";
    format!(": {}{}", remedies.join("; "), if elsewhere { import } else { "" })
}

fn what(remedy: &Remedy, words: &Words, elsewhere: &mut bool) -> String {
    let mut flag = |choice| words.name(choice, elsewhere);
    match remedy {
        Remedy::Prefix => format!("choose one with {}", flag(Choice::Prefix)),
        Remedy::Model(None) => format!("name the network with {}", flag(Choice::Model)),
        Remedy::Model(Some(name)) => format!("{} {name}", flag(Choice::Model)),
        Remedy::Embedding(size) => format!("{} {size}", flag(Choice::Embedding)),
        Remedy::Map { layer, outputs } => {
            let flag = flag(Choice::Map);
            format!("{flag} '{}=embedding' takes its layer of {outputs} outputs", shown(layer))
        }
        Remedy::FreshEmbedding => {
            format!("{} 'embedding.*' starts one afresh", flag(Choice::AllowMissing))
        }
        Remedy::Fresh => {
            format!("{} PATTERN starts missing layers afresh", flag(Choice::AllowMissing))
        }
        Remedy::FewerFresh => format!("name fewer with {}", flag(Choice::AllowMissing)),
        Remedy::Ignore(patterns) => {
            let flag = flag(Choice::Ignore);
            let each = patterns.iter().map(|pattern| format!("{flag} '{}'", shown(pattern)));
            let each: Vec<String> = each.collect();
            format!("{} leaves out what the network lacks", each.join(" "))
        }
        Remedy::OneOfTwo => {
            let (ignore, map) = (flag(Choice::Ignore), flag(Choice::Map));
            format!("leave one out with {ignore}, or name another with {map}")
        }
        Remedy::Unsaid(choices) => {
            // What isn't a flag here can't have been typed.
            let typed: Vec<&str> =
                choices.iter().filter_map(|choice| words.flag(*choice)).collect();
            format!("leave {} out", typed.join(", "))
        }
    }
}
