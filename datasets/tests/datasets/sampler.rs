//! Batches are balanced, without needless repeats, and a function of seed and epoch.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::assert_says;
use retort_datasets::{BalancedSampler, RandomSampler, Sampler, SuperClassSampler};

/// `sizes[c]` samples of class `c`, interleaved.
fn labels(sizes: &[usize]) -> Vec<usize> {
    let most = sizes.iter().max().copied().unwrap_or(0);
    (0..most).flat_map(|i| (0..sizes.len()).filter(move |&c| i < sizes[c])).collect()
}

#[test]
fn every_batch_holds_different_images_of_different_classes() {
    let labels = labels(&[7, 5, 12, 9, 6, 5, 20]);
    let sampler = BalancedSampler::new(&labels, 15, 5, 3).unwrap();
    assert_eq!(sampler.batches_per_epoch(), labels.len() / 15);
    for epoch in 0..50 {
        let batches = sampler.epoch(epoch);
        assert_eq!(batches.len(), sampler.batches_per_epoch());
        for batch in batches {
            assert_eq!(batch.len(), 15);
            assert_eq!(batch.iter().collect::<BTreeSet<_>>().len(), 15, "repeats in {batch:?}");
            let classes: Vec<BTreeSet<usize>> =
                batch.chunks(5).map(|group| group.iter().map(|&i| labels[i]).collect()).collect();
            assert!(classes.iter().all(|group| group.len() == 1), "not class after class");
            assert_eq!(classes.iter().collect::<BTreeSet<_>>().len(), 3, "a class comes twice");
        }
    }
}

#[test]
fn no_class_and_no_image_comes_again_before_all_have_come() {
    let labels = labels(&[6; 10]);
    let batches = BalancedSampler::new(&labels, 6, 3, 0).unwrap().epoch(0);
    assert_eq!(batches.len(), 10);
    let mut drawn = batches.concat();
    let first_half: BTreeSet<usize> = drawn[..30].iter().map(|&i| labels[i]).collect();
    assert_eq!(first_half.len(), 10);
    drawn.sort_unstable();
    assert_eq!(drawn, (0..60).collect::<Vec<_>>());
}

#[test]
fn only_a_class_that_is_too_small_repeats_images_and_does_so_evenly() {
    let labels = labels(&[2, 8]);
    for batch in BalancedSampler::new(&labels, 10, 5, 0).unwrap().epoch(4) {
        for group in batch.chunks(5) {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for &i in group {
                *counts.entry(i).or_default() += 1;
            }
            let counts: BTreeSet<usize> = counts.into_values().collect();
            match labels[group[0]] {
                0 => assert_eq!(counts, BTreeSet::from([2, 3])),
                _ => assert_eq!(counts, BTreeSet::from([1])),
            }
        }
    }
}

#[test]
fn seed_and_epoch_decide() {
    let labels = labels(&[6; 10]);
    let balanced = |seed| BalancedSampler::new(&labels, 12, 3, seed).unwrap();
    let random = |seed| RandomSampler::new(60, 12, seed).unwrap();
    let all = |seed| BalancedSampler::all_classes(&labels, 12, 3, seed).unwrap();
    let groups = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0];
    let super_class = |seed| SuperClassSampler::new(&labels, &groups, 12, 3, seed).unwrap();
    let samplers: [&dyn Fn(u64) -> Box<dyn Sampler>; 4] = [
        &|seed| Box::new(balanced(seed)),
        &|seed| Box::new(random(seed)),
        &|seed| Box::new(all(seed)),
        &|seed| Box::new(super_class(seed)),
    ];
    for sampler in samplers {
        assert_eq!(sampler(1).epoch(7), sampler(1).epoch(7));
        assert_ne!(sampler(1).epoch(7), sampler(1).epoch(8));
        assert_ne!(sampler(1).epoch(7), sampler(2).epoch(7));
    }
}

