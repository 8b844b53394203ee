//! Rabin, Peyré, Delon & Bernot, "Wasserstein Barycenter and Its Application to Texture Mixing", SSVM 2011; for
//! embeddings: Kolouri, Pope, Martin & Rohde, "Sliced Wasserstein Auto-Encoders", ICLR 2019.

use retort_sdk::prelude::*;

hyper! {
    /// The target's embeddings lie where the source's do, whichever sample is where, as seen along random
    /// directions.
    ///
    /// L = mean over directions and places k of (t₍ₖ₎·w - s₍ₖ₎·w)²,  where x₍ₖ₎·w are the sorted projections on a
    /// random unit vector w.
    pub struct SlicedWasserstein {
        /// Directions of each step.
        directions: usize = 50 => 1..,
    }
}

impl Loss for SlicedWasserstein {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d]
        step.need_same_shape(t, s, "give both networks one width");
        let w = step.random_normal([t.dim(1), self.directions]).normalize(0);
        let sorted = |x: Tensor| x.matmul(w).sort(0, false).0; // [n, directions]
        (sorted(t) - sorted(s)).square().mean()
    }
}
