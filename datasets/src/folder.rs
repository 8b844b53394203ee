//! Any pictures, in one folder per class, or with their labels in a CSV file.
//!
//! Who divides them into training and test: a list of classes or a share of them
//! ([`Division`]), the folders above the classes (`train/ant`, `test/bee`), or the CSV file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use retort_sdk::{Hyper as _, hyper};

use crate::dataset::{Entry, Opened, SPLITS};
use crate::files::{self, Files, Sample};
use crate::labels::{self, Part};
use crate::part::read;
use crate::walk::{self, Walk};
use crate::{DataError, Options, RandomResizedCrop, ResizeCrop, Split};

pub(crate) const ENTRY: Entry = Entry {
    name: "folder",
    doc: "Any pictures in one folder per class; some classes train (half of them, or as asked for), the others test",
    files: "Give the folder (--data-root) that holds one folder of pictures for each class",
    needs_root: true,
    channels: 3,
    size: 224,
    splits: &[Split::Train, Split::Test, Split::Query, Split::Gallery],
    splits_of: Some(|options| Ok(Whole::read(options)?.splits())),
    options: Division::fields,
    open,
    augmentation: |size| Arc::new(RandomResizedCrop::to(size)),
    evaluation: |size| Arc::new(ResizeCrop::to(size)),
};

hyper! {
    /// Who divides the pictures.
    pub struct Division {
        /// Which classes train: a share of the sorted ones such as 0.5, which is usual, names separated by
        /// commas, or a file with a name a line, here or in the root. The others test.
        train_classes: Option<String> = None,
        /// A CSV file, here or in the root, with the columns path, label and perhaps split (train, val, test,
        /// query, gallery), in place of class folders.
        labels: Option<String> = None,
    }
}

/// What to do where pictures are divided one by one.
const DIVIDED: &str = "Pictures to train and to test on (or queries and a gallery) lie in folders called train and \
    test (query and gallery), each with a folder for each class, or are named in a CSV file with path, label and split \
    (data.labels)";

/// All pictures of all splits.
struct Whole {
    folder: PathBuf,
    /// Each with its split, if that was decided for each picture rather than for classes.
    samples: Vec<(Option<Part>, Sample)>,
    remarks: Vec<String>,
}

fn open(split: Split, options: &Options) -> Opened {
    let mut whole = Whole::read(options)?;
    whole.overlap();
    let Whole { folder, samples, remarks } = whole;
    let is = |part: Option<Part>| part.and_then(Part::split);
    let (own, others): (Vec<_>, Vec<_>) =
        samples.into_iter().partition(|(part, _)| match (split, is(*part)) {
            (Split::Test, Some(part)) => part != Split::Train,
            (split, part) => part == Some(split),
        });
    let only = |samples: Vec<(Option<Part>, Sample)>| samples.into_iter().map(|(_, sample)| sample);
    let own: Vec<Sample> = only(own).collect();
    let apart = matches!(split, Split::Query | Split::Gallery);
    // Queries and gallery share their labels.
    let others = others
        .into_iter()
        .filter(|(part, _)| apart && matches!(part, Some(Part::Query | Part::Gallery)));
    let others: Vec<Sample> = only(others.collect()).collect();
    if apart && (own.is_empty() || others.is_empty()) {
        let problem = "it has no queries apart from a gallery".to_owned();
        return Err(DataError::file(folder.display().to_string(), problem, DIVIDED));
    }
    Ok(Box::new(Files::among(&ENTRY, &folder, &others, own)?.remarking(remarks)))
}

impl Whole {
    /// Finds all pictures, and what each is for.
    fn read(options: &Options) -> Result<Self, DataError> {
        let folder = files::root(&ENTRY, options)?.to_owned();
        let Division { train_classes, labels } = read(&options.own);
        let mut whole = match &labels {
            Some(file) => Self::labelled(folder, file)?,
            None => Self::found(folder, options)?,
        };
        whole.divide(train_classes.as_deref())?;
        Ok(whole)
    }

