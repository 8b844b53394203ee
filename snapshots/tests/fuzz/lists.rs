//! Lists of pictures, archives, and TOML files. The first byte says which.

use super::{Rng, mutate};
use std::io::Write as _;

/// Which file an input is.
pub const KINDS: [&str; 6] = ["sop", "in_shop", "folder", "omniglot", "experiment", "suite"];

const SOP: &str = "image_id class_id super_class_id path\n1 1 1 bicycle_final/1_0.JPG\n2 5 3 fan final/9 1_0.JPG\n3 5 3 a/../b_1.JPG\n";
const IN_SHOP: &str = "2\nimage_name item_id evaluation_status\nimg/WOMEN/Dresses/id_1/02_1.jpg id_1 train\nimg/MEN/Denim/id_2/01_1.jpg id_2 query\nimg/MEN/Denim/id_2/01_2.jpg id_2 gallery\n";
const FOLDER: &str = "a\nb\n c \n";
const EXPERIMENT: &str = "seed = 1\n[data]\nname = \"glyphs\"\n[network]\nname = \"convnet\"\nwidth = 8\n[train]\nepochs = 2\nbatch = 16\n[[loss]]\nname = \"rkd\"\nweight = 1.0\n";
const SUITE: &str = "name = \"x\"\ntitle = \"x\"\nseeds = [0, 1]\n\n[[dataset]]\nname = \"glyphs\"\n\n[[setting]]\nname = \"self\"\n\n[[method]]\nname = \"rkd\"\n";

fn archive(rng: &mut Rng, pictures: &[Vec<u8>]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for i in 0..=rng.below(3) {
        let method = if rng.one_in(2) {
            zip::CompressionMethod::Deflated
        } else {
            zip::CompressionMethod::Stored
        };
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        let name = match rng.below(6) {
            0 => format!("../up/{i}.png"),
            1 => format!("a/b/c/d{i}.png"),
            _ => format!("images_background_small1/Greek/character0{i}/1.png"),
        };
        if zip.start_file(name, options).is_ok() {
            let mut picture =
                if pictures.is_empty() { Vec::new() } else { rng.pick(pictures).clone() };
            if rng.one_in(3) {
                mutate(&mut picture, &[], rng);
            }
            let _ = zip.write_all(&picture);
        }
    }
    zip.finish().map(std::io::Cursor::into_inner).unwrap_or_default()
}

/// Words and lines in other places.
fn shuffle(text: &mut String, rng: &mut Rng) {
    for _ in 0..=rng.below(3) {
        let lines: Vec<&str> = text.lines().collect();
        let line = (*rng.pick(&lines)).to_owned();
        let number = rng.number().to_string();
        let words: Vec<&str> = line.split(' ').collect();
        let word = (*rng.pick(&words)).to_owned();
        let new = match rng.below(7) {
            0 => number,
            1 => format!("-{number}"),
            2 => "x".repeat(1 << rng.below(14)),
            3 => "[".repeat(1 << rng.below(14)),
            4 => "a.".repeat(1 + rng.below(3000)),
            5 => "\u{202e}\u{1b}[31m".to_owned(),
            _ => String::new(),
        };
        let old = if word.is_empty() { line.as_str() } else { word.as_str() };
        if rng.one_in(6) {
            *text = format!("{text}{}", format!("{line}\n").repeat(1 << rng.below(12)));
        } else if !old.is_empty() {
            *text = text.replacen(old, &new, 1);
        }
        if text.lines().count() == 0 {
            text.push('x');
        }
        if text.len() > 1 << 19 {
            let cut = (0..=1 << 19).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            text.truncate(cut);
        }
    }
}

/// A file behind its kind. Seeds are pictures.
pub fn make(rng: &mut Rng, pictures: &[Vec<u8>]) -> Vec<u8> {
    let kind = rng.below(KINDS.len());
    let text = match KINDS[kind] {
        "sop" => SOP,
        "in_shop" => IN_SHOP,
        "folder" => FOLDER,
        "experiment" => EXPERIMENT,
        "suite" => SUITE,
        _ => {
            let mut bytes = archive(rng, pictures);
            if rng.one_in(2) {
                mutate(&mut bytes, &[], rng);
            }
            bytes.insert(0, kind as u8);
            return bytes;
        }
    };
    let mut text = text.to_owned();
    shuffle(&mut text, rng);
    let mut bytes = text.into_bytes();
    if rng.one_in(3) {
        mutate(&mut bytes, &[], rng);
    }
    bytes.insert(0, kind as u8);
    bytes
}
