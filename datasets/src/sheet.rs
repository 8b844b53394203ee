//! A sheet of pictures to look at.

use crate::{DataError, Dataset, Image, Transform, augmentation_rng};

const ROWS: usize = 12;
const COLUMNS: usize = 6;
const MARGIN: usize = 4;

/// Up to twelve classes, spread over the data set, a row each: six pictures as they are, then the
/// same as `transform` makes them in epoch 0 of seed 0; each fitted into `cell` x `cell` pixels.
pub fn contact_sheet(
    dataset: &dyn Dataset,
    transform: &dyn Transform,
    cell: usize,
) -> Result<Image, DataError> {
    let classes = dataset.classes().len();
    let rows = ROWS.min(classes);
    let pitch = cell + MARGIN;
    let (width, height) = (2 * COLUMNS * pitch + 3 * MARGIN, rows * pitch + MARGIN);
    let mut sheet = Image { width, height, channels: 3, pixels: vec![255; width * height * 3] };
    for row in 0..rows {
        let class = row * classes / rows;
        let samples = (0..dataset.len()).filter(|&i| dataset.labels()[i] == class).take(COLUMNS);
        for (column, sample) in samples.enumerate() {
            let image = dataset.image(sample)?;
            let random = &mut augmentation_rng(0, 0, sample, 0, 0);
            let changed = transform.apply(&image, random);
            let (left, top) = (MARGIN + column * pitch, MARGIN + row * pitch);
            paste(&mut sheet, &image, left, top, cell);
            paste(&mut sheet, &changed, left + COLUMNS * pitch + 2 * MARGIN, top, cell);
        }
    }
    Ok(sheet)
}

/// Puts a picture into the middle of a cell, as large as fits.
fn paste(sheet: &mut Image, image: &Image, left: usize, top: usize, cell: usize) {
    let long = image.width.max(image.height).max(1);
    let fit = |side: usize| (side * cell / long).max(1);
    let image = image.resized(fit(image.width), fit(image.height)).with_channels(3);
    let (left, top) = (left + (cell - image.width) / 2, top + (cell - image.height) / 2);
    for (y, line) in image.pixels.chunks_exact(3 * image.width).enumerate() {
        let at = 3 * ((top + y) * sheet.width + left);
        sheet.pixels[at..at + line.len()].copy_from_slice(line);
    }
}
