//! Held-out classes are the same pictures under new labels; a loader that starts late gives what it
//! would have given.

use std::sync::Arc;

use crate::common::assert_says;
use retort_datasets::{
    BalancedSampler, Batch, Dataset, Loader, Options, Sampler, Split, find, hold_out, open,
};

fn glyphs() -> Arc<dyn Dataset> {
    let options = Options::default().with("classes", 20).with("images", 4);
    open("glyphs", Split::Train, &options).unwrap().into()
}

#[test]
fn held_out_classes_are_the_last_ones_and_nothing_is_lost() {
    let whole = glyphs();
    let (train, validation) = hold_out(&whole, 0.3).unwrap();
    assert_eq!([train.classes().len(), validation.classes().len()], [7, 3]);
    assert_eq!([train.classes(), validation.classes()].concat(), whole.classes());
    assert_eq!(train.len() + validation.len(), whole.len());
    assert!(validation.labels().iter().all(|&label| label < 3));
    for (i, &label) in validation.labels().iter().enumerate() {
        let at = (0..whole.len()).find(|&j| whole.describe(j) == validation.describe(i)).unwrap();
        assert_eq!(whole.classes()[whole.labels()[at]], validation.classes()[label]);
        assert!(whole.image(at).unwrap() == validation.image(i).unwrap());
    }
}

#[test]
fn shares_that_leave_nothing_are_refused() {
    let whole = glyphs();
    for share in [0.0, 1.0, -0.2, 7.0, f64::NAN] {
        let error = hold_out(&whole, share).err().unwrap();
        assert_says(&error, &["validation_classes", "between 0 and 1"]);
    }
    for share in [0.05, 0.95] {
        let error = hold_out(&whole, share).err().unwrap();
        assert_says(&error, &["of 10 classes", "at least 2"]);
    }
}

#[test]
fn a_loader_that_starts_late_gives_what_it_would_have_given() {
    let whole = glyphs();
    let sampler = BalancedSampler::new(whole.labels(), 6, 3, 5).unwrap();
    let batches = Sampler::epoch(&sampler, 2);
    for workers in [0, 1, 3] {
        let load = || {
            let transform = (find("glyphs").unwrap().augmentation)(32);
            let dataset = whole.clone();
            let loader = Loader { dataset, transform, views: 2, channels: 3, seed: 5, workers };
            loader.epoch(2, batches.clone())
        };
        let all: Vec<Batch> = load().map(Result::unwrap).collect();
        for skipped in [0, 1, 4, all.len()] {
            let late: Vec<Batch> = load().skip(skipped).map(Result::unwrap).collect();
            assert!(late == all[skipped..], "{workers} workers, {skipped} batches skipped");
        }
        assert!(load().nth(all.len() + 7).is_none());
    }
}
