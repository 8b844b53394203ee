//! Picture files of all kinds are what Pillow makes of them, and a part of one is that part.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{assert_says, crc32};
use retort_datasets::{
    Area, Image, Picture, RandomResizedCrop, ResizeCrop, Resized, Transform, augmentation_rng,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures")
}

/// File names and the CRC-32 of their pixels in RGB.
fn expected() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

#[test]
fn every_kind_of_file_decodes_to_pillows_pixels() {
    for (name, crc) in expected() {
        let image = Image::decode(&bytes(&name), &name).unwrap().with_channels(3);
        assert_eq!((image.width, image.height), (83, 61), "{name}");
        assert_eq!(crc32(&image.pixels), crc, "{name}");
    }
}

/// What `plan` makes of the whole picture.
fn plain(image: &Image, plan: &Resized) -> Image {
    plan.apply(image)
}

#[test]
fn a_part_of_a_file_is_that_part_of_the_whole() {
    for name in expected().into_keys() {
        let bytes = bytes(&name);
        let whole = Image::decode(&bytes, &name).unwrap();
        for (i, width) in [1, 2, 7, 16, 33, 60, 83].into_iter().enumerate() {
            for (j, height) in [1, 3, 8, 15, 16, 17, 40, 61].into_iter().enumerate() {
                for (left, top) in [(0, 0), (83 - width, 61 - height), (i * 5, j * 3)] {
                    let (left, top) = (left.min(83 - width), top.min(61 - height));
                    let crop = Area { left, top, width, height };
                    for (to, mirror) in [((width, height), false), ((9, 11), true)] {
                        let plan = Resized::new(crop, to.0, to.1, Area::whole(to.0, to.1));
                        let plan = plan.mirrored(mirror);
                        let picture = Picture::new(bytes.clone(), &name).unwrap();
                        let part = picture.resized(&plan).unwrap();
                        assert!(part == plain(&whole, &plan), "{name} {crop:?} to {to:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn transforms_do_the_same_with_files_and_with_pixels() {
    let transforms: [Arc<dyn Transform>; 3] = [
        Arc::new(ResizeCrop::to(24)),
        Arc::new(RandomResizedCrop::to(24)),
        Arc::new(RandomResizedCrop { size: 40, scale: (0.9, 1.0), ratio: (5.0, 9.0) }),
    ];
    for name in expected().into_keys() {
        let whole = Image::decode(&bytes(&name), &name).unwrap();
        for (i, transform) in transforms.iter().enumerate() {
            for sample in 0..20 {
                let rng = || augmentation_rng(1, 2, sample, 0, 0);
                let picture = Picture::new(bytes(&name), &name).unwrap();
                let loaded = transform.load(picture, &mut rng()).unwrap();
                assert!(loaded == transform.apply(&whole, &mut rng()), "{name}, transform {i}");
            }
        }
    }
}

#[test]
fn a_crop_of_a_resized_picture_is_that_crop() {
    let whole = Image::decode(&bytes("444.jpg"), "444.jpg").unwrap();
    for (width, height) in [(83, 61), (40, 30), (200, 99), (12, 70)] {
        let all = whole.resized(width, height);
        for window in [
            Area::whole(width, height),
            Area { left: 3, top: 5, width: 8, height: 11 },
            Area { left: width - 1, top: height - 1, width: 1, height: 1 },
        ] {
            let plan = Resized::new(Area::whole(83, 61), width, height, window);
            let cut = Resized::new(
                window,
                window.width,
                window.height,
                Area::whole(window.width, window.height),
            );
            assert!(plain(&whole, &plan) == plain(&all, &cut), "{width}x{height} {window:?}");
        }
    }
}

/// `Resize(20)` and `CenterCrop(16)`.
#[test]
fn odd_shapes_have_a_centre_too() {
    let transform = ResizeCrop { resize: 20, crop: 16 };
    for (width, height) in [(1, 1), (1, 300), (300, 1), (16, 16), (20, 20), (2000, 3)] {
        let pixels = (0..width * height).map(|i| (i % 251) as u8).collect();
        let image = Image { width, height, channels: 1, pixels };
        let seen = transform.apply(&image, &mut augmentation_rng(0, 0, 0, 0, 0));
        assert_eq!((seen.width, seen.height), (16, 16), "{width}x{height}");
        let random = RandomResizedCrop::to(16);
        for sample in 0..50 {
            let seen = random.apply(&image, &mut augmentation_rng(0, 0, sample, 0, 0));
            assert_eq!((seen.width, seen.height), (16, 16), "{width}x{height}");
        }
    }
}

#[test]
fn random_crops_are_as_large_and_as_wide_as_asked_for() {
    // Pixels that say where they are: columns in red, rows in green.
    let pixels = (0..200 * 200).flat_map(|i| [(i % 200) as u8, (i / 200) as u8, 0]).collect();
    let image = Image { width: 200, height: 200, channels: 3, pixels };
    let transform = RandomResizedCrop::to(64);
    let (mut mirrored, mut areas, n) = (0, 0.0, 2000);
    for sample in 0..n {
        let seen = transform.apply(&image, &mut augmentation_rng(3, 0, sample, 0, 0));
        let at = |x: usize, y: usize, c: usize| f64::from(seen.pixels[(y * 64 + x) * 3 + c]);
        // Between the centres of the outer pixels lie 63 of 64 parts of the box.
        let width = (at(63, 0, 0) - at(0, 0, 0)) * 64.0 / 63.0;
        let height = (at(0, 63, 1) - at(0, 0, 1)) * 64.0 / 63.0;
        mirrored += usize::from(width < 0.0);
        let (area, ratio) = (width.abs() * height / 40_000.0, width.abs() / height);
        assert!((0.06..1.05).contains(&area) && (0.7..1.43).contains(&ratio), "{width}x{height}");
        areas += area / n as f64;
    }
    assert!((900..1100).contains(&mirrored), "{mirrored} of {n} are mirrored");
    // Large and long boxes don't fit and are drawn again, so the mean is a little below 0.54.
    assert!((0.45..0.54).contains(&areas), "{areas}");
}

#[test]
fn damaged_files_are_errors_that_name_them() {
    let mut found = 0;
    for name in expected().into_keys() {
        let whole = bytes(&name);
        for end in [0, 1, 3, 10, 50, whole.len() / 2, whole.len().saturating_sub(900)] {
            if let Err(error) = Image::decode(&whole[..end], &name) {
                assert_says(&error, &[&name, "fetch it again"]);
                found += 1;
            }
        }
        // A bit that flips is found or changes some pixels: no panic, no endless memory.
        for at in 0..whole.len().min(700) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            if let Err(error) = Image::decode(&bytes, &name) {
                assert_says(&error, &[&name]);
            }
        }
    }
    assert!(found > 50, "only {found}");
}
