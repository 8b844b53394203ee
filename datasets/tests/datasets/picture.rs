//! Picture files of all kinds are what Pillow makes of them, and a part of one is that part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common::{assert_says, crc32};
use retort_datasets::{
    Area, Image, Picture, RandomResizedCrop, ResizeCrop, Resized, Transform, augmentation_rng,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/datasets/pictures")
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

/// A JPEG that is damaged, and the CRC-32 of what Pillow makes of it; none if it refuses it.
type Damaged = (String, usize, usize, String, Option<u32>);

#[test]
fn damaged_jpegs_are_read_as_pillow_reads_them() {
    let text = std::fs::read_to_string(folder().join("damaged.json")).unwrap();
    let rows: Vec<Damaged> = serde_json::from_str(&text).unwrap();
    let (mut refused, mut noted) = (0, 0);
    for (name, at, gone, put, crc) in rows {
        let mut changed = bytes(&name);
        let put: Vec<u8> = (0..put.len() / 2)
            .map(|i| u8::from_str_radix(&put[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        changed.splice(at..at + gone, put.clone());
        let whole = Image::decode(&changed, &name);
        let own = whole.as_ref().ok().map(|image| crc32(&image.clone().with_channels(3).pixels));
        // What isn't done: codes without a meaning in a progressive file.
        let unread = name.contains("progressive")
            && whole.as_ref().is_err_and(|error| error.to_string().contains("invalid Huffman"));
        noted += usize::from(unread);
        refused += usize::from(crc.is_none());
        assert!(own == crc || unread, "{name} at {at}, {gone} gone, {put:x?}: {:?}", whole.err());
        // A part of it is that part.
        if let Ok(whole) = whole {
            let crop = Area { left: 10, top: 7, width: 40, height: 30 };
            let plan = Resized::new(crop, 20, 15, Area::whole(20, 15));
            let part = Picture::new(changed, &name).unwrap().resized(&plan).unwrap();
            assert!(part == plain(&whole, &plan), "{name} at {at}, {gone} gone, {put:x?}");
        }
    }
    assert!(refused > 50 && noted < 8, "{refused} refused, {noted} unread");
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
        Arc::new(RandomResizedCrop { size: 40, scale: (0.9, 1.0), ratio: (5.0, 9.0), flip: true }),
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

/// A JPEG with this height and width in its header.
fn sized(name: &str, height: u16, width: u16) -> Vec<u8> {
    let mut bytes = bytes(name);
    let at = bytes.windows(2).position(|w| w[0] == 0xff && matches!(w[1], 0xc0..=0xc2)).unwrap();
    bytes[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
    bytes[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// What each transform, which would be the one to divide by it, says of a file.
fn refused(bytes: &[u8], name: &str, parts: &[&str]) {
    let error = match Picture::new(bytes.to_vec(), name) {
        Err(error) => error,
        Ok(picture) => {
            let rng = || augmentation_rng(1, 2, 3, 0, 0);
            let _ = ResizeCrop::to(24).load(picture.clone(), &mut rng());
            let _ = RandomResizedCrop::to(24).load(picture.clone(), &mut rng());
            picture.decode().unwrap_err()
        }
    };
    assert_says(&error, &[&[name][..], parts].concat());
}

#[test]
fn pictures_of_no_or_too_many_pixels_are_refused_before_they_are_decoded() {
    for name in ["420.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "restarts.jpg"] {
        refused(&sized(name, 0, 83), name, &["83x0 pixels, so there are none"]);
        refused(&sized(name, 61, 0), name, &["fetch it again"]);
        let (most, says) = (sized(name, 65_500, 65_500), "a picture may take 536870912");
        refused(&most, name, &["65500x65500 pixels take", says, "fetch it again"]);
    }
    // Within the limits, but in a thousand scans of nothing.
    let mut bytes = sized("progressive.jpg", 12_000, 12_000);
    let scan = bytes.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
    let head = bytes[scan..scan + 14].to_vec();
    bytes.truncate(scan);
    for _ in 0..250 {
        bytes.extend(&head);
    }
    refused(&bytes, "scans.jpg", &["12000x12000 pixels come in too many scans"]);

    let big = 40_000_u32;
    let png = [&bytes_of_png(big, big)[..], b"\0\0\x10\0IDATx\x01"].concat();
    refused(&png, "x.png", &["40000x40000 pixels take 4800000000 bytes decoded"]);
    refused(&bytes_of_png(0, 3), "x.png", &["x.png"]);
    for header in ["P6 40000 40000 255\n", "P5 60000 60000 65535\n", "P4 4000000000 4000000000\n"] {
        refused(header.as_bytes(), "x.ppm", &["x.ppm"]);
    }
    for header in ["P6 0 5 255\n", "P5 5 0 255\n", "P3 0 0 255\n"] {
        refused(header.as_bytes(), "x.ppm", &["x.ppm"]);
    }
    let mut bmp = self::bytes("bitmap.bmp");
    for (width, height) in [(0, 5), (5, 0), (40_000, 40_000), (i32::MAX, i32::MAX), (9, i32::MIN)] {
        bmp[18..22].copy_from_slice(&i32::to_le_bytes(width));
        bmp[22..26].copy_from_slice(&i32::to_le_bytes(height));
        refused(&bmp, "x.bmp", &["x.bmp"]);
    }
    // A data set of others' making may hand out such a picture all the same.
    let empty = Image { width: 0, height: 9, channels: 3, pixels: vec![] };
    let rng = || augmentation_rng(1, 2, 3, 0, 0);
    let transforms: [Arc<dyn Transform>; 2] =
        [Arc::new(ResizeCrop::to(24)), Arc::new(RandomResizedCrop::to(24))];
    for transform in transforms {
        assert!(transform.apply(&empty, &mut rng()) == empty);
        assert!(transform.load(empty.clone().into(), &mut rng()).unwrap() == empty);
    }
    assert!(empty.to_png().is_none() && empty.to_jpeg(90).is_none());
}

/// A PNG's signature and header.
fn bytes_of_png(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
    header.extend([8, 2, 0, 0, 0]);
    let sum = crc32(&header).to_be_bytes();
    [&b"\x89PNG\r\n\x1a\n\0\0\0\x0d"[..], &header, &sum].concat()
}

#[test]
fn what_is_no_picture_is_called_what_it_is() {
    for (bytes, says) in [
        (&b""[..], "it is empty"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "it is a HEIC picture"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "it is an AVIF picture"),
        (b"<!DOCTYPE html><html></html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "it is a pointer of Git LFS"),
        (b"%PDF-1.4", "it is a PDF file"),
        (b"\0\0\x01\0\x01\0", "it is an icon"),
    ] {
        refused(bytes, "x.jpg", &[says, "on_corrupt = \"skip\""]);
    }
    // Kinds of TIFF that aren't read: with a palette, a fax, JPEG in TIFF.
    for (tag, value, says) in [
        (6, 3, "it is a TIFF file of a kind that isn't supported (RGBPalette with [8]"),
        (3, 4, "it is a TIFF file of a kind that isn't supported (compression 4)"),
        (3, 7, "it is a TIFF file of a kind that isn't supported (compression 7)"),
    ] {
        let mut changed = bytes("grey.tif");
        let entry = changed.windows(4).position(|w| w == [tag, 1, 3, 0]).unwrap();
        changed[entry + 8] = value;
        refused(&changed, "x.tif", &[says]);
    }
}

#[test]
fn gifs_and_tiffs_of_no_or_too_many_pixels_are_refused_before_they_are_decoded() {
    let mut gif = bytes("animated.gif");
    gif[6..10].fill(0xff);
    refused(&gif, "x.gif", &["65535x65535 pixels take", "a picture may take 536870912"]);
    refused(b"GIF89a\x05\0\x05\0\0\0\0;", "x.gif", &["fetch it again"]);
    let tiff = bytes("plain.tif");
    let start = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize + 2;
    for (tag, value) in
        [(256_u16, 60_000_u32), (257, 4_000_000_000), (278, 4_000_000_000), (279, u32::MAX)]
    {
        let entry = (0..12).map(|i| start + 12 * i);
        let entry = entry.clone().find(|&at| tiff[at..at + 2] == tag.to_le_bytes()).unwrap();
        let mut changed = tiff.clone();
        changed[entry + 2..entry + 4].copy_from_slice(&4_u16.to_le_bytes());
        changed[entry + 8..entry + 12].copy_from_slice(&value.to_le_bytes());
        if tag < 258 {
            refused(&changed, "x.tif", &["x.tif"]);
        } else {
            let _ = Image::decode(&changed, "x.tif");
        }
    }
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
