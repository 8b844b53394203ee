//! The network of the best evaluation.

use super::super::{TrainError, Trainer};
use crate::backbone::Backbone;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The evaluation with the highest Recall at the smallest K.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Recall at the smallest K.
    pub recall: f64,
    /// Evaluations since then.
    pub since: usize,
}

impl Trainer {
    /// The file of the best evaluation's network, beside the checkpoint.
    pub fn best_checkpoint(&self) -> PathBuf {
        self.checkpoint.with_file_name("best.safetensors")
    }

    /// Writes this network, if its Recall@K is higher than all before.
    pub(in crate::trainer) fn save_if_best(
        &mut self,
        network: &Backbone,
        recall: &BTreeMap<usize, f64>,
    ) -> Result<(), TrainError> {
        let Some(&value) = recall.values().next() else { return Ok(()) };
        match &mut self.state.best {
            Some(best) if value <= best.recall => {
                best.since += 1;
                Ok(())
            }
            best => {
                *best = Some(Best { epoch: self.state.epoch + 1, recall: value, since: 0 });
                self.write(self.best_checkpoint(), network, None, None)
            }
        }
    }

    /// Whether the recipe's number of evaluations went by without a better one.
    pub(in crate::trainer) fn out_of_patience(&self) -> bool {
        let patience = self.recipe.patience;
        patience > 0 && self.state.best.is_some_and(|best| best.since >= patience)
    }
}
