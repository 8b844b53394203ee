//! JPEG: the same pixels as libjpeg-turbo, and so as Pillow and torchvision; of the part that is
//! wanted, no more than the format allows to leave out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat, ScalingFactor, Subsampling, compress};

use crate::picture::{DAMAGED, room};
use crate::{Area, DataError, Image};

/// Bytes that a decoder may take beside the file, by its own estimate.
const MOST_MEMORY: u64 = 1 << 30;
/// Scans of a progressive picture; encoders make some ten.
const MOST_SCANS: usize = 256;
/// Pixels times scans: each scan may visit each pixel, however few bytes it has.
const MOST_VISITS: u64 = 1 << 32;

/// A picture as a JPEG file.
pub(crate) fn encode(image: &Image, quality: u8) -> Option<Vec<u8>> {
    let (format, colour) = match image.channels {
        1 => (PixelFormat::Grayscale, Subsampling::S444),
        _ => (PixelFormat::Rgb, Subsampling::S420),
    };
    compress(&image.pixels, image.width, image.height, format, quality, colour).ok()
}

/// A JPEG file whose header has been read.
#[derive(Clone)]
pub(crate) struct Jpeg {
    bytes: Vec<u8>,
    file: String,
    width: usize,
    height: usize,
    format: PixelFormat,
    /// Width and height of the blocks that the picture is coded in.
    block: (usize, usize),
    /// Where the header says how high the picture is.
    height_at: Option<usize>,
}

impl std::fmt::Debug for Jpeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Jpeg({}x{}, {})", self.height, self.width, self.file)
    }
}

impl Jpeg {
    pub fn new(bytes: Vec<u8>, file: &str) -> Result<Self, DataError> {
        guarded(file, || {
            let decoder = Decoder::new_header_only(&bytes, limits()).map_err(|e| e.to_string())?;
            let header = decoder.header();
            let most = |of: fn(u8, u8) -> u8| {
                let factors = header.components.iter();
                let factors = factors.map(|c| of(c.horizontal_sampling, c.vertical_sampling));
                8 * usize::from(factors.max().unwrap_or(1))
            };
            let format = match header.components.len() {
                1 => PixelFormat::Grayscale,
                4 => PixelFormat::Cmyk,
                _ => PixelFormat::Rgb,
            };
            let (width, height) = (usize::from(header.width), usize::from(header.height));
            let channels = if format == PixelFormat::Grayscale { 1 } else { 3 };
            room(width, height, (width * height * channels) as u64)?;
            let pixels = (width * height) as u64;
            if pixels * MOST_SCANS as u64 > MOST_VISITS
                && pixels * scans(&bytes) as u64 > MOST_VISITS
            {
                return Err(format!("its {width}x{height} pixels come in too many scans"));
            }
            let block = (most(|across, _| across), most(|_, down| down));
            let height_at = height_field(&bytes);
            Ok((width, height, format, block, height_at))
        })
        .map(|(width, height, format, block, height_at)| Self {
            bytes,
            file: file.to_owned(),
            width,
            height,
            format,
            block,
            height_at,
        })
    }

    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Decodes a part that holds `wanted` at least, from the first row on, into `pixels`, which may
    /// become longer than that.
    ///
    /// Nothing below the wanted rows is read: the header is made to say that the picture ends there.
    /// (Colour is coded at half the resolution and interpolated from neighbours, so a block more is
    /// decoded at each side.)
    pub fn decode(mut self, wanted: Area, pixels: &mut Vec<u8>) -> Result<Decoded, DataError> {
        let whole = Area::whole(self.width, self.height);
        // The decoder can't take a part of four-colour pictures.
        let wanted = if self.format == PixelFormat::Cmyk { whole } else { wanted };
        let end = (wanted.top + wanted.height + 2).next_multiple_of(self.block.1);
        if let (true, Some(at)) = (end < self.height, self.height_at) {
            self.bytes[at..at + 2].copy_from_slice(&(end as u16).to_be_bytes());
        }
        let left = wanted.left.saturating_sub(self.block.0) / self.block.0 * self.block.0;
        let right = (wanted.left + wanted.width + self.block.0).min(self.width);
        guarded(&self.file, || {
            let mut decoder =
                Decoder::new_with_limits(&self.bytes, limits()).map_err(|e| e.to_string())?;
            decoder.set_output_format(self.format);
            if right - left < self.width {
                decoder.set_crop(left, right - left);
            }
            let need = decoder.output_buffer_size().map_err(|e| e.to_string())?;
            if pixels.len() < need {
                pixels.resize(need, 0);
            }
            let done = decoder.decode_image_into(pixels).map_err(|e| e.to_string())?;
            let channels = if self.format == PixelFormat::Grayscale { 1 } else { 3 };
            if self.format == PixelFormat::Cmyk {
                *pixels = rgb_of_cmyk(&pixels[..done.bytes_written]);
            }
            let rows = (wanted.top + wanted.height) * done.width * channels;
            if done.width != right - left || pixels.len() < rows {
                return Err("the decoder gave a picture of another size".to_owned());
            }
            Ok(Decoded { width: done.width, channels, left })
        })
    }
}

