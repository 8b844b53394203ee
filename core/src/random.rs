//! Random streams that depend on their key alone: not on the device, the thread or the order of
//! calls, so that runs, resumed runs and devices agree.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A key derived from a seed and a name (FNV-1a, then mixed).
pub fn key(seed: u64, name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(seed ^ mix(hash))
}

/// The stream for this key and these numbers (an epoch, a step, a draw …).
pub fn stream(key: u64, numbers: &[u64]) -> ChaCha8Rng {
    let folded = numbers.iter().fold(mix(key), |k, &n| mix(k ^ mix(n.wrapping_add(1))));
    ChaCha8Rng::seed_from_u64(folded)
}

/// One number from the standard normal distribution (Box-Muller).
pub fn normal(stream: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - stream.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * stream.random::<f64>()).cos()
}

/// The finaliser of `SplitMix64`: every bit of the input changes every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
