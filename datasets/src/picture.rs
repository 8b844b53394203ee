//! 8-bit pictures: decoding, resizing, colour.

use std::io::Cursor;
use std::sync::Arc;

use image::{DynamicImage, ImageDecoder as _, ImageError, ImageFormat};

use crate::damage::Note;
use crate::jpeg::{self, Decoded, Jpeg};
use crate::kind::{self, UNREADABLE};
use crate::resize::Part;
use crate::tiff::{self, Fault};
use crate::{Area, DataError, Resized, gif};

/// An 8-bit picture, row-major and interleaved: channel `c` of pixel (`x`, `y`) is
/// `pixels[(y * width + x) * channels + c]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `height * width * channels` values.
    pub pixels: Vec<u8>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}x{}x{})", self.height, self.width, self.channels)
    }
}

impl Image {
    /// Decodes a picture file. `file` names it in errors. Grey stays grey, everything else becomes
    /// RGB as Pillow's `convert("RGB")` does: transparency is dropped, of 16 bits the upper 8 stay (of grey
    /// ones, too, which Pillow cuts off at 255). The camera's orientation tag is ignored.
    pub fn decode(bytes: &[u8], file: &str) -> Result<Self, DataError> {
        Ok(Arc::unwrap_or_clone(Picture::new(bytes.to_vec(), file)?.decode()?))
    }

    /// The bytes of a PNG file of a picture of 1 or 3 channels; none if it has no pixels.
    pub fn to_png(&self) -> Option<Vec<u8>> {
        let color = match self.channels {
            1 => image::ColorType::L8,
            _ => image::ColorType::Rgb8,
        };
        let (width, height) = (u32::try_from(self.width).ok()?, u32::try_from(self.height).ok()?);
        let (mut bytes, png) = (Cursor::new(Vec::new()), image::ImageFormat::Png);
        let size = self.width * self.height * self.channels;
        if size == 0 || self.pixels.len() != size {
            return None;
        }
        image::write_buffer_with_format(&mut bytes, &self.pixels, width, height, color, png)
            .ok()?;
        Some(bytes.into_inner())
    }

    /// The bytes of a JPEG file of a picture of 1 or 3 channels, at a quality of 1 to 100; none if it has
    /// no pixels.
    pub fn to_jpeg(&self, quality: u8) -> Option<Vec<u8>> {
        jpeg::encode(self, quality)
    }

    /// The picture with 1 or 3 channels: grey is repeated, colour becomes luma (ITU-R 601).
    #[must_use]
    pub fn with_channels(self, channels: usize) -> Self {
        let pixels = match (self.channels, channels) {
            (1, 3) => self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            (3, 1) => self.pixels.chunks_exact(3).map(luma).collect(),
            _ => return self,
        };
        Self { channels, pixels, ..self }
    }

    /// The picture at another size: triangle filter, widened when shrinking so that nothing
    /// aliases, in Pillow's 8-bit arithmetic (`Image.resize(…, BILINEAR)`, bit for bit).
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) || self.pixels.is_empty() {
            return self.clone();
        }
        let (whole, all) = (Area::whole(self.width, self.height), Area::whole(width, height));
        Resized::new(whole, width, height, all).apply(self)
    }

    /// The background: the median of the outermost pixels, per channel (the second and third are
    /// 0 in a grey picture).
    pub fn border(&self) -> [u8; 3] {
        let mut counts = [[0_usize; 256]; 3];
        let row = self.width * self.channels;
        let mut total = 0;
        let mut count = |values: &[u8]| {
            for pixel in values.chunks_exact(self.channels) {
                total += 1;
                for (counts, &value) in counts.iter_mut().zip(pixel) {
                    counts[usize::from(value)] += 1;
                }
            }
        };
        for (y, values) in self.pixels.chunks_exact(row.max(1)).enumerate() {
            if y == 0 || y + 1 == self.height {
                count(values);
            } else {
                count(&values[..self.channels]);
                count(&values[row - self.channels..]);
            }
        }
        counts.map(|counts| {
            let mut below = 0;
            let median = counts.iter().position(|&n| {
                below += n;
                2 * below > total
            });
            median.unwrap_or(0) as u8
        })
    }
}

