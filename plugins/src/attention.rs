//! Zagoruyko & Komodakis, "Paying More Attention to Attention", ICLR 2017, equation 2.

use retort_sdk::prelude::*;

hyper! {
    /// The target looks at the places of the picture that the source looks at.
    ///
    /// L = Σₗ mean ‖Q(tˡ) - Q(sˡ)‖², where Q(x) = a / ‖a‖ and a is the mean of x² over the channels,
    /// at each place of level l's feature maps.
    ///
    /// As in the authors' code the square is a mean over samples and places. Maps of different sizes
    /// are averaged to the smaller one; the deepest levels of both networks are paired first.
    pub struct Attention {}
}

impl Loss for Attention {
    fn loss(&self, step: &Step) -> Tensor {
        let pairs = feature_pairs(step);
        if pairs.iter().all(|(t, _)| t.dim(2) * t.dim(3) == 1) {
            return step.fail("the networks' feature maps have one place only: nothing to attend to");
        }
        let mut sum = None;
        for (t, s) in pairs {
            let level = (attention(t) - attention(s)).square().mean();
            sum = Some(sum.map_or(level, |sum: Tensor| sum + level));
        }
        sum.unwrap_or_else(|| step.fail("the networks return no feature maps"))
    }
}

/// Where a map is strong: `[n, c, h, w]` gives unit rows `[n, h·w]`.
fn attention(x: Tensor) -> Tensor {
    let (n, places) = (x.dim(0), x.dim(2) * x.dim(3));
    x.square().mean_dim(1).reshape([n, places]).normalize(1)
}
