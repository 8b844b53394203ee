//! A query and its neighbours as one picture.

use crate::failure::{Failure, Result};
use image::{ImageFormat, Rgb, RgbImage};
use retort_datasets::Image;
use std::io::Cursor;
use std::path::Path;

/// Width and height of a picture, its frame, and the space between two, in pixels.
const SIDE: u32 = 128;
const FRAME: u32 = 6;
const GAP: u32 = 8;
/// Neighbours in a row.
const COLUMNS: usize = 10;

const QUERY: Rgb<u8> = Rgb([40, 80, 200]);
const RIGHT: Rgb<u8> = Rgb([0, 160, 70]);
const WRONG: Rgb<u8> = Rgb([215, 40, 40]);
const UNKNOWN: Rgb<u8> = Rgb([150, 150, 150]);

/// Neighbours that one sheet shows: 100 rows of them.
pub const MOST: usize = 1000;

/// A picture as small as it will be on the sheet.
pub fn small(picture: &Image) -> Image {
    let longest = picture.width.max(picture.height).max(1);
    let fit = |side: usize| (side * SIDE as usize / longest).max(1);
    picture.resized(fit(picture.width), fit(picture.height)).with_channels(3)
}

/// Writes a PNG: the query in a blue frame, then its neighbours, nearest first and ten in a row. A
/// neighbour's frame is green if it is of the query's class, red if not, grey if that isn't known.
pub fn write(path: &Path, query: &Image, neighbours: &[(Image, Option<bool>)]) -> Result<()> {
    let cell = SIDE + 2 * FRAME + GAP;
    let columns = neighbours.len().clamp(1, COLUMNS) as u32;
    let rows = neighbours.len().div_ceil(COLUMNS).max(1) as u32;
    // The query stands apart from the first column by one more gap.
    let (width, height) = ((1 + columns) * cell + 3 * GAP, rows * cell + GAP);
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    draw(&mut sheet, GAP, GAP, query, QUERY);
    for (i, (picture, right)) in neighbours.iter().enumerate() {
        let (column, row) = ((i % COLUMNS) as u32, (i / COLUMNS) as u32);
        let frame = match right {
            Some(true) => RIGHT,
            Some(false) => WRONG,
            None => UNKNOWN,
        };
        draw(&mut sheet, 3 * GAP + (1 + column) * cell, GAP + row * cell, picture, frame);
    }
    let mut png = Cursor::new(Vec::new());
    sheet.write_to(&mut png, ImageFormat::Png).map_err(|e| Failure::file("write", path, e))?;
    retort_core::fs::atomic_write(path, png.get_ref()).map_err(Failure::new)
}

/// A picture in the middle of its frame, as large as it can be there.
fn draw(sheet: &mut RgbImage, left: u32, top: u32, picture: &Image, frame: Rgb<u8>) {
    for y in 0..SIDE + 2 * FRAME {
        for x in 0..SIDE + 2 * FRAME {
            let inside = |v: u32| (FRAME..FRAME + SIDE).contains(&v);
            if !(inside(x) && inside(y)) {
                sheet.put_pixel(left + x, top + y, frame);
            }
        }
    }
    let small = small(picture);
    let (x0, y0) = ((SIDE - small.width as u32) / 2, (SIDE - small.height as u32) / 2);
    for (i, pixel) in small.pixels.as_chunks::<3>().0.iter().enumerate() {
        let (x, y) = ((i % small.width) as u32, (i / small.width) as u32);
        sheet.put_pixel(left + FRAME + x0 + x, top + FRAME + y0 + y, Rgb(*pixel));
    }
}
