//! JPEG: the same pixels as libjpeg-turbo, and so as Pillow and torchvision; of the part that is
//! wanted, no more than the format allows to leave out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libjpeg_turbo_rs::{
    DecodeLimits, DecodeWarning, Decoder, PixelFormat, ScalingFactor, Subsampling, compress,
};

use crate::mend::{self, Mended};
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
            if !has_end(&bytes, header.is_progressive) {
                return Err("it was cut off: its data has no end".to_owned());
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
    /// Where the data is damaged in a way that libjpeg goes on after, so does this; see [`Decoded::damage`].
    pub fn decode(mut self, wanted: Area, pixels: &mut Vec<u8>) -> Result<Decoded, DataError> {
        match self.part(wanted, pixels) {
            Ok(decoded) => Ok(decoded),
            Err(_) => guarded(&self.file, || {
                let (mended, damage) = self.mended()?;
                let decoder = mended.decoder(damage.is_none())?;
                let all = mended.fill(&decoder, (0, self.width), self.height, pixels)?;
                Ok(Decoded { damage: damage.or(all.damage), ..all })
            }),
        }
    }

    /// Nothing below the wanted rows is read: the header is made to say that the picture ends there.
    /// (Colour is coded at half the resolution and interpolated from neighbours, so a block more is
    /// decoded at each side.)
    fn part(&mut self, wanted: Area, pixels: &mut Vec<u8>) -> Result<Decoded, String> {
        let whole = Area::whole(self.width, self.height);
        // The decoder can't take a part of four-colour pictures.
        let wanted = if self.format == PixelFormat::Cmyk { whole } else { wanted };
        let end = (wanted.top + wanted.height + 2).next_multiple_of(self.block.1);
        let shortened = self.height_at.filter(|_| end < self.height);
        let left = wanted.left.saturating_sub(self.block.0) / self.block.0 * self.block.0;
        let right = (wanted.left + wanted.width + self.block.0).min(self.width);
        self.set_height(shortened, end);
        let decoded = caught(|| {
            let mut decoder = self.decoder(false)?;
            if right - left < self.width {
                decoder.set_crop(left, right - left);
            }
            self.fill(&decoder, (left, right), wanted.top + wanted.height, pixels)
        });
        self.set_height(shortened, self.height);
        decoded
    }

    /// Makes the header say that the picture is so high.
    fn set_height(&mut self, place: Option<usize>, height: usize) {
        if let Some(at) = place {
            self.bytes[at..at + 2].copy_from_slice(&(height as u16).to_be_bytes());
        }
    }

    /// The file with damaged data made whole, where that is possible, and what was wrong with it.
    fn mended(&self) -> Result<(Self, Option<String>), String> {
        match mend::baseline(&self.bytes) {
            Some(Mended { ends_well: false, .. }) => {
                Err("its data ends at a marker without a meaning".to_owned())
            }
            Some(Mended { bytes, damage, .. }) => {
                Ok((Self { bytes, ..self.clone() }, Some(damage)))
            }
            None => Ok((self.clone(), None)),
        }
    }

    /// A decoder of the file: one that ends at damage, or a `lenient` one that goes on as libjpeg does.
    fn decoder(&self, lenient: bool) -> Result<Decoder<'_>, String> {
        let mut decoder =
            Decoder::new_with_limits(&self.bytes, limits()).map_err(|e| e.to_string())?;
        decoder.set_output_format(self.format);
        decoder.set_lenient(lenient);
        // As libjpeg by default: blocks of which only the coarse scans are there.
        decoder.set_block_smoothing(true);
        Ok(decoder)
    }

    /// Decodes the columns from `left` to `right` that a decoder was set to give, and `rows` at least.
    fn fill(
        &self,
        decoder: &Decoder,
        (left, right): (usize, usize),
        rows: usize,
        pixels: &mut Vec<u8>,
    ) -> Result<Decoded, String> {
        let need = decoder.output_buffer_size().map_err(|e| e.to_string())?;
        if pixels.len() < need {
            pixels.resize(need, 0);
        }
        let done = decoder.decode_image_into(pixels).map_err(|e| e.to_string())?;
        let channels = if self.format == PixelFormat::Grayscale { 1 } else { 3 };
        if self.format == PixelFormat::Cmyk {
            *pixels = rgb_of_cmyk(&pixels[..done.bytes_written]);
        }
        if done.width != right - left || pixels.len() < rows * done.width * channels {
            return Err("the decoder gave a picture of another size".to_owned());
        }
        Ok(Decoded { width: done.width, channels, left, damage: damage(&done.warnings)? })
    }

    /// All of it at one part in `by` (2, 4 or 8) of its width and height, rounded up: each block gives
    /// that many fewer pixels, which leaves out most of the arithmetic. With what was wrong with the file.
    pub fn reduced(&self, by: usize) -> Result<(Image, Option<String>), DataError> {
        let decode = |jpeg: &Self, lenient| {
            let mut decoder = jpeg.decoder(lenient)?;
            decoder.set_scale(ScalingFactor::try_new(1, by as u32).map_err(|e| e.to_string())?);
            let done = decoder.decode_image().map_err(|e| e.to_string())?;
            let damage = damage(&done.warnings)?;
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
            Ok((Image { width, height, channels, pixels }, damage))
        };
        guarded(&self.file, || {
            caught(|| decode(self, false)).or_else(|_| {
                let (mended, known) = self.mended()?;
                let (image, damage) = decode(&mended, known.is_none())?;
                Ok((image, known.or(damage)))
            })
        })
    }
}

