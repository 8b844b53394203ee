//! Whether all pictures of a data set can be read, and whether some are there twice.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};

use crate::{Dataset, Split};

/// Something about one picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its split.
    pub split: Split,
    /// Its index there.
    pub id: usize,
    /// Its file.
    pub file: String,
    /// Why it can't be used; empty if it can.
    pub problem: String,
}

/// What reading all pictures found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Pictures that could be read.
    pub read: usize,
    /// Grey ones among them.
    pub grey: usize,
    /// How many there are of each width and height.
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// Pictures that could be read in spite of damage, each with what is wrong with it.
    pub damaged: Vec<String>,
    /// Pictures that could not be read.
    pub broken: Vec<Finding>,
    /// Groups of pictures with the same pixels, that are in more than one split.
    pub leaks: Vec<Vec<Finding>>,
    /// Groups of pictures with the same pixels within one split.
    pub twins: Vec<Vec<Finding>>,
}

/// More threads read no faster.
const MOST_THREADS: usize = 256;

/// What is known of one picture: size, channels, SHA-256 of the pixels; or why it can't be read.
type Read = Result<(usize, usize, usize, [u8; 32]), String>;

/// Reads every picture of some splits on `threads` threads, as far as the system has as many; `done` is
/// told after each.
pub fn check(splits: &[(Split, &dyn Dataset)], threads: usize, done: &(dyn Fn() + Sync)) -> Found {
    let all: Vec<(Split, &dyn Dataset, usize)> = splits
        .iter()
        .flat_map(|&(split, data)| (0..data.len()).map(move |id| (split, data, id)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results: Vec<(usize, Read)> = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(_, data, id)) = all.get(at) else { return results };
            let result = catch_unwind(AssertUnwindSafe(|| read(data, id)));
            let panicked = || Err("reading it panicked: a bug of the data set".to_owned());
            results.push((at, result.unwrap_or_else(|_| panicked())));
            done();
        }
    };
    let mut results: Vec<(usize, Read)> = std::thread::scope(|scope| {
        let more = 1..threads.clamp(1, MOST_THREADS).min(all.len().max(1));
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let workers: Vec<_> = more.filter_map(spawn).collect();
        let own = work();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_default()).chain(own).collect()
    });
    results.sort_by_key(|(at, _)| *at);

    let mut found = Found::default();
    let mut by_content: BTreeMap<[u8; 32], Vec<Finding>> = BTreeMap::new();
    for (at, result) in results {
        let (split, data, id) = all[at];
        let finding = |problem| Finding { split, id, file: data.describe(id), problem };
        match result {
            Ok((width, height, channels, hash)) => {
                found.read += 1;
                found.grey += usize::from(channels == 1);
                *found.sizes.entry((width, height)).or_default() += 1;
                by_content.entry(hash).or_default().push(finding(String::new()));
            }
            Err(problem) => found.broken.push(finding(problem)),
        }
    }
    found.damaged = splits.iter().flat_map(|(_, data)| data.damaged()).collect();
    let groups = by_content.into_values().filter(|group| group.len() > 1);
    (found.leaks, found.twins) =
        groups.partition(|group| group.iter().any(|f| f.split != group[0].split));
    let first = |group: &Vec<Finding>| (group[0].split, group[0].id);
    found.leaks.sort_by_key(first);
    found.twins.sort_by_key(first);
    found
}

/// Files of a data set that aren't there.
pub fn absent(data: &dyn Dataset) -> Vec<PathBuf> {
    let files = (0..data.len()).filter_map(|i| data.file(i));
    let is_absent = |file: &PathBuf| {
        std::fs::metadata(file).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    files.filter(is_absent).collect()
}

fn read(data: &dyn Dataset, id: usize) -> Read {
    let image = data.image(id).map_err(|error| error.to_string())?;
    let mut hash = Sha256::new();
    for size in [image.width, image.height, image.channels] {
        hash.update((size as u64).to_le_bytes());
    }
    hash.update(&image.pixels);
    Ok((image.width, image.height, image.channels, hash.finalize().into()))
}
