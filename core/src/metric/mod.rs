//! How good embeddings are at retrieval.

mod nearest;
mod recall;

pub use nearest::{Neighbour, nearest};
pub use recall::{Embeddings, RecallError, recall_at};