fn luma(rgb: &[u8]) -> u8 {
    let [r, g, b] = [0, 1, 2].map(|c| u32::from(rgb[c]));
    ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
}

/// A picture as it was stored. A JPEG is decoded when it is known which part of it is needed.
#[derive(Clone, Debug)]
pub struct Picture {
    stored: Stored,
    /// Whether it may be decoded at a part of its size.
    reducible: bool,
    /// Where damage is noted that it could be read in spite of.
    note: Option<Note>,
}

#[derive(Clone, Debug)]
enum Stored {
    Decoded(Arc<Image>),
    Jpeg(Jpeg),
}

impl From<Image> for Picture {
    fn from(image: Image) -> Self {
        Arc::new(image).into()
    }
}

impl From<Arc<Image>> for Picture {
    fn from(image: Arc<Image>) -> Self {
        Self { stored: Stored::Decoded(image), reducible: false, note: None }
    }
}

impl Picture {
    /// The content of a picture file: JPEG, PNG, GIF (its first frame), TIFF (its first page), BMP, PNM or
    /// WebP, by its first bytes, whatever the name. `file` names it in errors.
    pub fn new(bytes: Vec<u8>, file: &str) -> Result<Self, DataError> {
        if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            let stored = Stored::Jpeg(Jpeg::new(bytes, file)?);
            return Ok(Self { stored, reducible: false, note: None });
        }
        let fail = |problem: String| DataError::file(file, problem, DAMAGED);
        if bytes.starts_with(b"GIF8") {
            return Ok(gif::decode(&bytes).map_err(fail)?.into());
        }
        if tiff::is_tiff(&bytes) {
            return match tiff::decode(&bytes) {
                Ok(image) => Ok(image.into()),
                Err(Fault::Damaged(problem)) => Err(fail(problem)),
                Err(Fault::Unsupported(kind)) => {
                    Err(DataError::file(file, format!("it is {kind}"), UNREADABLE))
                }
            };
        }
        let reader = image::ImageReader::new(Cursor::new(&bytes)).with_guessed_format();
        let mut reader = reader.map_err(|e| fail(e.to_string()))?;
        let format = reader.format();
        let unknown = format.is_none();
        let refuse = |e: ImageError| match (e, kind::name(&bytes)) {
            (_, Some(kind)) => DataError::file(file, format!("it is {kind}"), UNREADABLE),
            (ImageError::Unsupported(_), None) if unknown => {
                fail("it begins like no kind of picture".to_owned())
            }
            (ImageError::Unsupported(e), None) => DataError::file(file, e.to_string(), UNREADABLE),
            (e, None) => fail(e.to_string()),
        };
        let mut limits = image::Limits::default();
        limits.max_alloc = Some(MOST_BYTES);
        reader.limits(limits);
        let decoder = reader.into_decoder().map_err(refuse)?;
        let (width, height) = decoder.dimensions();
        let (width, height) = (width as usize, height as usize);
        room(width, height, decoder.total_bytes()).map_err(fail)?;
        let decoded = DynamicImage::from_decoder(decoder).map_err(refuse)?;
        let (channels, pixels) = eight_bits(decoded, format == Some(ImageFormat::Pnm));
        Ok(Image { width, height, channels, pixels }.into())
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        match &self.stored {
            Stored::Decoded(image) => (image.width, image.height),
            Stored::Jpeg(jpeg) => jpeg.size(),
        }
    }

    /// The same, which may be decoded at a part of its size.
    pub(crate) fn reducible(self) -> Self {
        Self { reducible: true, ..self }
    }

    /// The same, with a place to note damage in.
    pub(crate) fn noting(self, note: Note) -> Self {
        Self { note: Some(note), ..self }
    }

    /// Where that is allowed and possible, the picture at 1/2, 1/4 or 1/8 of its size, so that of
    /// `have` pixels `least` are left; and the divisor, else 1.
    pub(crate) fn reduced(self, have: usize, least: usize) -> Result<(Self, usize), DataError> {
        let by = [8, 4, 2].into_iter().find(|by| have / by >= least.max(1));
        match (&self.stored, by) {
            (Stored::Jpeg(jpeg), Some(by)) if self.reducible => {
                let (image, damage) = jpeg.reduced(by)?;
                note(self.note.as_ref(), damage.as_deref());
                Ok((image.into(), by))
            }
            _ => Ok((self, 1)),
        }
    }

    /// All of it.
    pub fn decode(self) -> Result<Arc<Image>, DataError> {
        match self.stored {
            Stored::Decoded(image) => Ok(image),
            Stored::Jpeg(jpeg) => {
                let (width, height) = jpeg.size();
                let mut pixels = Vec::new();
                let done = jpeg.decode(Area::whole(width, height), &mut pixels)?;
                note(self.note.as_ref(), done.damage.as_deref());
                let channels = done.channels;
                pixels.truncate(width * height * channels);
                Ok(Arc::new(Image { width, height, channels, pixels }))
            }
        }
    }

    /// A crop of it at another size. Of a JPEG, only what that needs is decoded, so damage below it
    /// goes unnoticed.
    pub fn resized(self, plan: &Resized) -> Result<Image, DataError> {
        match self.stored {
            Stored::Decoded(image) => Ok(plan.apply(&image)),
            Stored::Jpeg(jpeg) => {
                let mut pixels = SCRATCH.take();
                let result = jpeg.decode(plan.needs(), &mut pixels).map(|at| {
                    let Decoded { width, channels, left, damage } = at;
                    note(self.note.as_ref(), damage.as_deref());
                    let part = Part { pixels: &pixels, width, channels, left, top: 0 };
                    plan.apply_to(&part)
                });
                keep(&SCRATCH, pixels);
                result
            }
        }
    }
}

