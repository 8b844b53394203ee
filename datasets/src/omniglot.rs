//! Omniglot: characters of the world's alphabets, each drawn by 20 people.
//!
//! Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through probabilistic program
//! induction, Science 2015; files: <https://github.com/brendenlake/omniglot>, folder `python`.
//!
//! Protocol: train on the five alphabets of the first small background set, test on those of the
//! second that the first lacks. Black strokes on white, 105x105 pixels.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::archive::Archive;
use crate::dataset::{Entry, Opened, SPLITS, no_options};
use crate::{Compose, DataError, Dataset, Image, Options, RandomAffine, Resize, Split};

pub(crate) const ENTRY: Entry = Entry {
    name: "omniglot",
    doc: "Handwritten characters: train on five alphabets, test on three unseen ones (105x105, grey)",
    files: EXPECTED,
    needs_root: true,
    channels: 1,
    size: 32,
    splits: SPLITS,
    splits_of: None,
    options: no_options,
    open,
    augmentation: |size| {
        let fill = Some(u8::MAX);
        let affine = RandomAffine { rotate: 10.0, scale: 0.15, translate: 0.1, shear: 10.0, fill };
        Arc::new(Compose(vec![Arc::new(Resize { width: size, height: size }), Arc::new(affine)]))
    },
    evaluation: |size| Arc::new(Resize { width: size, height: size }),
};

const SETS: [&str; 2] = ["images_background_small1", "images_background_small2"];

const EXPECTED: &str = "Give the folder (--data-root) that holds images_background_small1.zip and \
images_background_small2.zip as published on github.com/brendenlake/omniglot in python/, or the \
folders of those names unpacked from them";

/// Bytes that all drawings of a set may take, decoded: six times those of the published ones.
const MOST_BYTES: usize = 1 << 30;

struct Omniglot {
    classes: Vec<String>,
    labels: Vec<usize>,
    files: Vec<String>,
    /// Decoded: few and small enough.
    images: Vec<Image>,
    remarks: Vec<String>,
}

fn open(split: Split, options: &Options) -> Opened {
    let Some(root) = &options.root else {
        return Err(DataError::NoRoot { dataset: ENTRY.name, expected: EXPECTED });
    };
    let [mut small1, mut small2] = [open_set(root, SETS[0])?, open_set(root, SETS[1])?];
    let seen: BTreeSet<String> = drawings(&small1)?.into_iter().map(|d| d.alphabet).collect();
    let set = if split == Split::Train { &mut small1 } else { &mut small2 };
    let mut drawings = drawings(set)?;
    if split == Split::Test {
        drawings.retain(|drawing| !seen.contains(&drawing.alphabet));
    }
    if drawings.is_empty() {
        let problem = "it has no alphabet that the first set lacks";
        return Err(DataError::file(set.name(), problem, EXPECTED));
    }
    Ok(Box::new(Omniglot::load(set, &drawings)?))
}

fn open_set(root: &Path, name: &str) -> Result<Archive, DataError> {
    Archive::open(root, name, EXPECTED)
}

struct Drawing {
    alphabet: String,
    /// `Alphabet/characterNN`.
    character: String,
    /// `Alphabet/characterNN/NNNN_NN.png`.
    entry: String,
}

/// All drawings of a set, in byte order. Every alphabet and every character must have some.
fn drawings(set: &Archive) -> Result<Vec<Drawing>, DataError> {
    let mut folders = BTreeSet::new();
    let mut drawings = Vec::new();
    for entry in set.entries() {
        match entry.split('/').collect::<Vec<_>>()[..] {
            [_, ""] | [_, _, ""] => {
                folders.insert(entry);
            }
            [alphabet, character, file] if file.to_ascii_lowercase().ends_with(".png") => {
                drawings.push(Drawing {
                    alphabet: alphabet.to_owned(),
                    character: format!("{alphabet}/{character}"),
                    entry: entry.to_owned(),
                });
            }
            _ => {}
        }
    }
    for Drawing { alphabet, character, .. } in &drawings {
        folders.remove(&*format!("{alphabet}/"));
        folders.remove(&*format!("{character}/"));
    }
    let problem = "it holds no drawings (Alphabet/characterNN/*.png)";
    if let Some(empty) = folders.first() {
        return Err(DataError::file(
            set.describe(empty),
            problem,
            format!("Unpack it again. {EXPECTED}"),
        ));
    }
    if drawings.is_empty() {
        return Err(DataError::file(set.name(), problem, EXPECTED));
    }
    Ok(drawings)
}

impl Omniglot {
    fn load(set: &mut Archive, drawings: &[Drawing]) -> Result<Self, DataError> {
        let (mut classes, mut labels, mut files) = (Vec::<String>::new(), vec![], vec![]);
        let mut images: Vec<Image> = Vec::with_capacity(drawings.len());
        let mut bytes = 0;
        for Drawing { character, entry, .. } in drawings {
            if classes.last() != Some(character) {
                classes.push(character.clone());
            }
            labels.push(classes.len() - 1);
            let file = set.describe(entry);
            let image = Image::decode(&set.read(entry)?, &file)?.with_channels(1);
            bytes += image.pixels.len();
            if bytes > MOST_BYTES {
                let problem = format!("with it, the drawings take more than {MOST_BYTES} bytes");
                let advice = format!("Unpack or fetch them again. {EXPECTED}");
                return Err(DataError::file(file, problem, advice));
            }
            images.push(image);
            files.push(file);
        }
        let remarks = set.remark.iter().cloned().collect();
        Ok(Self { classes, labels, files, images, remarks })
    }
}

impl Dataset for Omniglot {
    fn name(&self) -> &str {
        ENTRY.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn labels(&self) -> &[usize] {
        &self.labels
    }

    fn describe(&self, i: usize) -> String {
        self.files.get(i).cloned().unwrap_or_default()
    }

    fn image(&self, i: usize) -> Result<Image, DataError> {
        Ok(self.images[i].clone())
    }

    fn remarks(&self) -> Vec<String> {
        self.remarks.clone()
    }
}
