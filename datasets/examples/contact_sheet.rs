//! Writes a sheet of pictures to look at: a row per class, first as they are, then augmented.
//!
//! `cargo run -p retort-datasets --example contact_sheet -- glyphs sheet.png [data root]`

use std::error::Error;
use std::path::PathBuf;

use retort_datasets::{Image, Options, Split, augmentation_rng, find, open};

const ROWS: usize = 20;
const COLUMNS: usize = 12;
const MARGIN: usize = 2;
const ZOOM: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, file, root @ ..] = &arguments[..] else {
        return Err("usage: contact_sheet DATASET FILE.png [DATA_ROOT]".into());
    };
    let options = Options { root: root.first().map(PathBuf::from), ..Options::default() };
    let dataset = open(name, Split::Train, &options)?;
    let augmentation = (find(name)?.augmentation)();

    let cell = options.size + MARGIN;
    let (width, height) = (2 * COLUMNS * cell, ROWS * cell);
    let mut sheet = vec![255; width * height * 3];
    let mut paste = |image: Image, row: usize, column: usize| {
        let bytes = image.width * 3;
        for (y, line) in image.with_channels(3).pixels.chunks_exact(bytes).enumerate() {
            sheet[((row * cell + y) * width + column * cell) * 3..][..bytes].copy_from_slice(line);
        }
    };
    let step = (dataset.classes().len() / ROWS).max(1);
    for row in 0..ROWS.min(dataset.classes().len()) {
        let samples = (0..dataset.len()).filter(|&i| dataset.labels()[i] == row * step);
        for (column, sample) in samples.take(COLUMNS).enumerate() {
            let image = dataset.image(sample)?;
            let augmented = augmentation.apply(&image, &mut augmentation_rng(0, 0, sample, 0, 0));
            paste(image, row, column);
            paste(augmented, row, COLUMNS + column);
        }
    }
    let sheet = image::RgbImage::from_raw(width as u32, height as u32, sheet).ok_or("size")?;
    let (width, height) = ((width * ZOOM) as u32, (height * ZOOM) as u32);
    let nearest = image::imageops::FilterType::Nearest;
    image::imageops::resize(&sheet, width, height, nearest).save(file)?;
    Ok(())
}
