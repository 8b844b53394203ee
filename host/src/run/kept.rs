//! The plugins that a run keeps: the bytes of each file whose losses it trains with, named by their
//! digest, so that whoever has the run's folder can repeat it.

use crate::experiment::{Experiment, LossConfig};
use crate::failure::{Failure, Result};
use crate::plugin::registry::Registry;
use crate::plugin::{Origin, Pack, digest};
use crate::run::claim::Claim;
use retort_core::fs::{atomic_write, read_regular};
use std::path::{Path, PathBuf};

/// Their folder in a run's.
pub const FOLDER: &str = "plugins";

/// A pack's file; none for the one that is linked in.
fn file(pack: &Pack) -> Option<&Path> {
    match &pack.origin {
        Origin::BuiltIn => None,
        Origin::Native(path) | Origin::Component(path) => Some(path),
    }
}

/// Where a run keeps a plugin: `plugins/DIGEST.wasm`.
fn place(digest: &str, file: &Path) -> PathBuf {
    let name = PathBuf::from(digest.trim_start_matches("sha256:"));
    let extension = file.extension().unwrap_or_default();
    Path::new(FOLDER).join(name).with_extension(extension)
}

/// Writes each loss's digest into the experiment, if it comes from a file.
pub fn note(loss: &mut LossConfig, pack: &Pack) {
    loss.digest = file(pack).map(|_| pack.digest.clone());
}

/// Keeps the files of these packs in a run's folder; a new one's claim takes them back if nothing comes
/// of it.
pub fn keep(folder: &Path, packs: &[Pack], mut claim: Option<&mut Claim>) -> Result<()> {
    for pack in packs {
        let Some(file) = file(pack) else { continue };
        let place = place(&pack.digest, file);
        let path = folder.join(&place);
        if path.symlink_metadata().is_ok() {
            continue;
        }
        let bytes = read_regular(file, u64::MAX).map_err(|e| Failure::file("read", file, e))?;
        if digest(&bytes) != pack.digest {
            return Err(Failure::new(format!(
                "{} was written to while it was being loaded: train again",
                file.display()
            )));
        }
        if let Some(claim) = &mut claim {
            claim.write(&place, &bytes)?;
        } else {
            let dir = folder.join(FOLDER);
            std::fs::create_dir_all(&dir).map_err(|e| Failure::file("make", &dir, e))?;
            atomic_write(&path, &bytes).map_err(Failure::new)?;
        }
    }
    Ok(())
}

/// Refuses an experiment that names a digest which its loss's file doesn't have.
pub fn check(experiment: &Experiment, registry: &mut Registry) -> Result<()> {
    for loss in &experiment.loss {
        let Some(wanted) = &loss.digest else { continue };
        let (name, _) = loss.name.rsplit_once('#').unwrap_or((&loss.name, ""));
        let kept = place(wanted, Path::new(name));
        let remedy = format!(
            "the run that this configuration is from keeps what it trained with as {}: name that file, or take \
             the loss's `digest` out of the configuration to train with another one",
            kept.display()
        );
        let found =
            registry.find(&loss.name).map_err(|e| Failure::usage(format!("{e}. {remedy}")))?;
        if found.pack.digest != *wanted {
            return Err(Failure::usage(format!(
                "{name} isn't the file that this experiment names: its digest is {}, not {wanted}; {remedy}",
                found.pack.digest
            )));
        }
    }
    Ok(())
}
