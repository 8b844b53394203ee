//! Copies of the network every so many epochs, of which the newest are kept.

use super::super::Trainer;
use std::path::PathBuf;

/// A copy to write.
pub(super) struct Copy {
    pub path: PathBuf,
    /// An older one, which goes when this one is there.
    pub replaces: Option<PathBuf>,
}

impl Trainer {
    /// The copy that the recipe wants at the end of this epoch, counted from 1.
    pub(super) fn copy_due(&self, epoch: usize) -> Option<Copy> {
        let (every, keep) = (self.recipe.checkpoint_every, self.recipe.keep);
        let due = every > 0 && epoch.is_multiple_of(every);
        let old = epoch.checked_sub(keep.saturating_mul(every)).filter(|_| keep > 0);
        let path = |epoch| self.checkpoint.with_file_name(format!("epoch-{epoch:04}.safetensors"));
        due.then(|| Copy { path: path(epoch), replaces: old.map(path) })
    }
}
