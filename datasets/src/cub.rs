//! CUB-200-2011: birds, 200 species.
//!
//! Wah, Branson, Welinder, Perona & Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", technical
//! report CNS-TR-2011-001, California Institute of Technology, 2011.
//!
//! Protocol: the first half of the species trains, the second tests; the published split of pictures
//! isn't used.

use std::path::Path;
use std::sync::Arc;

use crate::dataset::{Entry, Opened, SPLITS, no_options};
use crate::files::{self, Files, Sample};
use crate::walk::Walk;
use crate::{DataError, Options, RandomResizedCrop, ResizeCrop, Split};

pub(crate) const ENTRY: Entry = Entry {
    name: "cub",
    doc: "CUB-200-2011, birds: species 1 to 100 train, 101 to 200 test (11788 photographs)",
    files: "Give the folder (--data-root) that holds CUB_200_2011, as unpacked from CUB_200_2011.tgz",
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

const CLASSES: usize = 200;

fn open(split: Split, options: &Options) -> Opened {
    let folder = files::locate(&ENTRY, options, &["CUB_200_2011"], &["images"])?.join("images");
    let mut walk = Walk::new(&folder).map_err(|failed| files::unreadable(&ENTRY, failed))?;
    let found = files::classes(&ENTRY, &mut walk, Path::new(""))?;
    if found.names.len() != CLASSES {
        let problem = format!("it has {} class folders instead of {CLASSES}", found.names.len());
        return Err(DataError::file(folder.display().to_string(), problem, ENTRY.files));
    }
    let found = found.without_empty(&ENTRY, &folder, options)?;
    let half = match split {
        Split::Train => 0..CLASSES / 2,
        _ => CLASSES / 2..CLASSES,
    };
    let mut samples = Vec::new();
    for (class, (name, pictures)) in found.names.iter().zip(found.pictures).enumerate() {
        if half.contains(&class) {
            let sample = |path| Sample { class, name: name.clone(), path, super_class: None };
            samples.extend(pictures.into_iter().map(sample));
        }
    }
    Ok(Box::new(Files::new(&ENTRY, &folder, samples)?.remarking(found.remarks)))
}
