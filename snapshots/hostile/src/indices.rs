//! A loss that misbehaves.

use retort_sdk::prelude::*;

choice! {
    /// Who is given the index.
    pub enum Of {
        Rows = "rows",
        Gather = "gather",
        GatherIndex = "gather_index",
        OneHot = "one_hot",
        SetRows = "set_rows",
    }
}

choice! {
    /// How the index is made.
    pub enum Made {
        Constant = "constant",
        Added = "added",
        Modulo = "modulo",
        Drawn = "drawn",
        Range = "range",
        Joined = "joined",
        Sorted = "sorted",
        Labels = "labels",
        Contrast = "contrast",
    }
}

hyper! {
    /// Looks up a place that doesn't exist: there are six rows.
    pub struct Indices {
        /// Who is given the index.
        of: Of = Of::Rows,
        /// How the index is made.
        made: Made = Made::Constant,
        /// The place.
        at: f64 = 6.0,
    }
}

impl Loss for Indices {
    fn loss(&self, step: &Step) -> Tensor {
        let (x, at) = (step.target(), self.at as i64);
        let one = |i| step.constant_index([1], &[i]);
        let index = match self.made {
            Made::Constant => one(at),
            Made::Added => one(at / 2).plus(one(at - at / 2)),
            Made::Modulo => one(-1).modulo((self.at + 1.0) as usize),
            Made::Drawn => step.random_index([64], at as usize),
            Made::Range => step.range(0..at as usize + 1),
            Made::Joined => one(0).cat(0, one(at)),
            Made::Sorted => step.random_uniform([at as usize]).argsort(0),
            Made::Labels => step.labels().plus(one(at)),
            Made::Contrast => step.contrast(at as usize, Negatives::Uniform).flat(),
        };
        let looked_up = match self.of {
            Of::Rows => x.rows(index),
            Of::Gather => x.slice(1, 0..1).gather(0, index.column()),
            Of::GatherIndex => step.labels().gather(0, index).float(),
            Of::OneHot => index.one_hot(x.dim(0)),
            Of::SetRows => {
                let bank = step.buffer("bank", [6, 4], Init::Zeros);
                bank.set_rows(index, step.random_uniform([index.len(), 4]));
                bank.get()
            }
        };
        looked_up.sum() + x.sum()
    }
}
