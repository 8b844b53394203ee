//! A loss that misbehaves.

use retort_sdk::prelude::*;

choice! {
    /// What it keeps, or writes.
    pub enum What {
        Once = "once",
        OnceMany = "once_many",
        Param = "param",
        Buffer = "buffer",
        ParamGrows = "param_grows",
        BufferGrows = "buffer_grows",
        ParamMany = "param_many",
        SetWrong = "set_wrong",
        SetUnknown = "set_unknown",
        RowsWrong = "rows_wrong",
        RowsFew = "rows_few",
        RowsLate = "rows_late",
        LogMatrix = "log_matrix",
        LongName = "long_name",
        LongLog = "long_log",
        LongInput = "long_input",
        EscapeName = "escape_name",
    }
}

hyper! {
    /// Keeps what it may not keep, or not then, or not under that name.
    pub struct Keeps {
        /// What it keeps.
        what: What = What::Once,
        /// From which epoch on.
        from: usize = 1,
    }
}

impl Loss for Keeps {
    fn loss(&self, step: &Step) -> Tensor {
        let x = step.target();
        let good = x.square().mean();
        let late = usize::from(step.epoch() >= self.from);
        let new = |name: &str| step.param(name, [2], Init::Zeros).sum();
        match self.what {
            What::Once if late == 1 => good + step.once("late", x).sum(),
            What::OnceMany => {
                (0..100_000).fold(good, |sum, i| sum + step.once(&format!("o{i}"), x).sum())
            }
            What::Param if late == 1 => good + new("late"),
            What::Buffer if late == 1 => {
                good + step.buffer("late", [2], Init::Zeros).get().sum()
            }
            What::ParamGrows => good + step.param("p", [2 + late], Init::Zeros).sum(),
            What::BufferGrows => good + step.buffer("b", [2 + late], Init::Zeros).get().sum(),
            What::ParamMany => (0..100_000).fold(good, |sum, i| sum + new(&format!("p{i}"))),
            What::SetWrong => {
                step.buffer("b", [2], Init::Zeros).set(x);
                good
            }
            What::SetUnknown => {
                step.buffer("b", [6, 4], Init::Zeros);
                step.once("kept", x);
                step.buffer("c", [6, 4], Init::Zeros).set(x.slice(0, 0..5));
                good
            }
            What::RowsWrong => {
                let bank = step.buffer("b", [6, 3], Init::Zeros);
                bank.set_rows(step.range(0..6), x);
                good
            }
            What::RowsFew => {
                let bank = step.buffer("b", [6, 4], Init::Zeros);
                bank.set_rows(step.range(0..5), x);
                good
            }
            What::RowsLate => {
                let bank = step.buffer("b", [64, x.dim(1)], Init::Zeros);
                let places = step.range(0..x.dim(0)).plus(step.constant_index([1], &[late as i64 * 1000]));
                bank.set_rows(places, x);
                good
            }
            What::LogMatrix => {
                step.log("matrix", x);
                good
            }
            What::LongName => good + new(&"long".repeat(1 << 18)),
            What::LongLog => {
                step.log(&"long".repeat(1 << 18), good);
                good
            }
            What::LongInput => good + step.once(&"long".repeat(1 << 18), x).sum(),
            What::EscapeName => {
                let name = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}";
                good + step.param(name, [0], Init::Zeros).sum()
            }
            _ => good,
        }
    }
}
