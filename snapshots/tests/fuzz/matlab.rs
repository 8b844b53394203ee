//! MATLAB 5 files: trees of tags, compressed or not.

use super::{Rng, mutate};
use std::io::Write as _;

fn element(kind: u32, body: &[u8], rng: &mut Rng) -> Vec<u8> {
    let size = if rng.one_in(60) { rng.number() as u32 } else { body.len() as u32 };
    if body.len() <= 4 && rng.one_in(2) {
        let mut bytes = (kind | size << 16).to_le_bytes().to_vec();
        bytes.extend(body);
        bytes.resize(8, 0);
        return bytes;
    }
    let mut bytes = [kind.to_le_bytes(), size.to_le_bytes()].concat();
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

fn array(name: &str, depth: usize, rng: &mut Rng) -> Vec<u8> {
    let class = match rng.below(8) {
        0 => rng.next() as u8,
        1 | 2 if depth > 0 => 1,
        3..=5 if depth > 0 => 2,
        6 => 4,
        _ => 6 + rng.below(10) as u8,
    };
    let count = rng.below(4);
    let claims = |rng: &mut Rng| if rng.one_in(8) { rng.number() as u32 } else { count as u32 };
    let dims = [1, claims(rng)].map(u32::to_le_bytes).concat();
    let mut parts = vec![
        element(6, &[class, 0, 0, 0, 0, 0, 0, 0], rng),
        element(5, &dims, rng),
        element(1, name.as_bytes(), rng),
    ];
    match class {
        1 => parts.extend((0..count).map(|_| array("", depth - depth.min(1), rng))),
        2 => {
            let names = *rng.pick(&[
                "class\0\0\0relative_im_path\0\0\0\0",
                "class\0fname\0",
                "\0\0\0\0\0\0",
                "",
            ]);
            let length = if rng.one_in(6) { rng.number() as u32 } else { 6 };
            parts.push(element(5, &length.to_le_bytes(), rng));
            parts.push(element(1, names.as_bytes(), rng));
            for _ in 0..count * names.len().div_ceil(6) {
                parts.push(array("", depth.saturating_sub(1), rng));
            }
        }
        4 => {
            let text: Vec<u8> = "car_ims/1.jpg".encode_utf16().flat_map(u16::to_le_bytes).collect();
            parts.push(element(*rng.pick(&[1, 2, 4, 16, 17, 18]), &text, rng));
        }
        _ => {
            let kind = 1 + rng.below(14) as u32;
            let bytes: Vec<u8> = (0..8 * count).map(|_| rng.next() as u8 % 4).collect();
            parts.push(element(kind, &bytes, rng));
        }
    }
    element(14, &parts.concat(), rng)
}

/// A file.
pub fn make(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = if !seeds.is_empty() && rng.one_in(3) {
        rng.pick(seeds).clone()
    } else {
        let mut bytes = vec![b' '; 124];
        bytes.extend([0, 1, b'I', b'M']);
        for _ in 0..=rng.below(3) {
            let name = *rng.pick(&["annotations", "annotations", "class_names", "other"]);
            let deepest = if rng.one_in(10) { 12 } else { 3 };
            let depth = 1 + rng.below(deepest);
            let mut array = array(name, depth, rng);
            if rng.one_in(3) {
                mutate(&mut array, seeds, rng);
            }
            if rng.one_in(2) {
                bytes.extend(array);
                continue;
            }
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            let times = if rng.one_in(50) { 1 << rng.below(12) } else { 1 };
            for _ in 0..times {
                let _ = encoder.write_all(&array);
            }
            let packed = encoder.finish().unwrap_or_default();
            bytes.extend(15_u32.to_le_bytes());
            bytes.extend((packed.len() as u32).to_le_bytes());
            bytes.extend(packed);
        }
        bytes
    };
    if rng.one_in(3) {
        mutate(&mut bytes, seeds, rng);
    }
    bytes
}
