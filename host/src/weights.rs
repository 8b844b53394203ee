//! Networks from checkpoints, for the commands that only look at them.

use crate::failure::{Failure, Result};
use burn::tensor::Device;
use retort_core::backbone;
use retort_core::checkpoint::{self, Checkpoint};
use retort_core::trainer::checkpoint_in;
use std::path::Path;

/// Loads the network of a run folder or a checkpoint. `model` says which network it is where the
/// checkpoint doesn't; where it does, another one is an error.
pub fn load(path: &Path, model: Option<&str>, device: &Device) -> Result<Checkpoint> {
    if let Some(model) = model {
        backbone::find(model).map_err(|e| Failure::usage(format!("--model: {e}")))?;
    }
    let file = checkpoint_in(path);
    let loaded = checkpoint::load(&file, device).map_err(Failure::new)?;
    match model {
        Some(model) if model != loaded.network.name => Err(Failure::usage(format!(
            "{} holds the network {}, not {model}: leave --model out, or name the right checkpoint",
            file.display(),
            loaded.network.name
        ))),
        _ => Ok(loaded),
    }
}
