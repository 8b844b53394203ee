//! Any pictures, in one folder per class.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::dataset::{Entry, Opened, SPLITS};
use crate::files::{self, Files, Sample};
use crate::{DataError, Options, RandomResizedCrop, ResizeCrop, Split};

pub(crate) const ENTRY: Entry = Entry {
    name: "folder",
    doc: "Any pictures in one folder per class; some classes train (half of them, or as asked for), the others test",
    files: "Give the folder (--data-root) that holds one folder of pictures for each class",
    needs_root: true,
    channels: 3,
    size: 224,
    splits: SPLITS,
    open,
    augmentation: |size| Arc::new(RandomResizedCrop::to(size)),
    evaluation: |size| Arc::new(ResizeCrop::to(size)),
};

fn open(split: Split, options: &Options) -> Opened {
    let folder = files::root(&ENTRY, options)?;
    let (classes, _) = files::list(folder)?;
    let chosen = chosen(&classes, options.train_classes.as_deref().unwrap_or("0.5"))?;
    if chosen.is_empty() || chosen.len() == classes.len() {
        let problem = format!("{} of its {} classes would train", chosen.len(), classes.len());
        let advice = format!("Some must train and some must test (train-classes). {}", ENTRY.files);
        return Err(DataError::file(folder.display().to_string(), problem, advice));
    }
    let mut samples = Vec::new();
    for (class, name) in classes.iter().enumerate() {
        if chosen.contains(name) == (split == Split::Train) {
            let pictures = files::pictures(&ENTRY, folder, name)?;
            let sample = |path| Sample { class, name: name.clone(), path, super_class: None };
            samples.extend(pictures.into_iter().map(sample));
        }
    }
    Ok(Box::new(Files::new(&ENTRY, folder, samples)?))
}

/// The classes that train, see [`Options::train_classes`].
fn chosen(classes: &[String], what: &str) -> Result<BTreeSet<String>, DataError> {
    let error = |problem, advice: &str| DataError::option("train-classes", problem, advice);
    if let Ok(part) = what.parse::<f64>() {
        if !(part > 0.0 && part < 1.0) {
            let problem = format!("{part} is no part of the classes");
            return Err(error(problem, "Ask for a number between 0 and 1"));
        }
        let n = (part * classes.len() as f64).round() as usize;
        return Ok(classes[..n].iter().cloned().collect());
    }
    let names: Vec<String> = if Path::new(what).is_file() {
        let lines = files::text(&ENTRY, Path::new(what))?;
        lines.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    } else {
        what.split(',').map(|name| name.trim().to_owned()).collect()
    };
    if let Some(name) = names.iter().find(|name| !classes.contains(name)) {
        let problem = format!("there is no class folder {name:?}");
        return Err(error(problem, "Give a part such as 0.5, names of folders, or a file of them"));
    }
    Ok(names.into_iter().collect())
}
