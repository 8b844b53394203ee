//! Pictures and augmentation.

use std::sync::Arc;

use crate::common::assert_says;
use retort_datasets::{
    Compose, Identity, Image, RandomAffine, RandomCropFlip, Resize, Transform, augmentation_rng,
};

fn apply(transform: &dyn Transform, image: &Image, sample: usize) -> Image {
    transform.apply(image, &mut augmentation_rng(0, 0, sample, 0, 0))
}

fn picture(width: usize, height: usize, channels: usize) -> Image {
    let pixels = (0..width * height * channels).map(|i| (i * i * 31 % 251) as u8).collect();
    Image { width, height, channels, pixels }
}

/// A black square on white.
fn square(channels: usize) -> Image {
    let pixel =
        |i| if (12..20).contains(&(i % 32)) && (12..20).contains(&(i / 32)) { 0 } else { 255 };
    let pixels = (0..32 * 32).flat_map(|i| vec![pixel(i); channels]).collect();
    Image { width: 32, height: 32, channels, pixels }
}

const PILLOW_SMALL: [u8; 6] = [92, 112, 145, 150, 102, 106];
const PILLOW_LARGE: [u8; 60] = [
    0, 31, 124, 11, 117, 83, 28, 245, 22, 78, 106, 145, 112, 13, 227, 0, 45, 152, 28, 123, 103, 70,
    239, 30, 108, 125, 140, 134, 49, 214, 1, 74, 209, 62, 134, 143, 155, 226, 45, 168, 162, 130,
    177, 120, 187, 1, 88, 237, 79, 140, 163, 197, 219, 52, 198, 181, 125, 198, 155, 174,
];

#[test]
fn resizing_is_pillows() {
    // Image.fromarray(a).resize((w, h), Image.BILINEAR) with a[i] = i * i * 31 % 251.
    let small = picture(7, 5, 1).resized(3, 2);
    assert_eq!(small.pixels, PILLOW_SMALL);
    let large = picture(3, 2, 3).resized(5, 4);
    assert_eq!(large.pixels, PILLOW_LARGE);
    assert_eq!(picture(7, 5, 3).resized(7, 5), picture(7, 5, 3));
}

#[test]
fn colour_and_grey() {
    let grey = picture(4, 4, 1);
    let colour = grey.clone().with_channels(3);
    assert_eq!(
        colour.pixels[..6],
        [
            grey.pixels[0],
            grey.pixels[0],
            grey.pixels[0],
            grey.pixels[1],
            grey.pixels[1],
            grey.pixels[1]
        ]
    );
    assert_eq!(colour.with_channels(1), grey);
    let primaries =
        Image { width: 3, height: 1, channels: 3, pixels: vec![255, 0, 0, 0, 255, 0, 0, 0, 255] };
    assert_eq!(primaries.with_channels(1).pixels, [76, 150, 29]);
}

#[test]
fn the_background_is_the_median_of_the_border() {
    assert_eq!(square(1).border(), [255, 0, 0]);
    let mut image = Image { width: 4, height: 4, channels: 3, pixels: [10, 20, 30].repeat(16) };
    image.pixels[..9].fill(200);
    assert_eq!(image.border(), [10, 20, 30]);
    let dot = Image { width: 1, height: 1, channels: 1, pixels: vec![9] };
    assert_eq!(dot.border(), [9, 0, 0]);
}

#[test]
fn a_crop_moves_and_mirrors_and_fills_with_background() {
    let image = square(3);
    let mut offsets = std::collections::BTreeSet::new();
    for sample in 0..500 {
        let moved = apply(&RandomCropFlip { padding: 2, flip: false }, &image, sample);
        let first = moved.pixels.iter().step_by(3).position(|&value| value == 0).unwrap();
        offsets.insert((first % 32, first / 32));
        let black: Vec<&u8> = moved.pixels.iter().filter(|value| **value == 0).collect();
        assert_eq!(black.len(), 8 * 8 * 3);
    }
    assert_eq!(offsets.len(), 25, "{offsets:?}");
    assert_eq!(offsets.first(), Some(&(10, 10)));

    let flip = RandomCropFlip { padding: 0, flip: true };
    let image = picture(5, 3, 3);
    let mirrored: Vec<u8> = image
        .pixels
        .chunks_exact(15)
        .flat_map(|row| row.chunks_exact(3).rev().flatten().copied().collect::<Vec<_>>())
        .collect();
    let flipped = (0..1000).filter(|&sample| {
        let result = apply(&flip, &image, sample).pixels;
        assert!(result == image.pixels || result == mirrored);
        result == mirrored
    });
    assert!((400..600).contains(&flipped.count()));
}

#[test]
fn an_affine_of_nothing_changes_nothing() {
    for channels in [1, 3] {
        let image = picture(9, 6, channels);
        assert_eq!(apply(&RandomAffine::default(), &image, 1), image);
    }
}

