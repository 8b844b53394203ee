//! Flags of every command that takes a checkpoint of any origin.

use clap::builder::RangedU64ValueParser;
use clap::{ArgAction, Args};
use retort_core::checkpoint::OpenOptions;

fn pixels() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(8..=1024)
}

/// What a checkpoint that retort didn't write doesn't say itself.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Checkpoints of other origin")]
pub struct Open {
    /// The network in it [default: the one whose keys and shapes it has].
    #[arg(long, value_name = "NETWORK")]
    model: Option<String>,
    /// Dimensions of its embedding [default: those of embedding.weight].
    #[arg(long, value_name = "N")]
    embedding: Option<usize>,
    /// Whether its embeddings are normalised to unit length [default: true].
    #[arg(long, value_name = "BOOL", action = ArgAction::Set)]
    l2_norm: Option<bool>,
    /// Width and height of its pictures [default: 224; 32 for convnet].
    #[arg(long, visible_alias = "size", value_name = "PIXELS", value_parser = pixels())]
    image_size: Option<usize>,
    /// Keys that it may lack, such as 'embedding.*': those layers start afresh.
    #[arg(long, value_name = "PATTERN")]
    allow_missing: Vec<String>,
    /// Seed of layers that start afresh.
    #[arg(long, value_name = "N", default_value_t = 0)]
    init_seed: u64,
}

impl Open {
    /// The same for [`open`](retort_core::checkpoint::open).
    pub fn options(&self) -> OpenOptions {
        OpenOptions {
            model: self.model.clone(),
            embedding: self.embedding,
            l2_norm: self.l2_norm,
            image_size: self.image_size,
            allow_missing: self.allow_missing.clone(),
            seed: self.init_seed,
        }
    }
}
