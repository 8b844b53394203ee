//! Suma & Tolias, "Large-to-small Image Resolution Asymmetry in Deep Metric Learning", WACV 2023;
//! formulas of SCY-X/D3still, AIR_Distiller/distillers/RAML.py.

use crate::asymmetric::unit;
use retort_sdk::prelude::*;

hyper! {
    /// The target's embeddings are the source's, and so are their similarities among themselves and to the
    /// source's.
    ///
    /// L = meanᵢ (1 - tᵢ·sᵢ)² + λ₁ mean (tᵢ·sⱼ - sᵢ·sⱼ)² + λ₂ mean (tᵢ·tⱼ - sᵢ·sⱼ)²  over i ≠ j, of unit
    /// embeddings.
    ///
    /// As in the authors' code 1e-6 is added to each difference.
    pub struct Raml {
        /// λ₁, weight of the similarities between target and source.
        lambda1: f64 = 0.7482 => 0.0..,
        /// λ₂, weight of the similarities within the target.
        lambda2: f64 = 0.6778 => 0.0..,
        /// Whether a learnable map brings the target to the source's width.
        project: bool = false,
    }
}

const EPS: f64 = 1e-6;

impl Loss for Raml {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = unit(step, self.project); // [n, d]
        let n = t.dim(0);
        if n < 2 {
            return step.undefined("a batch of one has no pairs");
        }
        let source = s.matmul(s.t()); // [n, n]
        let relation = |cos: Tensor| {
            (cos - source + EPS).square().off_diagonal().sum() / (n * (n - 1))
        };
        let own = (1.0 - (t * s).sum_dim(1) + EPS).square().mean();
        own + self.lambda1 * relation(t.matmul(s.t())) + self.lambda2 * relation(t.matmul(t.t()))
    }
}