    /// Pictures as a CSV file lists them.
    fn labelled(folder: PathBuf, file: &str) -> Result<Self, DataError> {
        let rows = labels::read(&ENTRY, &here_or_in(&folder, file))?;
        let names: BTreeSet<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        let numbers: BTreeMap<String, usize> =
            names.into_iter().enumerate().map(|(number, name)| (name.to_owned(), number)).collect();
        let samples = rows.into_iter().map(|row| {
            let class = numbers.get(&row.label).copied().unwrap_or_default();
            (row.part, Sample { class, name: row.label, path: row.path, super_class: None })
        });
        Ok(Self { folder, samples: samples.collect(), remarks: Vec::new() })
    }

    /// Pictures in class folders, or in class folders in folders of splits.
    fn found(folder: PathBuf, options: &Options) -> Result<Self, DataError> {
        let failed = |failed| files::unreadable(&ENTRY, failed);
        let mut walk = Walk::new(&folder).map_err(failed)?;
        let tops = walk.list(Path::new("")).map_err(failed)?.folders;
        let named = |top: &PathBuf| Part::named(&walk::text(top.as_os_str()));
        let parts: Vec<Option<Part>> = tops.iter().map(named).collect();
        let mut found: Vec<(Option<Part>, String, Vec<PathBuf>)> = Vec::new();
        let mut remarks = BTreeSet::new();
        let mut add = |part, at: &Path, walk: &mut Walk| {
            let classes = files::classes(&ENTRY, walk, at)?;
            let classes = classes.without_empty(&ENTRY, &folder.join(at), options)?;
            remarks.extend(classes.remarks);
            let named = classes.names.into_iter().zip(classes.pictures);
            found.extend(named.map(|(name, pictures)| (part, name, pictures)));
            Ok::<(), DataError>(())
        };
        if !tops.is_empty() && parts.iter().all(Option::is_some) {
            for (top, part) in tops.iter().zip(&parts) {
                add(*part, top, &mut walk)?;
            }
        } else {
            mixed(&folder, &tops, &parts)?;
            walk = Walk::new(&folder).map_err(failed)?;
            add(None, Path::new(""), &mut walk)?;
        }
        let names: BTreeSet<&String> = found.iter().map(|(_, name, _)| name).collect();
        let numbers: BTreeMap<String, usize> =
            names.into_iter().enumerate().map(|(number, name)| (name.clone(), number)).collect();
        let samples = found.into_iter().flat_map(|(part, name, pictures)| {
            let class = numbers.get(&name).copied().unwrap_or_default();
            pictures.into_iter().map(move |path| {
                (part, Sample { class, name: name.clone(), path, super_class: None })
            })
        });
        Ok(Self { folder, samples: samples.collect(), remarks: remarks.into_iter().collect() })
    }

    /// Decides what each picture is for.
    fn divide(&mut self, train_classes: Option<&str>) -> Result<(), DataError> {
        let at = || self.folder.display().to_string();
        let parts: BTreeSet<Part> = self.samples.iter().filter_map(|(part, _)| *part).collect();
        if parts.is_empty() {
            return self.by_class(train_classes.unwrap_or("0.5"));
        }
        if train_classes.is_some() {
            let problem = "the pictures are divided into splits already".to_owned();
            return Err(DataError::option("data.train_classes", problem, "Leave it out"));
        }
        let refuse = |problem: String| Err(DataError::file(at(), problem, DIVIDED));
        if let Some((_, sample)) = self.samples.iter().find(|(part, _)| part.is_none()) {
            return refuse(format!("{} has no split, but others have one", sample.path.display()));
        }
        let [validation, test, query, gallery] =
            [Part::Validation, Part::Test, Part::Query, Part::Gallery].map(|p| parts.contains(&p));
        if !parts.contains(&Part::Train) || !(validation || test || query || gallery) {
            let only = if parts.contains(&Part::Train) { "to test on" } else { "to train on" };
            return refuse(format!("it has no pictures {only}"));
        }
        if query != gallery || (test && query) {
            return refuse(
                "it has a query split without a gallery, or the other way round, or a test split beside them"
                    .to_owned(),
            );
        }
        if validation && !test && !query {
            for (part, _) in &mut self.samples {
                *part = part.map(|part| if part == Part::Validation { Part::Test } else { part });
            }
        } else if validation {
            let n = self.samples.iter().filter(|s| s.0 == Some(Part::Validation)).count();
            self.remarks.push(format!(
                "{}: the {n} pictures for validation aren't used; data.validation_classes holds classes of the \
                 training split out",
                at()
            ));
        }
        Ok(())
    }