/// Number of black pixels (fractions count), and their centre.
fn ink(image: &Image) -> (f64, f64, f64) {
    let (mut sum, mut x, mut y) = (0.0, 0.0, 0.0);
    for (i, pixel) in image.pixels.chunks_exact(image.channels).enumerate() {
        let black = 1.0 - f64::from(pixel[0]) / 255.0;
        sum += black;
        x += black * (i % image.width) as f64;
        y += black * (i / image.width) as f64;
    }
    (sum, x / sum, y / sum)
}

#[test]
fn an_affine_keeps_to_its_limits() {
    let reach = |transform: RandomAffine, measure: &dyn Fn(&Image) -> f64| {
        let values = (0..300).map(|sample| measure(&apply(&transform, &square(1), sample)));
        let values: Vec<f64> = values.collect();
        let bound = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).unwrap();
        (bound(f64::min), bound(f64::max))
    };
    let close = |(low, high): (f64, f64), (least, most): (f64, f64), tolerance: f64| {
        assert!(low >= least - tolerance && low < least + 3.0 * tolerance, "{low} from {least}");
        assert!(high <= most + tolerance && high > most - 3.0 * tolerance, "{high} to {most}");
    };
    let still = RandomAffine::default();
    // Areas: shearing and turning keep 64, resizing by 1 -/+ 0.2 gives 41 to 92.
    close(reach(RandomAffine { rotate: 45.0, ..still }, &|i| ink(i).0), (64.0, 64.0), 1.5);
    close(reach(RandomAffine { shear: 20.0, ..still }, &|i| ink(i).0), (64.0, 64.0), 1.5);
    close(reach(RandomAffine { scale: 0.2, ..still }, &|i| ink(i).0), (41.0, 92.2), 2.0);
    // Centres: only moving changes them, here by up to 3.2 pixels.
    let moved = RandomAffine { translate: 0.1, ..still };
    close(reach(moved, &|i| ink(i).1), (12.3, 18.7), 0.1);
    close(reach(moved, &|i| ink(i).2), (12.3, 18.7), 0.1);
    let turned = RandomAffine { rotate: 45.0, scale: 0.2, shear: 20.0, ..still };
    close(reach(turned, &|i| ink(i).1), (15.5, 15.5), 0.2);
}

#[test]
fn an_affine_fills_with_the_background_or_the_given_value() {
    let image = Image { width: 16, height: 16, channels: 3, pixels: [10, 20, 30].repeat(256) };
    let turn = RandomAffine { rotate: 45.0, translate: 0.5, scale: 0.5, ..RandomAffine::default() };
    assert_eq!(apply(&turn, &image, 3), image);
    let black = apply(&RandomAffine { fill: Some(0), ..turn }, &image, 3);
    assert!(black.pixels.contains(&0) && black.pixels.contains(&30));
}

#[test]
fn absurd_amounts_do_not_panic() {
    for value in [1e30, f32::INFINITY, f32::NAN, -5.0] {
        let absurd = RandomAffine {
            rotate: value,
            scale: value,
            translate: value,
            shear: value,
            fill: None,
        };
        assert_eq!(apply(&absurd, &picture(8, 8, 3), 0).pixels.len(), 8 * 8 * 3);
    }
    let crop = RandomCropFlip { padding: usize::MAX, flip: true };
    assert_eq!(apply(&crop, &picture(8, 8, 1), 0).pixels.len(), 64);
}

#[test]
fn composition_applies_in_order() {
    let image = picture(8, 8, 3);
    let resize = Resize { width: 4, height: 6 };
    let both = Compose(vec![Arc::new(Identity), Arc::new(resize), Arc::new(Identity)]);
    assert_eq!(apply(&both, &image, 0), image.resized(4, 6));
    assert_eq!(apply(&Compose(vec![]), &image, 0), image);
}

#[test]
fn a_stream_belongs_to_sample_view_epoch_and_seed() {
    let crop = RandomAffine { rotate: 30.0, translate: 0.2, ..RandomAffine::default() };
    let draw = |seed, epoch, sample, view, occurrence| {
        crop.apply(&square(1), &mut augmentation_rng(seed, epoch, sample, view, occurrence)).pixels
    };
    let first = draw(1, 2, 3, 4, 0);
    assert_eq!(first, draw(1, 2, 3, 4, 0));
    for other in [
        draw(2, 2, 3, 4, 0),
        draw(1, 3, 3, 4, 0),
        draw(1, 2, 4, 4, 0),
        draw(1, 2, 3, 5, 0),
        draw(1, 2, 3, 4, 1),
    ] {
        assert_ne!(first, other);
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    let error = Image::decode(b"<html>Not found</html>", "birds/1.jpg").unwrap_err();
    assert_says(&error, &["birds/1.jpg", "it is a web page", "fetch it again"]);
    assert_says(&Image::decode(b"", "empty.png").unwrap_err(), &["empty.png"]);
}
