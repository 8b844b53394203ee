//! Pictures whose files are damaged, but could be read all the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What was found so far, by sample.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage(Arc<Mutex<BTreeMap<usize, String>>>);

impl Damage {
    /// Where a sample's damage is noted, by whoever decodes it.
    pub fn of(&self, sample: usize, file: String) -> Note {
        Note { damage: self.clone(), sample, file }
    }

    /// Each sample's file and what is wrong with it, in the order of the split.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A sample's place among them.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    damage: Damage,
    sample: usize,
    file: String,
}

impl Note {
    pub fn add(&self, problem: &str) {
        let mut all = self.damage.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(self.sample).or_insert_with(|| format!("{}: {problem}", self.file));
    }
}
