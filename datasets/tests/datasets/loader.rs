//! Batches come in order, with the same pixels whatever the workers and the cache; what fails ends
//! the epoch or is left out, by choice, and never hangs it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::common::{Numbers, assert_says};
use retort_datasets::{
    Batch, Batches, DataError, Dataset, Identity, Image, Loader, Options, RandomResizedCrop,
    Resize, Split, Transform, evaluation_batches, open,
};

fn load(data: &Arc<dyn Dataset>, workers: usize, n: usize) -> Batches {
    let batches = evaluation_batches(data.len(), n);
    let (dataset, transform) = (data.clone(), Arc::new(Identity));
    Loader { dataset, transform, views: 1, channels: 1, seed: 0, workers }.epoch(0, batches)
}

fn numbers(len: usize, change: fn(&mut Numbers)) -> Arc<dyn Dataset> {
    let mut numbers = Numbers::new(len);
    change(&mut numbers);
    Arc::new(numbers)
}

#[test]
fn a_batch_holds_its_samples_in_order() {
    let data = numbers(10, |_| ());
    for workers in [0, 1, 4] {
        let batches: Vec<Batch> = load(&data, workers, 4).map(Result::unwrap).collect();
        let ids: Vec<Vec<i64>> = batches.iter().map(|batch| batch.ids.clone()).collect();
        assert_eq!(ids, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
        assert_eq!(batches[1].labels, [1; 4]);
        assert_eq!(batches[2].shape, [2, 1, 8, 8]);
        let firsts: Vec<u8> = batches[1].images.iter().step_by(64).copied().collect();
        assert_eq!(firsts, [4, 5, 6, 7]);
    }
}

/// What is wrong with the data, and what its error says.
type Case = (fn(&mut Numbers), &'static [&'static str]);

#[test]
fn what_fails_ends_the_epoch_after_the_batches_before_it() {
    for workers in [0, 1, 3] {
        let cases: [Case; 3] = [
            (|data| data.fails = Some(9), &["numbers/9.png", "torn"]),
            (|data| data.panics = Some(9), &["sample 9 (numbers/9.png)", "bad data set", "a bug"]),
            (|data| data.odd_size = Some(9), &["sample 9", "9x8 pixels", "began with 8x8"]),
        ];
        for (change, parts) in cases {
            let mut loader = load(&numbers(40, change), workers, 4);
            for _ in 0..2 {
                assert!(loader.next().unwrap().is_ok());
            }
            assert_says(&loader.next().unwrap().unwrap_err(), parts);
            assert!(loader.next().is_none());
        }
    }
}

