//! Pictures: PNG with right sums, PNM and BMP with wrong sizes; JPEG and WebP blindly.

use super::{Rng, mutate};

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0_u32, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), bit))
}

/// Makes the sums of a PNG's chunks right.
fn mend(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(end) = at.checked_add(8 + length).filter(|end| end + 4 <= bytes.len()) else {
            return;
        };
        let sum = crc32(&bytes[at + 4..end]).to_be_bytes();
        bytes[end..end + 4].copy_from_slice(&sum);
        at = end + 4;
    }
}

/// Another width or height, small or giant.
fn resize(bytes: &mut [u8], rng: &mut Rng) {
    let number = rng.number();
    let png = bytes.starts_with(b"\x89PNG");
    let at = if png {
        16 + 4 * rng.below(2)
    } else if bytes.starts_with(b"BM") {
        18 + 4 * rng.below(2)
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        let frame = bytes.windows(2).position(|w| w[0] == 0xff && matches!(w[1], 0xc0..=0xc2));
        frame.map_or(0, |at| at + 5 + 2 * rng.below(2))
    } else {
        return;
    };
    let wide = if bytes.starts_with(&[0xff, 0xd8]) { 2 } else { 4 };
    if let Some(place) = bytes.get_mut(at..at + wide) {
        let (big, little) = (number.to_be_bytes(), number.to_le_bytes());
        let is_bmp = wide == 4 && !png;
        place.copy_from_slice(if is_bmp { &little[..4] } else { &big[8 - wide..] });
    }
}

/// A file.
pub fn make(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if rng.one_in(12) {
        let kind = 1 + rng.below(7);
        let size = |rng: &mut Rng| {
            if rng.one_in(2) { rng.number() } else { rng.next() % 20 }
        };
        let (width, height, most) = (size(rng), size(rng), rng.number());
        let mut bytes = match kind {
            7 => format!(
                "P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {}\nMAXVAL {most}\nTUPLTYPE RGB\nENDHDR\n",
                size(rng)
            ),
            1 | 4 => format!("P{kind}\n{width} {height}\n"),
            _ => format!("P{kind} {width} {height} {}\n", if rng.one_in(3) { most } else { 255 }),
        }
        .into_bytes();
        let length = rng.below(2000);
        bytes.extend((0..length).map(|_| rng.next() as u8));
        return bytes;
    }
    let mut bytes = rng.pick(seeds).clone();
    if rng.one_in(3) {
        resize(&mut bytes, rng);
    }
    if !rng.one_in(6) {
        mutate(&mut bytes, seeds, rng);
    }
    if bytes.starts_with(b"\x89PNG") && !rng.one_in(8) {
        mend(&mut bytes);
    }
    bytes
}
