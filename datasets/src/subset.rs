//! Some classes or samples of a split, as a split of their own.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{DataError, Dataset, Image, Picture, Transform};

/// The samples of some classes of a data set; labels count from 0 again.
struct Subset {
    whole: Arc<dyn Dataset>,
    classes: Vec<String>,
    /// The first class's number in the whole.
    first: usize,
    labels: Vec<usize>,
    /// Each sample's number in the whole.
    samples: Vec<usize>,
}

impl Subset {
    fn of(whole: &Arc<dyn Dataset>, classes: Range<usize>) -> Arc<dyn Dataset> {
        let kept = whole.labels().iter().enumerate().filter(|(_, label)| classes.contains(label));
        let (samples, labels) = kept.map(|(i, label)| (i, label - classes.start)).unzip();
        let first = classes.start;
        let names = whole.classes()[classes].to_vec();
        Arc::new(Subset { whole: whole.clone(), classes: names, first, labels, samples })
    }
}

impl Dataset for Subset {
    fn name(&self) -> &str {
        self.whole.name()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        self.whole.describe(self.samples[i])
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        self.whole.image(self.samples[i])
    }

    fn picture(&self, i: usize) -> Result<Picture, DataError> {
        self.whole.picture(self.samples[i])
    }

    fn file(&self, i: usize) -> Option<PathBuf> {
        self.whole.file(self.samples[i])
    }

    fn class_id(&self, class: usize) -> usize {
        self.whole.class_id(self.first + class)
    }

    fn super_labels(&self) -> Option<&[usize]> {
        Some(&self.whole.super_labels()?[self.first..][..self.classes.len()])
    }

    fn evaluation(&self) -> Arc<dyn Transform> {
        self.whole.evaluation()
    }

    fn skip(&self, i: usize, error: &DataError) -> bool {
        self.whole.skip(self.samples[i], error)
    }

    fn skipped(&self) -> Vec<String> {
        self.whole.skipped()
    }

    fn remarks(&self) -> Vec<String> {
        self.whole.remarks()
    }

    fn damaged(&self) -> Vec<String> {
        self.whole.damaged()
    }
}

/// Some samples of a data set, by their numbers there; classes and labels stay.
pub fn some_samples(whole: &Arc<dyn Dataset>, samples: Vec<usize>) -> Arc<dyn Dataset> {
    let labels = samples.iter().map(|&i| whole.labels()[i]).collect();
    let (whole, classes) = (whole.clone(), whole.classes().to_vec());
    Arc::new(Subset { whole, classes, first: 0, labels, samples })
}

/// What stays to train on, and what was held out.
type Halves = (Arc<dyn Dataset>, Arc<dyn Dataset>);

/// The training split without its last classes, and those: a share of the classes, to choose the best
/// epoch on without looking at the test classes.
///
/// By class, because the test asks for classes that the network has never seen: Musgrave, Belongie &
/// Lim, "A Metric Learning Reality Check", ECCV 2020. The same classes for every seed and every
/// training, so that runs can be compared.
pub fn hold_out(train: &Arc<dyn Dataset>, share: f64) -> Result<Halves, DataError> {
    let error = |problem: String, advice: &str| {
        Err(DataError::option("validation_classes", problem, advice))
    };
    if !(share > 0.0 && share < 1.0) {
        return error(
            format!("{share} is no share of the classes"),
            "Ask for one between 0 and 1, such as 0.2",
        );
    }
    let all = train.classes().len();
    let held = (share * all as f64).round() as usize;
    if held < 2 || all - held < 2 {
        return error(
            format!(
                "{share} of {all} classes leaves {} to train on and {held} to validate",
                all - held
            ),
            "Each needs at least 2: ask for another share, or use more data",
        );
    }
    Ok((Subset::of(train, 0..all - held), Subset::of(train, all - held..all)))
}
