//! GIF: the first frame, with the pixels that Pillow gives it.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use crate::Image;
use crate::picture::{MOST_BYTES, room};

/// The first frame in RGB, or why there is none.
///
/// Where it leaves the canvas free, that has the transparent colour or else the first. (The background
/// colour that a file names is ignored by all.) A frame that is larger than the canvas makes it larger.
/// A colour that the palette doesn't have is black.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, String> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(
        NonZeroU64::new(MOST_BYTES).unwrap_or(NonZeroU64::MIN),
    ));
    let mut decoder = options.read_info(bytes).map_err(|e| e.to_string())?;
    let frame = decoder.next_frame_info().map_err(|e| e.to_string())?;
    let frame = frame.ok_or("it is a GIF without a picture")?;
    let [left, top, across, down] =
        [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let local = frame.palette.clone();
    let fill = frame.transparent.unwrap_or(0);
    let (width, height) = (
        usize::from(decoder.width()).max(left + across),
        usize::from(decoder.height()).max(top + down),
    );
    room(width, height, 3 * (width * height) as u64)?;
    let palette =
        local.or_else(|| decoder.global_palette().map(<[u8]>::to_vec)).unwrap_or_default();
    let mut colours = palette.as_chunks::<3>().0.to_vec();
    colours.resize(256, [0; 3]);
    let mut indices = vec![0; across * down];
    decoder.read_into_buffer(&mut indices).map_err(|e| e.to_string())?;
    let mut pixels = vec![colours[usize::from(fill)]; width * height];
    for (y, line) in indices.chunks_exact(across.max(1)).enumerate() {
        let line = line.iter().map(|&index| colours[usize::from(index)]);
        let start = (top + y) * width + left;
        pixels[start..start + across]
            .iter_mut()
            .zip(line)
            .for_each(|(pixel, colour)| *pixel = colour);
    }
    Ok(Image { width, height, channels: 3, pixels: pixels.into_flattened() })
}