#[test]
fn all_classes_come_even_if_they_are_small() {
    let labels = labels(&[2, 3, 2, 2, 3, 2, 2, 9, 2]);
    let classes = |sampler: &BalancedSampler, epoch| -> BTreeSet<usize> {
        sampler.epoch(epoch).concat().into_iter().map(|i| labels[i]).collect()
    };
    let short = BalancedSampler::new(&labels, 8, 4, 1).unwrap();
    let long = BalancedSampler::all_classes(&labels, 8, 4, 1).unwrap();
    assert_eq!((short.batches_per_epoch(), long.batches_per_epoch()), (3, 5));
    for epoch in 0..20 {
        assert_eq!(classes(&short, epoch).len(), 6);
        assert_eq!(classes(&long, epoch).len(), 9);
        assert_eq!(long.epoch(epoch).len(), 5);
        // The same batches first.
        assert_eq!(long.epoch(epoch)[..3], short.epoch(epoch));
    }
}

#[test]
fn batches_of_two_super_classes_hold_as_much_of_each() {
    // Classes 0 to 9 of super-classes with 5, 3 and 2 of them; class 10 in one of its own.
    let labels = labels(&[8; 11]);
    let groups = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3];
    let sampler = SuperClassSampler::new(&labels, &groups, 8, 2, 5).unwrap();
    let mut seen = [0; 4];
    for epoch in 0..40 {
        let batches = Sampler::epoch(&sampler, epoch);
        assert_eq!(batches.len(), 11);
        for batch in batches {
            assert_eq!(batch.iter().collect::<BTreeSet<_>>().len(), 8, "repeats in {batch:?}");
            let classes: BTreeSet<usize> = batch.iter().map(|&i| labels[i]).collect();
            assert_eq!(classes.len(), 4);
            let mut parts: BTreeMap<usize, usize> = BTreeMap::new();
            for class in classes {
                *parts.entry(groups[class]).or_default() += 1;
                seen[groups[class]] += 1;
            }
            // Two and two, unless the one with a single class takes part.
            assert!(parts.values().all(|&n| n <= 2), "{parts:?}");
            assert!(parts.len() == if parts.contains_key(&3) { 3 } else { parts.len() });
        }
    }
    assert!(seen.iter().all(|&n| n > 100), "{seen:?}");

    // Without enough super-classes, one of them gives more.
    let groups = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let sampler = SuperClassSampler::new(&labels, &groups, 8, 2, 5).unwrap();
    for batch in Sampler::epoch(&sampler, 0) {
        let classes: BTreeSet<usize> = batch.iter().map(|&i| labels[i]).collect();
        assert_eq!((batch.len(), classes.len()), (8, 4));
    }
    let error = SuperClassSampler::new(&labels, &[], 8, 2, 5).unwrap_err();
    assert_says(&error, &["belongs to no super-class", "balanced"]);
}

#[test]
fn random_batches_hold_every_image_at_most_once() {
    let sampler = RandomSampler::new(23, 5, 0).unwrap();
    let drawn = sampler.epoch(0).concat();
    assert_eq!((sampler.batches_per_epoch(), drawn.len()), (4, 20));
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 20);
    assert!(drawn.iter().all(|&i| i < 23));
}

#[test]
fn what_cannot_be_sampled_is_refused() {
    let refused = |sizes: &[usize], batch, images_per_class, parts: &[&str]| {
        let error = BalancedSampler::new(&labels(sizes), batch, images_per_class, 0).unwrap_err();
        assert_says(&error, parts);
    };
    refused(&[9], 4, 2, &["one class", "at least 2 classes"]);
    refused(&[4, 4], 10, 2, &["batch of 10", "larger than the data set, which has 8"]);
    refused(&[5, 12, 3], 14, 14, &["class 1", "has 12 images", "14", "at most 12"]);
    refused(&[6, 6], 7, 3, &["batch of 7", "3 images", "A batch of 6 would"]);
    refused(&[6, 6], 3, 3, &["one class only", "at least 6"]);
    refused(&[6, 6], 8, 2, &["needs 4 classes", "there are 2", "at most 4"]);
    refused(&[6, 6], 8, 0, &["0 images"]);
    refused(&[6, 6], 0, 2, &["batch of 0"]);
    refused(&[], 4, 2, &["batch of 4", "which has 0"]);
    assert_says(&RandomSampler::new(3, 4, 0).unwrap_err(), &["batch of 4", "has 3"]);
    assert_says(&RandomSampler::new(3, 0, 0).unwrap_err(), &["batch of 0"]);
}
