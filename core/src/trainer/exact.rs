//! Numbers in a checkpoint's JSON.

use serde::{Deserialize, Serialize};

/// A number that comes back from JSON bit for bit: the fewest digits that tell it from all others.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Exact(pub f64);

impl From<Exact> for String {
    fn from(x: Exact) -> String {
        x.0.to_string()
    }
}

impl TryFrom<String> for Exact {
    type Error = std::num::ParseFloatError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Exact)
    }
}
