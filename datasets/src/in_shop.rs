//! In-Shop Clothes Retrieval, a part of DeepFashion: clothes in a shop's photographs.
//!
//! Liu, Luo, Qiu, Wang & Tang, "DeepFashion: Powering Robust Clothes Recognition and Retrieval with
//! Rich Annotations", CVPR 2016.
//!
//! Protocol: the published split; 3997 items train, and 14218 queries of 3985 others are searched in
//! a gallery of 12612 photographs. The items' kinds (`WOMEN/Dresses`) are the super-classes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::dataset::{Entry, Opened, no_options};
use crate::files::{self, Files, Sample};
use crate::{Options, RandomResizedCrop, ResizeCrop, Split};

pub(crate) const ENTRY: Entry = Entry {
    name: "in_shop",
    doc: "In-Shop Clothes (DeepFashion): 3997 items train, 3985 test, with separate queries and gallery (52712 photographs)",
    files: "Give the folder (--data-root) that holds list_eval_partition.txt (or Eval with it) and img \
        (or Img/img, unpacked from img.zip)",
    needs_root: true,
    channels: 3,
    size: 224,
    splits: &[Split::Train, Split::Test, Split::Query, Split::Gallery],
    splits_of: None,
    options: no_options,
    open,
    augmentation: |size| Arc::new(RandomResizedCrop::to(size)),
    evaluation: |size| Arc::new(ResizeCrop::to(size)),
};

const LIST: &str = "list_eval_partition.txt";

fn open(split: Split, options: &Options) -> Opened {
    let below = ["Eval", "Anno", "In-shop Clothes Retrieval Benchmark/Eval", "In_shop/Eval"];
    let list = files::locate(&ENTRY, options, &below, &[LIST])?.join(LIST);
    let below = ["Img", "In-shop Clothes Retrieval Benchmark/Img", "In_shop/Img"];
    let folder = files::locate(&ENTRY, options, &below, &["img"])?;

    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut items: BTreeMap<String, usize> = BTreeMap::new();
    let mut samples = Vec::new();
    // Two lines of header: how many there are, and the columns' names.
    let (mut claimed, mut headed): (Option<usize>, bool) = (None, false);
    for (i, line) in files::text(&ENTRY, &list)?.lines().enumerate() {
        let bad = |why| files::bad_line(&ENTRY, &list, i + 1, why);
        let words: Vec<&str> = line.split_whitespace().collect();
        if samples.is_empty() && !headed {
            if let (None, [Ok(count)]) =
                (claimed, &words.iter().map(|w| w.parse::<usize>()).collect::<Vec<_>>()[..])
            {
                claimed = Some(*count);
                continue;
            }
            headed =
                words.first() == Some(&"image_name") || (claimed.is_some() && words.len() != 3);
            if headed {
                continue;
            }
        }
        let [path, item, status] = words[..] else {
            if words.is_empty() {
                continue;
            }
            return Err(bad(
                "it should have three columns: picture, item and train, query or gallery",
            ));
        };
        let split = [Split::Train, Split::Query, Split::Gallery];
        let split = split.into_iter().find(|split| split.name() == status);
        let split = split.ok_or_else(|| bad("its last column is not train, query or gallery"))?;
        // img/WOMEN/Dresses/id_00000002/02_1_front.jpg
        let kind = path.split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
        let (kinds_so_far, items_so_far) = (kinds.len(), items.len());
        let super_class = Some(*kinds.entry(kind).or_insert(kinds_so_far));
        let class = *items.entry(item.to_owned()).or_insert(items_so_far);
        let (name, path) = (item.to_owned(), PathBuf::from(path));
        samples.push((split, Sample { class, name, path, super_class }));
    }
    let mut remarks = Vec::new();
    if claimed.is_none() || !headed {
        remarks.push(format!("{} has no header of two lines", list.display()));
    }
    let listed = samples.len();
    if let Some(claimed) = claimed.filter(|&claimed| claimed != listed) {
        let list = list.display();
        remarks.push(format!("{list} says that it has {claimed} pictures, but lists {listed}"));
    }
    let (train, test): (Vec<_>, Vec<_>) =
        samples.into_iter().partition(|(split, _)| *split == Split::Train);
    let only = |samples: Vec<(Split, Sample)>| samples.into_iter().map(|(_, s)| s).collect();
    let files = match split {
        Split::Train => Files::new(&ENTRY, &folder, only(train))?,
        Split::Test => Files::new(&ENTRY, &folder, only(test))?,
        // Queries and gallery share their labels.
        _ => {
            let (own, other) = test.into_iter().partition(|(of, _)| *of == split);
            Files::among(&ENTRY, &folder, &only(other), only(own))?
        }
    };
    Ok(Box::new(files.remarking(remarks)))
}
