//! Weights and images of the golden data, which are formulas (section 2 of its README).

use burn::tensor::TensorData;
use serde_json::Value;
use std::collections::BTreeMap;

fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// IEEE, reflected, as in zip.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg()))
    })
}

fn seed(key: &str, salt: u32) -> u32 {
    mix(crc32(key.as_bytes()) ^ salt.wrapping_mul(0x9E37_79B9))
}

fn drawn(seed: u32, i: u32) -> f64 {
    let q = mix(seed ^ i.wrapping_mul(0x85EB_CA6B)) >> 20;
    2.0 * f64::from(q) - 4095.0
}

/// `c(key, salt, i)`: odd, between -4095 and 4095.
pub fn coefficient(key: &str, salt: u32, i: u32) -> f64 {
    drawn(seed(key, salt), i)
}

/// A parameter by its full key.
pub fn parameter(key: &str, shape: &[usize], salt: u32, gain: f64) -> Vec<f32> {
    let fan_in: usize = shape.iter().skip(1).product();
    scaled(key, shape, salt, (gain / fan_in as f64).sqrt())
}

/// The same with an amplitude in place of a gain.
pub fn scaled(key: &str, shape: &[usize], salt: u32, amplitude: f64) -> Vec<f32> {
    let seed = seed(key, salt);
    let value = |j: usize| {
        let c = drawn(seed, (j % 4093) as u32);
        if key.ends_with("running_mean") {
            c / 32768.0
        } else if key.ends_with("running_var") {
            1.0 + c / 8192.0
        } else if shape.len() >= 2 {
            c * (amplitude / 4096.0)
        } else if key.ends_with("weight") {
            1.0 + c / 16384.0
        } else {
            c / 32768.0
        }
    };
    (0..shape.iter().product()).map(|j| value(j) as f32).collect()
}

/// A network's parameters and statistics under the keys that retort's networks have. `shapes` is the
/// golden list, which is for an embedding of 64 dimensions and has heads that retort doesn't build.
///
/// # Panics
/// If the list lacks something.
pub fn state_dict(
    shapes: &Value,
    salt: u32,
    gain: f64,
    embedding: usize,
) -> BTreeMap<String, TensorData> {
    let entries = shapes.as_array().unwrap_or_else(|| panic!("no list of keys: {shapes}"));
    let mut state = BTreeMap::new();
    for entry in entries {
        let key = entry["key"].as_str().unwrap_or_else(|| panic!("no key: {entry}"));
        let bare = key.strip_prefix("model.").unwrap_or(key);
        let head = ["fc.", "last_linear."].iter().any(|p| bare.starts_with(p));
        if head || bare.ends_with("num_batches_tracked") {
            continue;
        }
        let shape = entry["shape"].as_array().into_iter().flatten();
        let mut shape: Vec<usize> =
            shape.map(|d| d.as_u64().unwrap_or_else(|| panic!("{entry}")) as usize).collect();
        if bare.starts_with("embedding.") {
            shape[0] = embedding;
        }
        let values = parameter(key, &shape, salt, gain);
        state.insert(bare.to_owned(), TensorData::new(values, shape));
    }
    state
}

/// A batch of images.
#[derive(Clone, Debug)]
pub struct Images {
    /// Class, instance and noise key of each.
    pub keys: Vec<[String; 3]>,
    /// Height and width.
    pub size: [usize; 2],
    /// The salt.
    pub salt: u32,
    /// A power of two.
    pub scale: f64,
}

impl Images {
    /// The images of an entry whose keys have `<i>` in them.
    ///
    /// # Panics
    /// If the entry lacks something.
    pub fn of(entry: &Value) -> Self {
        let number = |key: &str| {
            entry[key].as_u64().unwrap_or_else(|| panic!("{entry}: {key} is no number")) as usize
        };
        let key = |name: &str, i: usize| {
            let text = entry[name].as_str().unwrap_or_else(|| panic!("{entry}: no {name}"));
            text.replace("<i>", &i.to_string())
        };
        let keys = (0..number("batch"))
            .map(|i| ["class_key", "instance_key", "noise_key"].map(|name| key(name, i)));
        Images {
            keys: keys.collect(),
            size: [number("height"), number("width")],
            salt: number("salt") as u32,
            scale: number("scale") as f64,
        }
    }

    /// `[n, 3, h, w]`
    pub fn data(&self) -> TensorData {
        let [h, w] = self.size;
        let mut values = Vec::with_capacity(self.keys.len() * 3 * h * w);
        for keys in &self.keys {
            let [class, instance, noise] = keys.each_ref().map(|key| seed(key, self.salt));
            for ch in 0..3 {
                for y in 0..h {
                    for x in 0..w {
                        let block = ((ch * 64 + y / 8) * 64 + x / 8) as u32;
                        let pixel = ((ch * h + y) * w + x) as u32;
                        let v = 2.0 * drawn(class, block)
                            + drawn(instance, block)
                            + drawn(noise, pixel);
                        values.push((v * (self.scale / 16384.0)) as f32);
                    }
                }
            }
        }
        TensorData::new(values, [self.keys.len(), 3, h, w])
    }
}

#[cfg(test)]
mod tests {
    use super::{crc32, mix, parameter};

    #[test]
    fn worked_values() {
        assert_eq!(mix(1), 1_753_845_952);
        assert_eq!(crc32(b"model.conv1.weight"), 0x05f8_785e);
        let weight = parameter("model.conv1.weight", &[64, 3, 7, 7], 1, 3.0);
        assert_eq!(weight[0].to_bits(), 0xbe03_d249);
        let var = parameter("model.layer1.0.bn1.running_var", &[64], 2, 3.0);
        assert_eq!(var[63].to_bits(), 0x3f35_a800);
    }
}
