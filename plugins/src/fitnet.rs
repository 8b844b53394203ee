//! Romero, Ballas, Kahou, Chassang, Gatta & Bengio, "FitNets: Hints for Thin Deep Nets", ICLR 2015,
//! equation 3.

use retort_sdk::prelude::*;

hyper! {
    /// The target's feature maps, each through a learnable 1x1 convolution, become the source's.
    ///
    /// L = Σₗ mean (Wₗ * tˡ - sˡ)²
    ///
    /// The mean runs over samples, channels and places. Sizes are found at set-up; maps of different
    /// sizes are averaged to the smaller one; the deepest levels of both networks are paired first.
    pub struct Fitnet {}
}

impl Loss for Fitnet {
    fn loss(&self, step: &Step) -> Tensor {
        let mut sum = None;
        for (l, (t, s)) in feature_pairs(step).into_iter().enumerate() {
            let t = step.conv1x1(&format!("transform.{l}"), t, s.dim(1), Init::Uniform(0.005));
            let level = (t - s).square().mean();
            sum = Some(sum.map_or(level, |sum: Tensor| sum + level));
        }
        sum.unwrap_or_else(|| step.fail("the networks return no feature maps"))
    }
}
