//! Stanford Online Products: things sold on eBay, a few photographs of each.
//!
//! Oh Song, Xiang, Jegelka & Savarese, "Deep Metric Learning via Lifted Structured Feature
//! Embedding", CVPR 2016.
//!
//! Protocol: the published split; 11318 products train, 11316 others test. Each product belongs to
//! one of 12 super-classes (bicycle, cabinet, …).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::dataset::{Entry, Opened, SPLITS, no_options};
use crate::files::{self, Files, Sample};
use crate::{DataError, Options, RandomResizedCrop, ResizeCrop, Split};

pub(crate) const ENTRY: Entry = Entry {
    name: "sop",
    doc: "Stanford Online Products: 11318 products train, 11316 test, in 12 super-classes (120053 photographs)",
    files: "Give the folder (--data-root) that holds Stanford_Online_Products, as unpacked from \
        Stanford_Online_Products.zip",
    needs_root: true,
    channels: 3,
    size: 224,
    splits: SPLITS,
    splits_of: None,
    options: no_options,
    open,
    augmentation: |size| Arc::new(RandomResizedCrop::to(size)),
    evaluation: |size| Arc::new(ResizeCrop::to(size)),
};

fn open(split: Split, options: &Options) -> Opened {
    // Each list has a few rows of the other's classes.
    let (list, classes) = match split {
        Split::Train => ("Ebay_train.txt", 0..11_318),
        _ => ("Ebay_test.txt", 11_318..22_634),
    };
    let folder = files::locate(&ENTRY, options, &["Stanford_Online_Products"], &[list])?;
    let path = folder.join(list);
    let text = files::text(&ENTRY, &path)?;
    // Published lists begin with the columns' names.
    let headed = text.lines().next().is_some_and(|line| sample(line).is_err());
    let mut samples = Vec::new();
    for (i, line) in text.lines().enumerate().skip(usize::from(headed)) {
        if !line.trim().is_empty() {
            let sample = sample(line).map_err(|why| bad(&path, i + 1, why))?;
            samples.extend(classes.contains(&sample.class).then_some(sample));
        }
    }
    let headless = || format!("{} has no header: its first line is a picture", path.display());
    let remarks = (!headed).then(headless).into_iter().collect();
    Ok(Box::new(Files::new(&ENTRY, &folder, samples)?.remarking(remarks)))
}

fn bad(path: &Path, line: usize, why: &str) -> DataError {
    files::bad_line(&ENTRY, path, line, why)
}

/// `image_id class_id super_class_id path`; the path may hold blanks.
fn sample(line: &str) -> Result<Sample, &'static str> {
    let mut parts = line.trim().splitn(4, ' ');
    let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok()).filter(|&n| n > 0);
    let (Some(_), Some(class), Some(super_class)) = (number(), number(), number()) else {
        return Err("it should begin with three numbers from 1: image, class and super-class");
    };
    let path = parts.next().filter(|path| !path.is_empty()).ok_or("it names no picture")?;
    let name = path.rsplit_once('_').map_or(path, |(product, _)| product);
    Ok(Sample {
        class: class - 1,
        name: name.to_owned(),
        path: PathBuf::from(path),
        super_class: Some(super_class - 1),
    })
}
