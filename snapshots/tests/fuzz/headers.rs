//! Safetensors files: headers that make sense in part.

use super::{Rng, mutate};

fn number(rng: &mut Rng, usual: usize) -> String {
    match rng.below(12) {
        0 => rng.number().to_string(),
        1 => (*rng.pick(&["-1", "1.5", "1e300", "null", "\"1\"", "[]", "18446744073709551616"]))
            .to_owned(),
        _ => usual.to_string(),
    }
}

fn name(rng: &mut Rng) -> String {
    match rng.below(20) {
        0 => "n".repeat(1 << rng.below(14)),
        1 => "\\u001b[2J".to_owned(),
        2 => "model.".repeat(1 + rng.below(100)),
        _ => (*rng.pick(&[
            "embedding.weight",
            "embedding.bias",
            "blocks.0.conv.weight",
            "layer1.0.conv1.weight",
            "patch_embed.proj.weight",
            "training.x",
            "loss.0.param.a",
            "loss.99999.param.a",
            "loss.x.y",
            "target",
            "labels",
            "embeddings",
            "images",
            "random.0",
        ]))
        .to_owned(),
    }
}

/// Puts a header before data.
fn file(header: &str, data: &[u8], rng: &mut Rng) -> Vec<u8> {
    let length = if rng.one_in(30) { rng.number() } else { header.len() as u64 };
    [&length.to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// A retort checkpoint's header with other claims, or one from nothing.
pub fn make(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    if rng.one_in(3) && !seeds.is_empty() {
        let mut bytes = rng.pick(seeds).clone();
        let size = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b) as usize);
        let whole = bytes.len() > 8 + size;
        if whole && rng.one_in(2) {
            // Other digits in its header, which keeps its length.
            let digits: Vec<usize> = (8..8 + size).filter(|&i| bytes[i].is_ascii_digit()).collect();
            for _ in 0..=rng.below(4) {
                if !digits.is_empty() {
                    bytes[*rng.pick(&digits)] = b'0' + rng.below(10) as u8;
                }
            }
            return bytes;
        }
        if whole && rng.one_in(2) {
            // Another number or word in its metadata.
            let mut header = String::from_utf8_lossy(&bytes[8..8 + size]).into_owned();
            let claims = [
                "\\\"width\\\":",
                "\\\"embedding\\\":",
                "\\\"channels\\\":",
                "\\\"image_size\\\":",
            ];
            let claim = *rng.pick(&claims);
            if let Some(at) = header.find(claim) {
                let from = at + claim.len();
                let digits = header[from..].bytes().take_while(u8::is_ascii_digit).count();
                let new = rng.number().to_string();
                header.replace_range(from..from + digits, &new);
            }
            let data = bytes[8 + size..].to_vec();
            return file(&header, &data, rng);
        }
        mutate(&mut bytes, seeds, rng);
        return bytes;
    }
    let (mut entries, mut at) = (Vec::new(), 0);
    let count = if rng.one_in(40) { 1 << rng.below(13) } else { rng.below(6) };
    for i in 0..count {
        let most = if rng.one_in(20) { 3000 } else { 5 };
        let rank = rng.below(most);
        let dims: Vec<usize> = (0..rank).map(|_| 1 + rng.below(3)).collect();
        let (dtype, width) = *rng.pick(&[
            ("F32", 4),
            ("F64", 8),
            ("I64", 8),
            ("I32", 4),
            ("U8", 1),
            ("BF16", 2),
            ("F4", 1),
        ]);
        let size = dims.iter().try_fold(width, |a: usize, b| a.checked_mul(*b)).unwrap_or(0) % 4096;
        let dims: Vec<String> = dims.into_iter().map(|d| number(rng, d)).collect();
        let (from, to) = (number(rng, at), number(rng, at + size));
        let name = if count > 8 { format!("t{i}") } else { name(rng) };
        entries.push(format!(
            "\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{from},{to}]}}",
            dims.join(",")
        ));
        at += size;
    }
    if rng.one_in(4) {
        entries.push("\"__metadata__\":{\"retort\":\"{}\",\"a\":\"b\"}".to_owned());
    }
    if rng.one_in(30) {
        entries.push("[".repeat(1 << rng.below(16)));
    }
    let header = format!("{{{}}}", entries.join(","));
    let data: Vec<u8> = (0..at).map(|_| rng.next() as u8).collect();
    let mut bytes = file(&header, &data, rng);
    if rng.one_in(4) {
        mutate(&mut bytes, seeds, rng);
    }
    bytes
}
