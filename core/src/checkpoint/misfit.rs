//! Why a file's tensors aren't a network's, and what would make them so: as facts, which whoever asks for the
//! file puts into the words of its own options.

use std::fmt;

/// Why a file doesn't fit a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfit {
    /// What is wrong: missing, unexpected and wrong-shaped tensors, the first ten and counts; and the like.
    pub fault: String,
    /// What would make it fit: all of these, or where several would, any.
    pub remedies: Vec<Remedy>,
}

/// An option of [`OpenOptions`](super::OpenOptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The network's name.
    Model,
    /// Dimensions of the embedding.
    Embedding,
    /// What stands before the network's keys.
    Prefix,
    /// Keys to leave out.
    Ignore,
    /// Another name for a layer.
    Map,
    /// Keys that the file may lack.
    AllowMissing,
}

/// Something that would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// To choose one of several networks by its prefix.
    Prefix,
    /// To name the network: this one, if its keys look like it.
    Model(Option<String>),
    /// To ask for this many dimensions of the embedding.
    Embedding(usize),
    /// To take a layer of so many outputs as the embedding.
    Map {
        /// Its name in the file.
        layer: String,
        /// Its outputs.
        outputs: usize,
    },
    /// To let the embedding layer start afresh.
    FreshEmbedding,
    /// To let missing layers start afresh.
    Fresh,
    /// To let fewer layers start afresh.
    FewerFresh,
    /// To leave out what these patterns name, which the network lacks.
    Ignore(Vec<String>),
    /// To leave out one of two layers, or to name another as the network's.
    OneOfTwo,
    /// Not to say these: the file says them itself.
    Unsaid(Vec<Choice>),
}

impl Misfit {
    /// One with nothing that would help.
    pub(super) fn new(fault: impl Into<String>) -> Self {
        Misfit { fault: fault.into(), remedies: Vec::new() }
    }

    /// With something that would.
    pub(super) fn or(mut self, remedy: Remedy) -> Self {
        self.remedies.push(remedy);
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault)
    }
}

impl From<String> for Misfit {
    fn from(fault: String) -> Self {
        Misfit::new(fault)
    }
}