impl Jpeg {
    /// All of it at one part in `by` (2, 4 or 8) of its width and height, rounded up: each block gives
    /// that many fewer pixels, which leaves out most of the arithmetic.
    pub fn reduced(&self, by: usize) -> Result<Image, DataError> {
        guarded(&self.file, || {
            let mut decoder =
                Decoder::new_with_limits(&self.bytes, limits()).map_err(|e| e.to_string())?;
            decoder.set_output_format(self.format);
            decoder.set_scale(ScalingFactor::try_new(1, by as u32).map_err(|e| e.to_string())?);
            let done = decoder.decode_image().map_err(|e| e.to_string())?;
            let (channels, pixels) = match self.format {
                PixelFormat::Grayscale => (1, done.data),
                PixelFormat::Cmyk => (3, rgb_of_cmyk(&done.data)),
                _ => (3, done.data),
            };
            let (width, height) = (done.width, done.height);
            let expected = (self.width.div_ceil(by), self.height.div_ceil(by));
            if (width, height) != expected || pixels.len() != width * height * channels {
                return Err("the decoder gave a picture of another size".to_owned());
            }
            Ok(Image { width, height, channels, pixels })
        })
    }
}

/// What was decoded of a picture: all rows that were wanted, from the first on, and these columns.
pub(crate) struct Decoded {
    pub width: usize,
    pub channels: usize,
    pub left: usize,
}

fn limits() -> DecodeLimits {
    DecodeLimits { max_scans: MOST_SCANS, max_memory: Some(MOST_MEMORY), ..DecodeLimits::default() }
}

/// Scans of a file, or a few more.
fn scans(bytes: &[u8]) -> usize {
    bytes.windows(2).filter(|pair| *pair == [0xff, 0xda]).count()
}

/// Errors of the decoder, and its panics on files that nobody has thought of.
fn guarded<T>(file: &str, decode: impl FnOnce() -> Result<T, String>) -> Result<T, DataError> {
    let result = catch_unwind(AssertUnwindSafe(decode));
    let result = result.unwrap_or_else(|_| Err("the JPEG decoder gave up".to_owned()));
    result.map_err(|problem| {
        DataError::file(file, format!("it can't be decoded ({problem})"), DAMAGED)
    })
}

/// Where the frame header of a Huffman-coded file says how high the picture is.
fn height_field(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        let &[0xff, marker, high, low] = bytes.get(at..at + 4)? else { return None };
        match marker {
            0xff => at += 1,
            0xc0..=0xc2 => return (at + 9 <= bytes.len()).then_some(at + 5),
            // Arithmetic coding, lossless, or no frame before the data.
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xda => return None,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
}

/// As Pillow does: the values are stored inverted, and black takes its share of each colour.
fn rgb_of_cmyk(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<4>();
    pixels.iter().flat_map(|&[c, m, y, k]| [c, m, y].map(|ink| part(255 - ink, k))).collect()
}

/// `light` less the `ink`'s part of it, in 255ths.
fn part(ink: u8, light: u8) -> u8 {
    let product = u32::from(ink) * u32::from(light) + 128;
    light - (((product >> 8) + product) >> 8) as u8
}