/// A data set that panics where nobody thinks of it.
struct Treacherous(Numbers, &'static str);

impl Dataset for Treacherous {
    fn name(&self) -> &'static str {
        "treacherous"
    }

    fn classes(&self) -> &[String] {
        self.0.classes()
    }

    fn labels(&self) -> &[usize] {
        assert_ne!(self.1, "labels", "no labels today");
        // One too few.
        let labels = self.0.labels();
        &labels[..labels.len() - usize::from(self.1 == "few")]
    }

    fn describe(&self, i: usize) -> String {
        assert_ne!(self.1, "describe", "no description");
        self.0.describe(i)
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        self.0.image(i)
    }

    fn skip(&self, _: usize, _: &DataError) -> bool {
        assert_ne!(self.1, "skip", "no skipping");
        false
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

#[test]
fn a_thread_that_dies_ends_the_epoch_with_its_reason() {
    for workers in [0, 1, 4] {
        for (where_, fails, panics, says) in [
            ("labels", None, None, "no labels today"),
            ("few", None, None, "batch 9 panicked"),
            ("skip", Some(9), None, "no skipping"),
            ("describe", None, Some(9), "no description"),
        ] {
            let numbers = Numbers { fails, panics, ..Numbers::new(40) };
            let data: Arc<dyn Dataset> = Arc::new(Treacherous(numbers, where_));
            let ended = load(&data, workers, 4).find_map(Result::err).unwrap();
            assert_says(&ended, &[says, "a bug of the data set"]);
        }
    }
}

#[test]
fn batches_that_no_memory_holds_are_refused_before_any() {
    let data = numbers(40, |_| ());
    let begun = Instant::now();
    let load = |views, workers, data: &Arc<dyn Dataset>, transform: Arc<dyn Transform>| {
        let batches = evaluation_batches(data.len(), 4);
        let dataset = data.clone();
        let loader = Loader { dataset, transform, views, channels: 1, seed: 0, workers };
        loader.epoch(0, batches).next().unwrap().unwrap_err()
    };
    for workers in [0, 2, usize::MAX] {
        for views in [1_000_000_000_000, usize::MAX, usize::MAX / 4 + 1] {
            let error = load(views, workers, &data, Arc::new(Identity));
            let views = format!("{views} views of 4 images of 8x8 pixels");
            assert_says(&error, &["views: ", &views, "fewer views, a smaller batch"]);
        }
    }
    // Few views of something large.
    let large = Resize { width: 25_000, height: 25_000 };
    let error = load(2, 0, &data, Arc::new(large));
    assert_says(&error, &["2 views of 4 images of 25000x25000 pixels"]);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn workers_wait_for_the_batches_to_be_taken_and_end_when_nobody_wants_them() {
    let data = Arc::new(Numbers { pause: Duration::from_millis(1), ..Numbers::new(4000) });
    let start = Instant::now();
    let mut loader = load(&(data.clone() as Arc<dyn Dataset>), 2, 4);
    loader.next().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    // One batch taken, two for each of two workers ahead.
    assert_eq!(data.loaded.load(Ordering::SeqCst), 5 * 4);
    drop(loader);
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn put(root: &Path, path: &str, content: &[u8]) {
    std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
    std::fs::write(root.join(path), content).unwrap();
}

const JPEG: &[u8] = include_bytes!("pictures/422.jpg");
const PNG: &[u8] = include_bytes!("pictures/alpha.png");

/// Two classes to train on with five pictures each.
fn folder(root: &Path) {
    for class in ["a", "b", "c", "d"] {
        for i in 0..5 {
            put(root, &format!("{class}/{i}.jpg"), if i % 2 == 0 { JPEG } else { PNG });
        }
    }
}

fn opened(root: &Path, cache: u64, skip_corrupt: bool) -> Arc<dyn Dataset> {
    let root = Some(root.to_owned());
    let options = Options { root, size: 32, cache, skip_corrupt, ..Options::default() };
    open("folder", Split::Train, &options).unwrap().into()
}

fn epoch(data: &Arc<dyn Dataset>, views: usize, workers: usize, epoch: u64) -> Vec<Batch> {
    let transform: Arc<dyn Transform> = Arc::new(RandomResizedCrop::to(32));
    let batches = evaluation_batches(data.len(), 4);
    let dataset = data.clone();
    let loader = Loader { dataset, transform, views, channels: 3, seed: 7, workers };
    loader.epoch(epoch, batches).map(Result::unwrap).collect()
}

#[test]
fn neither_workers_nor_views_nor_the_cache_change_a_pixel() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path());
    let plain = opened(root.path(), 0, false);
    let expected = [0, 1].map(|n| epoch(&plain, 2, 0, n));
    assert!(expected[0] != expected[1]);
    // None, some and all of the pictures fit: 83 x 61 x 3 bytes each.
    for cache in [1, 50_000, 1 << 30] {
        for workers in [0, 3] {
            let cached = opened(root.path(), cache, false);
            for n in [0, 1] {
                assert!(epoch(&cached, 2, workers, n as u64) == expected[n], "{cache}, {workers}");
            }
        }
    }
    // One view alone, which decodes a part only, is the first of two.
    for (one, two) in epoch(&plain, 1, 0, 0).iter().zip(&expected[0]) {
        assert!(one.images == two.images[..one.images.len()]);
    }
}

#[test]
fn a_cache_reads_each_file_once() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path());
    let data = opened(root.path(), 1 << 30, false);
    let first = epoch(&data, 1, 0, 0);
    std::fs::remove_dir_all(root.path().join("a")).unwrap();
    assert!(epoch(&data, 1, 0, 0) == first);
    let none = opened(
        &{
            folder(root.path());
            root.path().to_owned()
        },
        0,
        false,
    );
    std::fs::remove_file(root.path().join("a/0.jpg")).unwrap();
    assert!(none.image(0).is_err());
}

#[test]
fn pictures_that_cannot_be_read_are_left_out_and_counted_if_asked_for() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path());
    put(root.path(), "a/1.jpg", b"nothing");
    put(root.path(), "b/2.jpg", &JPEG[..JPEG.len() / 3]);
    for workers in [0, 2] {
        let strict = opened(root.path(), 0, false);
        let batches = evaluation_batches(strict.len(), 4);
        let crop: Arc<dyn Transform> = Arc::new(RandomResizedCrop::to(32));
        let load = |data: &Arc<dyn Dataset>, batches: Vec<Vec<usize>>| {
            let (dataset, transform) = (data.clone(), crop.clone());
            Loader { dataset, transform, views: 2, channels: 3, seed: 0, workers }.epoch(0, batches)
        };
        let error = load(&strict, batches.clone()).next().unwrap().unwrap_err();
        assert_says(&error, &["a/1.jpg", "damaged or not a picture"]);

        for cache in [0, 1 << 20] {
            let lenient = opened(root.path(), cache, true);
            for _ in 0..2 {
                let all: Vec<Batch> = load(&lenient, batches.clone()).map(Result::unwrap).collect();
                let ids: Vec<Vec<i64>> = all.iter().map(|batch| batch.ids.clone()).collect();
                assert_eq!(ids, [vec![0, 2, 3, 0, 2, 3], vec![4, 5, 6, 4, 5, 6], vec![8, 9, 8, 9]]);
                assert_eq!(all[0].shape, [6, 3, 32, 32]);
                assert_eq!(all[0].images.len(), 6 * 3 * 32 * 32);
                assert_eq!(all[1].labels, [0, 1, 1, 0, 1, 1]);
            }
            let skipped = lenient.skipped();
            assert_eq!(skipped.len(), 2, "{skipped:?}");
            assert!(skipped[0].contains("a/1.jpg") && skipped[1].contains("b/2.jpg"));
        }
        let error = load(&opened(root.path(), 0, true), vec![vec![1]]).next().unwrap().unwrap_err();
        assert_says(&error, &["none of this batch's images can be read"]);
    }
}
