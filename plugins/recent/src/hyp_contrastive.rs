//! Ermolov, Mirvakhabova, Khrulkov, Sebe & Oseledets, "Hyperbolic Vision Transformers: Combining
//! Improvements in Metric Learning", CVPR 2022; formulas of the authors' code, htdt/hyp_metric.

use crate::poincare::{distance, to_ball};
use retort_sdk::prelude::*;

hyper! {
    /// Each view of a sample finds the other one among the batch's, by distance in hyperbolic space.
    ///
    /// L = Σ_{a≠b} 1/n Σᵢ -log( e^{-d(aᵢ, bᵢ)/τ} / (Σⱼ e^{-d(aᵢ, bⱼ)/τ} + Σ_{j≠i} e^{-d(aᵢ, aⱼ)/τ}) )  over pairs of views
    /// a and b of n samples, where d is the distance in the Poincaré ball of curvature -c.
    ///
    /// As in the authors' code vectors are clipped to a norm, the exponential map takes them into the ball, and
    /// gradients are scaled by the ball's metric.
    pub struct HypContrastive {
        /// c, negative curvature.
        curvature: f64 = 0.1 => above(0.0),
        /// Largest norm before the map.
        clip: f64 = 2.3 => above(0.0),
        /// τ, temperature.
        tau: f64 = 0.2 => above(0.0),
    }
}

impl Loss for HypContrastive {
    fn loss(&self, step: &Step) -> Tensor {
        let (x, views) = (to_ball(step.target(), self.curvature, self.clip), step.views()); // [n, d]
        let samples = x.dim(0) / views;
        if views < 2 || samples < 2 {
            return step.undefined("there must be two views of each of two samples: set views = 2");
        }
        let view = |k: usize| x.slice(0, k * samples..(k + 1) * samples);
        let score = |a, b| -distance(a, b, self.curvature) / self.tau; // [samples, samples]
        let (labels, mut sum) = (step.range(0..samples), None);
        for a in 0..views {
            let within = score(view(a), view(a));
            let within = within.masked_fill(within.eye(samples), -1e9);
            for b in (0..views).filter(|&b| b != a) {
                let term = cross_entropy(score(view(a), view(b)).cat(1, within), labels);
                sum = Some(sum.map_or(term, |sum: Tensor| sum + term));
            }
        }
        sum.unwrap_or_else(|| step.fail("there are no two views"))
    }
}
