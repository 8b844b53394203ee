//! Ahn, Hu, Damianou, Lawrence & Dai, "Variational Information Distillation for Knowledge Transfer",
//! CVPR 2019, equations 4 to 6.

use retort_sdk::prelude::*;

hyper! {
    /// The target's feature maps say as much as they can about the source's.
    ///
    /// L = Σₗ mean ½ [ (μₗ(tˡ) - sˡ)² / σ² + log σ² ], where μ is a learnable network of three 1x1
    /// convolutions and σ² = log(1 + e^α) + 1e-5 a learnable variance of each channel.
    ///
    /// As in the authors' code the mean runs over samples, channels and places, and the hidden width is
    /// the source's. The deepest levels of both networks are paired first.
    pub struct Vid {
        /// σ² at the start.
        initial_variance: f64 = 5.0 => above(1e-5),
    }
}

impl Loss for Vid {
    fn loss(&self, step: &Step) -> Tensor {
        let mut sum = None;
        for (l, (t, s)) in feature_pairs(step).into_iter().enumerate() {
            let c = s.dim(1);
            let conv = |i: usize, x: Tensor| {
                let bound = (x.dim(1) as f64).sqrt().recip();
                step.conv1x1(&format!("regressor.{l}.{i}"), x, c, Init::Uniform(bound))
            };
            let mean = conv(4, conv(2, conv(0, t).relu()).relu());
            let start = ((self.initial_variance - 1e-5).exp() - 1.0).ln();
            let alpha = step.param(&format!("log_scale.{l}"), [c], Init::Constant(start));
            let variance = (softplus(alpha) + 1e-5).reshape([1, c, 1, 1]);
            let level = 0.5 * ((mean - s).square() / variance + variance.ln()).mean();
            sum = Some(sum.map_or(level, |sum: Tensor| sum + level));
        }
        sum.unwrap_or_else(|| step.fail("the networks return no feature maps"))
    }
}
