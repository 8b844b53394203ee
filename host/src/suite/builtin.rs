//! The suites of `suites/`, in the program: `retort compare omniglot` needs no clone.

use crate::failure::{Failure, Result};
use retort_core::fs::read_text;
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/suites.rs"));

/// The names, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|(name, _)| *name)
}

/// A suite's text: a file's, else that of the built-in one of this name.
pub fn text(suite: &Path) -> Result<String> {
    let text = SUITES.iter().find(|(name, _)| suite == Path::new(name));
    if let Some((_, text)) = text.filter(|_| !suite.is_file()) {
        return Ok((*text).to_owned());
    }
    // A single word without an ending is a name.
    if suite.components().count() == 1 && suite.extension().is_none() && !suite.exists() {
        return Err(Failure::usage(format!(
            "there is no suite {}: name a file, or one of {}",
            suite.display(),
            names().collect::<Vec<_>>().join(", ")
        )));
    }
    read_text(suite, 16 << 20).map_err(|e| Failure::file("read the suite", suite, e))
}
