//! Which numbers an experiment may have: what lies beyond is a slip, or somebody's try to take the
//! machine down, and is told before anything is allocated. The recipe's own are in
//! [`Recipe::check`](retort_core::Recipe::check), a network's in the network.

use crate::experiment::{Data, Experiment};
use crate::failure::{Failure, Result};

/// Most entries of `recall_at`, and the greatest.
const KS: usize = 1000;
const K: usize = 1_000_000;
/// Width and height of a network's input, in pixels, as data sets have them.
const SIZE: std::ops::RangeInclusive<usize> = 8..=1024;
/// Most bytes of a batch's pictures, one a colour.
const BATCH: u128 = 8 << 30;

/// Refuses an experiment with a number that makes no sense; the message names its key.
pub fn check(experiment: &Experiment) -> Result<()> {
    let recipe = &experiment.train;
    recipe.check().map_err(|e| Failure::usage(format!("train: {e}")))?;
    data(&experiment.data)?;
    experiment.clone().resolve()?;
    experiment.limits.check().map_err(Failure::usage)?;
    recall_at(&experiment.recall_at)?;
    for (i, loss) in experiment.loss.iter().enumerate() {
        if !loss.weight.is_finite() {
            return Err(wrong(&format!("loss.{i}.weight"), short(loss.weight), "a finite number"));
        }
        if let Some(factor) = loss.lr_factor.filter(|x| !(x.is_finite() && *x >= 0.0)) {
            let key = format!("loss.{i}.lr_factor");
            return Err(wrong(&key, short(factor), "a number of at least 0"));
        }
    }
    let (rows, size) = (recipe.batch as u128 * recipe.views as u128, experiment.data.size()?);
    let bytes = 3 * rows * (size as u128).pow(2);
    if bytes > BATCH {
        return Err(Failure::usage(format!(
            "train.batch = {} with train.views = {} and data.size = {size}: a batch would have {bytes} \
             bytes of pictures, more than {BATCH}; make one of them smaller",
            recipe.batch, recipe.views
        )));
    }
    Ok(())
}

/// The same for a data set alone.
pub fn data(data: &Data) -> Result<()> {
    if data.size != 0 && !SIZE.contains(&data.size) {
        let is = format!("{} to {} pixels, or 0 for the usual size", SIZE.start(), SIZE.end());
        return Err(wrong("data.size", data.size, &is));
    }
    data.clone().resolve()?;
    let share = data.validation_classes;
    if !(0.0..1.0).contains(&share) {
        let is = "a share of the training classes, from 0 to below 1";
        return Err(wrong("data.validation_classes", short(share), is));
    }
    Ok(())
}

fn recall_at(ks: &[usize]) -> Result<()> {
    if ks.is_empty() || ks.len() > KS {
        let n = ks.len();
        return Err(Failure::usage(format!("recall_at has {n} entries: it must have 1 to {KS}")));
    }
    match ks.iter().find(|k| !(1..=K).contains(*k)) {
        Some(k) => Err(wrong("recall_at", k, &format!("numbers of neighbours, 1 to {K}"))),
        None => Ok(()),
    }
}

/// A number without hundreds of digits.
fn short(x: f64) -> String {
    format!("{x:?}")
}

fn wrong(key: &str, value: impl std::fmt::Display, is: &str) -> Failure {
    Failure::usage(format!("{key} = {value}: it must be {is}"))
}
