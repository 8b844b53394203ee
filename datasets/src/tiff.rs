//! TIFF: the first page, with the pixels that Pillow gives it. Uncompressed, PackBits, LZW and deflate, of 8 or 16
//! bits: what photographs come in.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{ColorType, TiffError};

use crate::Image;
use crate::jpeg::part;
use crate::picture::{MOST_BYTES, room};

/// What such a file begins with, in either order of bytes, and with offsets of 32 or 64 bits.
const STARTS: [&[u8]; 4] = [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"];
/// Bytes that a value of its directory may have: more than a million strips.
const LARGEST_VALUE: usize = 16 << 20;

/// Why there is no picture.
pub(crate) enum Fault {
    Damaged(String),
    /// It is whole, but of a kind that isn't read.
    Unsupported(String),
}

impl From<TiffError> for Fault {
    fn from(error: TiffError) -> Self {
        match error {
            TiffError::UnsupportedError(why) => {
                Self::Unsupported(format!("a TIFF file of a kind that isn't supported ({why})"))
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Whether a file is one.
pub(crate) fn is_tiff(bytes: &[u8]) -> bool {
    STARTS.iter().any(|start| bytes.starts_with(start))
}

/// The first page.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, Fault> {
    let result = catch_unwind(AssertUnwindSafe(|| first_page(bytes)));
    result.unwrap_or_else(|_| Err(Fault::Damaged("the TIFF decoder gave up".to_owned())))
}

fn first_page(bytes: &[u8]) -> Result<Image, Fault> {
    let most = usize::try_from(MOST_BYTES).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = most;
    limits.intermediate_buffer_size = most;
    limits.ifd_value_size = LARGEST_VALUE;
    let mut decoder = Decoder::new(Cursor::new(bytes))?.with_limits(limits);
    let (width, height) = decoder.dimensions()?;
    let (width, height) = (width as usize, height as usize);
    let kind = decoder.colortype()?;
    let (samples, bits) = match kind {
        ColorType::Gray(bits) => (1, bits),
        ColorType::RGB(bits) => (3, bits),
        ColorType::RGBA(bits) | ColorType::CMYK(bits) => (4, bits),
        other => return Err(unsupported(&format!("{other:?}"))),
    };
    let pixels = width.saturating_mul(height) as u64;
    room(width, height, pixels.saturating_mul(samples * u64::from(bits).div_ceil(8)))
        .map_err(Fault::Damaged)?;
    let compression = decoder.find_tag_unsigned::<u16>(Tag::Compression)?.unwrap_or(1);
    // JPEG's decoder in there knows no limits.
    if !matches!(compression, 1 | 5 | 8 | 32_773 | 32_946) {
        return Err(unsupported(&format!("compression {compression}")));
    }
    let planar = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration)?.unwrap_or(1);
    if planar != 1 && samples > 1 {
        return Err(unsupported("colours in planes"));
    }
    let values = match (decoder.read_image()?, bits) {
        (DecodingResult::U8(values), 8) => values,
        // As Pillow does.
        (DecodingResult::U16(values), 16) => {
            values.iter().map(|value| (value >> 8) as u8).collect()
        }
        _ => return Err(unsupported(&format!("samples of {bits} bits"))),
    };
    let (channels, pixels) = match kind {
        ColorType::Gray(_) => (1, values),
        ColorType::RGBA(_) => {
            let (values, _) = values.as_chunks::<4>();
            (3, values.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect())
        }
        ColorType::CMYK(_) => {
            let (values, _) = values.as_chunks::<4>();
            let rgb = |&[c, m, y, k]: &[u8; 4]| [c, m, y].map(|ink| part(ink, 255 - k));
            (3, values.iter().flat_map(rgb).collect())
        }
        _ => (3, values),
    };
    if pixels.len() != width * height * channels {
        return Err(Fault::Damaged("the decoder gave a picture of another size".to_owned()));
    }
    Ok(Image { width, height, channels, pixels })
}

fn unsupported(what: &str) -> Fault {
    Fault::Unsupported(format!("a TIFF file of a kind that isn't supported ({what})"))
}