/// What was decoded of a picture: all rows that were wanted, from the first on, and these columns.
pub(crate) struct Decoded {
    pub width: usize,
    pub channels: usize,
    pub left: usize,
    /// What was wrong with the data, where it could be read all the same.
    pub damage: Option<String>,
}

/// What a decoder came across, if anything; an error if it isn't what libjpeg only warns about, with the
/// same pixels.
fn damage(warnings: &[DecodeWarning]) -> Result<Option<String>, String> {
    let fine = |warning: &&DecodeWarning| {
        use DecodeWarning::{ExtraneousData, TruncatedData};
        matches!(warning, ExtraneousData { .. } | TruncatedData { .. })
    };
    if let Some(worse) = warnings.iter().find(|warning| !fine(warning)) {
        return Err(worse.to_string());
    }
    Ok(warnings.first().map(ToString::to_string))
}

/// Whether the picture's data ends at a marker: the end of the file's, where there are several scans. Where
/// it doesn't, the file was cut off, which Pillow refuses.
fn has_end(bytes: &[u8], several: bool) -> bool {
    const END: u8 = 0xd9;
    if bytes.ends_with(&[0xff, END]) {
        return true;
    }
    let found = bytes.windows(2).position(|pair| pair == [0xff, 0xda]);
    let Some(start) = first_scan(bytes).or(found) else { return false };
    bytes[start + 2..].windows(2).any(|pair| match pair {
        [0xff, END] => true,
        // Neither bytes of data nor restarts nor padding.
        [0xff, marker] => !several && !matches!(marker, 0 | 0xff | 0xd0..=0xd7),
        _ => false,
    })
}

/// Where the first scan begins, if all segments before it are whole.
fn first_scan(bytes: &[u8]) -> Option<usize> {
    let mut at = 2;
    loop {
        let &[0xff, marker, high, low] = bytes.get(at..at + 4)? else { return None };
        match marker {
            0xff => at += 1,
            0xda => return Some(at),
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
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
    caught(decode).map_err(|problem| {
        DataError::file(file, format!("it can't be decoded ({problem})"), DAMAGED)
    })
}

fn caught<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let result = catch_unwind(AssertUnwindSafe(decode));
    result.unwrap_or_else(|_| Err("the JPEG decoder gave up".to_owned()))
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
pub(crate) fn part(ink: u8, light: u8) -> u8 {
    let product = u32::from(ink) * u32::from(light) + 128;
    light - (((product >> 8) + product) >> 8) as u8
}