fn note(place: Option<&Note>, damage: Option<&str>) {
    if let (Some(note), Some(damage)) = (place, damage) {
        note.add(damage);
    }
}

/// Channels and pixels of a decoded file. Of 16 bits the upper 8 stay, as in Pillow, except in PNM (`scaled`),
/// whose values it scales and rounds.
fn eight_bits(decoded: DynamicImage, scaled: bool) -> (usize, Vec<u8>) {
    let upper = |values: &[u16]| values.iter().map(|&value| (value >> 8) as u8).collect();
    match decoded {
        DynamicImage::ImageLuma16(grey) if !scaled => (1, upper(grey.as_raw())),
        DynamicImage::ImageLumaA16(grey) if !scaled => {
            (1, grey.pixels().map(|pixel| (pixel.0[0] >> 8) as u8).collect())
        }
        DynamicImage::ImageRgb16(colour) if !scaled => (3, upper(colour.as_raw())),
        DynamicImage::ImageRgba16(colour) if !scaled => {
            let rgb = colour.pixels().flat_map(|pixel| [pixel.0[0], pixel.0[1], pixel.0[2]]);
            (3, rgb.map(|value| (value >> 8) as u8).collect())
        }
        colour if colour.color().has_color() => (3, colour.into_rgb8().into_raw()),
        grey => (1, grey.into_luma8().into_raw()),
    }
}

std::thread_local! {
    /// What was decoded of the last picture: getting so much memory anew for each takes a while.
    static SCRATCH: std::cell::Cell<Vec<u8>> = const { std::cell::Cell::new(Vec::new()) };
}

/// Keeps a buffer for the next picture on this thread, unless it is of a giant.
pub(crate) fn keep(
    place: &'static std::thread::LocalKey<std::cell::Cell<Vec<u8>>>,
    buffer: Vec<u8>,
) {
    if buffer.capacity() <= 64 << 20 {
        place.set(buffer);
    }
}

/// Bytes that a picture may take, decoded: 178 million pixels in 8-bit colour.
pub(crate) const MOST_BYTES: u64 = 512 << 20;

/// Whether a header's claims make a picture at all, and one that may be decoded.
pub(crate) fn room(width: usize, height: usize, bytes: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("it is {width}x{height} pixels, so there are none"));
    }
    if bytes > MOST_BYTES {
        return Err(format!(
            "its {width}x{height} pixels take {bytes} bytes decoded, and a picture may take {MOST_BYTES}"
        ));
    }
    Ok(())
}

pub(crate) const DAMAGED: &str = "The file is damaged or not a picture: fetch it again";
