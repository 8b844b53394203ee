//! All 1620 photographs of `shared/data/grocery`, as a user reads them.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{crc32, data_root};
use retort_datasets::{Options, Split, open};

/// Pictures of each class, and the CRC-32 of their CRC-32s in the order of their names: each of every 101st
/// value of the RGB pixels that Pillow decodes; by `grocery.py`.
fn expected() -> BTreeMap<String, (usize, u32)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/datasets/grocery.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn every_photograph_has_pillows_pixels_and_its_place_in_a_split() {
    let options = Options {
        root: Some(data_root("grocery")),
        size: 64,
        ..Options::default().with("train_classes", "train_classes.txt")
    };
    let [train, test] = [Split::Train, Split::Test].map(|s| open("folder", s, &options).unwrap());
    assert_eq!((train.classes().len(), test.classes().len()), (41, 40));
    assert_eq!(train.len() + test.len(), 1620);
    let list = std::fs::read_to_string(data_root("grocery").join("train_classes.txt")).unwrap();
    assert_eq!(train.classes(), list.lines().collect::<Vec<_>>());

    let mut expected = expected();
    for data in [&train, &test] {
        let mut sums: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (i, &label) in data.labels().iter().enumerate() {
            let image = data.image(i).unwrap();
            assert_eq!((image.width.min(image.height), image.channels), (348, 3), "{i}");
            let some: Vec<u8> = image.pixels.iter().step_by(101).copied().collect();
            sums.entry(label).or_default().extend(crc32(&some).to_le_bytes());
        }
        for (label, sums) in sums {
            let class = &data.classes()[label];
            let (count, crc) = expected.remove(class).unwrap();
            assert_eq!((sums.len() / 4, crc32(&sums)), (count, crc), "{class}");
        }
        assert!(data.damaged().is_empty() && data.remarks().is_empty());
    }
    assert!(expected.is_empty(), "{expected:?} is missing");
}
