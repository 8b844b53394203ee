//! The attacks of `hostile`, what each must end in, and how they are run.

mod attacks;
mod memory;
mod run;
pub mod wat;

pub use attacks::attacks;
pub use memory::Memory;
pub use run::{Ended, Place, Program, base, run, table, watched};

use crate::built;
use std::path::{Path, PathBuf};

/// Something a pack does that the host must survive.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a table's columns")]
pub struct Attack {
    /// Its name.
    pub name: &'static str,
    /// What does it.
    pub code: Code,
    /// Hyperparameters, `key=value` with blanks between: one entry for each of its ways.
    pub ways: Vec<String>,
    /// What the sentence at the end must say: one of these.
    pub says: &'static [&'static str],
    /// Limits of the step, as hyperparameters; lower than the defaults, so that the corpus is quick.
    pub limits: &'static str,
    /// Seconds until it has ended, whatever it tried.
    pub seconds: f64,
    /// Mebibytes that the process may take beyond those it takes for a loss that behaves.
    pub mebibytes: u64,
    /// Whether it strikes in a training only: in a later step, or in what follows the loss.
    pub trains: bool,
    /// Whether a GPU could take it otherwise than the CPU.
    pub gpu: bool,
    /// Whether only the sandbox can stop it: native code is trusted.
    pub sandbox_only: bool,
    /// Whether 64-bit floats could take it otherwise.
    pub wide: bool,
}

/// What holds an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A loss of the pack `hostile`, in all its forms.
    Loss(&'static str),
    /// A component made by hand.
    Wat,
}

/// An attack on one load path, in one of its ways.
#[derive(Clone, Debug)]
pub struct Job {
    /// The attack.
    pub attack: Attack,
    /// `native` or `wasm`.
    pub path: &'static str,
    /// `FILE#LOSS`.
    pub loss: String,
    /// Its hyperparameters.
    pub way: String,
    /// `f32` or `f64`.
    pub dtype: &'static str,
}

impl std::fmt::Display for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {}", self.attack.name, self.path, self.dtype)?;
        if !self.way.is_empty() {
            write!(f, ", {}", self.way)?;
        }
        f.write_str(")")
    }
}

/// The pack's name.
pub const PACK: &str = "snapshots/hostile";

/// Every attack on every path it can take. Components made by hand are written into `folder`.
///
/// # Panics
/// If the pack can't be built, or an attack isn't there.
pub fn jobs(folder: &Path) -> Vec<Job> {
    let built = built(PACK);
    let file = |form: &Option<PathBuf>| form.as_ref().map(|p| p.display().to_string());
    let (Some(native), Some(wasm)) = (file(&built.native), file(&built.wasm)) else {
        panic!("{PACK}: both forms were asked for");
    };
    let mut out = Vec::new();
    for attack in attacks() {
        let paths = match attack.code {
            Code::Loss(loss) => {
                let native = ("native", format!("{native}#{loss}"));
                let wasm = ("wasm", format!("{wasm}#{loss}"));
                if attack.sandbox_only { vec![wasm] } else { vec![native, wasm] }
            }
            Code::Wat => {
                let path = folder.join(attack.name).with_extension("wasm");
                if !path.exists() {
                    let bytes = wat::assemble(attack.name);
                    std::fs::write(&path, bytes).unwrap_or_else(|e| panic!("{e}"));
                }
                vec![("wasm", format!("{}#attack", path.display()))]
            }
        };
        for (path, loss) in paths {
            for way in &attack.ways {
                let dtypes: &[_] = match (path, attack.wide) {
                    ("native", true) => &["f32", "f64"],
                    _ => &["f32"],
                };
                out.extend(dtypes.iter().map(|&dtype| Job {
                    attack: attack.clone(),
                    path,
                    loss: loss.clone(),
                    way: way.clone(),
                    dtype,
                }));
            }
        }
    }
    out
}