    /// Divides by class, see [`Division`].
    fn by_class(&mut self, train_classes: &str) -> Result<(), DataError> {
        let names: BTreeMap<usize, String> =
            self.samples.iter().map(|(_, s)| (s.class, s.name.clone())).collect();
        let names: Vec<String> = names.into_values().collect();
        let chosen = chosen(&names, train_classes, &self.folder)?;
        if chosen.is_empty() || chosen.len() == names.len() {
            let problem = match names.as_slice() {
                [] => "it has no class folders with pictures".to_owned(),
                [only] => format!("it has one class only, {only}"),
                _ => format!("{} of its {} classes would train", chosen.len(), names.len()),
            };
            let advice =
                format!("Some must train and some must test (train-classes). {}", ENTRY.files);
            return Err(DataError::file(self.folder.display().to_string(), problem, advice));
        }
        for (part, sample) in &mut self.samples {
            let trains = chosen.contains(&sample.name);
            *part = Some(if trains { Part::Train } else { Part::Test });
        }
        Ok(())
    }

    /// The splits that there are.
    fn splits(&self) -> Vec<Split> {
        let apart = self.samples.iter().any(|(part, _)| *part == Some(Part::Query));
        if apart { ENTRY.splits.to_vec() } else { SPLITS.to_vec() }
    }

    /// Remarks on classes that train and test, too.
    fn overlap(&mut self) {
        let of = |train: bool| -> BTreeSet<&str> {
            let split = |part: &Option<Part>| part.and_then(Part::split);
            let parts = self.samples.iter().filter(|(part, _)| {
                split(part).is_some_and(|split| (split == Split::Train) == train)
            });
            parts.map(|(_, sample)| sample.name.as_str()).collect()
        };
        let (train, test) = (of(true), of(false));
        let (n, all) = (train.intersection(&test).count(), test.len());
        if n > 0 {
            self.remarks.push(format!(
                "{}: {n} of the {all} classes to test on are trained on, too: what is measured is not how \
                 the network does on classes that it hasn't seen",
                self.folder.display()
            ));
        }
    }
}

/// Refuses class folders that are called as splits are.
fn mixed(folder: &Path, tops: &[PathBuf], parts: &[Option<Part>]) -> Result<(), DataError> {
    let is_split =
        |part: &Option<Part>| matches!(part, Some(Part::Train | Part::Test | Part::Validation));
    let Some(at) = parts.iter().position(is_split) else { return Ok(()) };
    let split = walk::text(tops[at].as_os_str());
    let other = tops.iter().zip(parts).find(|(_, part)| part.is_none());
    let other = other.map(|(top, _)| walk::text(top.as_os_str())).unwrap_or_default();
    let problem = format!("it holds {split}, as if it were divided into splits, beside {other}");
    let advice = format!(
        "Rename {split} if it is a class; else move {other} away, or name the folder {} itself. {DIVIDED}",
        folder.join(&tops[at]).display(),
    );
    Err(DataError::file(folder.display().to_string(), problem, advice))
}

/// A file that is named from here or from the data set's folder.
fn here_or_in(folder: &Path, file: &str) -> PathBuf {
    let here = PathBuf::from(file);
    if here.is_file() { here } else { folder.join(file) }
}

/// The classes that train, see [`Division`].
fn chosen(classes: &[String], what: &str, folder: &Path) -> Result<BTreeSet<String>, DataError> {
    let error = |problem, advice: &str| DataError::option("data.train_classes", problem, advice);
    if let Ok(part) = what.parse::<f64>() {
        if !(part > 0.0 && part < 1.0) {
            let problem = format!("{part} is no part of the classes");
            return Err(error(problem, "Ask for a number between 0 and 1"));
        }
        let n = (part * classes.len() as f64).round() as usize;
        return Ok(classes[..n].iter().cloned().collect());
    }
    let list = here_or_in(folder, what);
    let names: Vec<String> = if list.is_file() {
        let text = files::text(&ENTRY, &list)?;
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    } else {
        what.split(',').map(|name| name.trim().to_owned()).collect()
    };
    if let Some(name) = names.iter().find(|name| !classes.contains(name)) {
        let problem = format!("there is no class {name:?}");
        return Err(error(problem, "Give a part such as 0.5, names of classes, or a file of them"));
    }
    Ok(names.into_iter().collect())
}
