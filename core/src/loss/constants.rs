//! Values that are the same in every step (identity matrices, ranges, the plugin's own numbers, and what is
//! made of these alone): computed once, and kept while steps use them.

use super::node::Value;
use retort_sdk::Op;
use std::collections::HashMap;

/// Bytes of all kept values together.
const MOST_BYTES: u64 = 64 << 20;
/// Numbers of one operation that is known again.
const MOST_ATTRIBUTES: usize = 1024;

/// An operation, by what it is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    op: Op,
    attributes: Vec<u64>,
    operands: Vec<u64>,
}

#[derive(Debug)]
struct Known {
    number: u64,
    /// In this step or the one before.
    asked: bool,
}

#[derive(Debug)]
struct Kept {
    value: Value,
    bytes: u64,
    /// In this step or the one before.
    used: bool,
}

/// The constants of one loss.
#[derive(Debug, Default)]
pub(crate) struct Constants {
    known: HashMap<Key, Known>,
    newest: u64,
    kept: HashMap<u64, Kept>,
    bytes: u64,
}

impl Constants {
    /// A new step: what the last one didn't use is forgotten.
    pub(crate) fn turn(&mut self) {
        self.known.retain(|_, known| std::mem::take(&mut known.asked));
        self.kept.retain(|_, kept| std::mem::take(&mut kept.used));
        self.bytes = self.kept.values().map(|kept| kept.bytes).sum();
    }

    /// Bytes that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number of an operation on constants; the same operation has the same in every step.
    pub(crate) fn number(&mut self, op: Op, attributes: &[f64], operands: Vec<u64>) -> Option<u64> {
        if attributes.len() > MOST_ATTRIBUTES {
            return None;
        }
        let attributes = attributes.iter().map(|x| x.to_bits()).collect();
        let known = self.known.entry(Key { op, attributes, operands }).or_insert_with(|| {
            self.newest += 1;
            Known { number: self.newest, asked: false }
        });
        known.asked = true;
        Some(known.number)
    }

    /// Its value, if it is kept.
    pub(crate) fn value(&mut self, number: u64) -> Option<Value> {
        let kept = self.kept.get_mut(&number)?;
        kept.used = true;
        Some(kept.value.clone())
    }

    /// Keeps its value, if there is room.
    pub(crate) fn keep(&mut self, number: u64, value: &Value, bytes: u64) {
        if self.bytes.saturating_add(bytes) <= MOST_BYTES {
            self.bytes += bytes;
            self.kept.insert(number, Kept { value: value.clone(), bytes, used: true });
        }
    }
}
