//! How good embeddings are at retrieval.

mod recall;

pub use recall::{Embeddings, RecallError, recall_at};
