//! Random streams that are pure functions of what they are for.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// What a stream is for. Streams for different purposes never overlap, whatever their keys.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    /// Which samples form the batches; key: seed, epoch.
    Batches,
    /// Augmentation; key: seed, epoch, sample, view.
    Augmentation,
    /// The shape of a glyph; key: seed, class.
    GlyphClass,
    /// One drawing of a glyph; key: seed, class, instance.
    GlyphInstance,
}

/// The stream of `key`: the key itself is the cipher's 256-bit key, so no two keys collide.
pub(crate) fn stream(purpose: Purpose, key: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (bytes, word) in seed.chunks_exact_mut(8).zip(key) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(seed);
    rng.set_stream(purpose as u64);
    rng
}

/// The stream that augments one view of one sample in one epoch.
///
/// Neither the batch, the row nor the worker has a say, so any number of workers in any order makes
/// the same pixels. A sample that comes again in the same epoch is the next `occurrence` (from 0)
/// and looks different.
pub fn augmentation_rng(
    seed: u64,
    epoch: u64,
    sample: usize,
    view: usize,
    occurrence: u32,
) -> ChaCha8Rng {
    let view = view as u64 | u64::from(occurrence) << 32;
    stream(Purpose::Augmentation, [seed, epoch, sample as u64, view])
}
