//! Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, equation 1, around a relational
//! loss.

use retort_sdk::prelude::*;

hyper! {
    /// The first coordinates of the target have the similarities that as many of the source have, at several
    /// widths.
    ///
    /// L = Σₗ meanᵢⱼ (cos(tᵢˡ, tⱼˡ) - cos(sᵢˡ, sⱼˡ))²,  where xˡ are the first d / 2ˡ coordinates, l = 0, 1, …
    pub struct MatryoshkaCos {
        /// Widths: the whole, its half, its quarter and so on, down to one coordinate.
        levels: usize = 5 => 1..,
    }
}

impl Loss for MatryoshkaCos {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        let mut sum = None;
        for level in 0..self.levels.min(64) {
            let prefix = |x: Tensor| {
                let x = x.slice(1, 0..(x.dim(1) >> level).max(1)).normalize(1);
                x.matmul(x.t())
            };
            if t.dim(1) >> level == 0 || s.dim(1) >> level == 0 {
                break;
            }
            let own = (prefix(t) - prefix(s)).square().mean();
            sum = Some(sum.map_or(own, |sum: Tensor| sum + own));
        }
        sum.unwrap_or_else(|| step.fail("there is no level"))
    }
}
