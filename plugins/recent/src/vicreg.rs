//! Bardes, Ponce & LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised
//! Learning", ICLR 2022, equations 1 to 6.

use retort_sdk::prelude::*;

hyper! {
    /// The target's embeddings are the source's, vary in each coordinate, and have coordinates without
    /// correlation.
    ///
    /// L = λ mean (t - s)² + μ ½ [v(t) + v(s)] + ν [c(t) + c(s)],
    /// v(x) = meanⱼ [1 - √(Var xⱼ + 10⁻⁴)]₊,  c(x) = 1/d Σ_{i≠j} Cov(x)ᵢⱼ².
    ///
    /// As in the authors' code v is halved. The source's terms are constants.
    pub struct Vicreg {
        /// λ, weight of the invariance.
        invariance: f64 = 25.0 => 0.0..,
        /// μ, weight of the variance.
        variance: f64 = 25.0 => 0.0..,
        /// ν, weight of the covariance.
        covariance: f64 = 1.0 => 0.0..,
    }
}

impl Loss for Vicreg {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d]
        step.need_same_shape(t, s, "give both networks one width");
        let (n, d) = (t.dim(0), t.dim(1));
        if n < 2 {
            return step.undefined("one sample has no variance");
        }
        let hinge = |x: Tensor| (1.0 - (x.var(0, 1) + 1e-4).sqrt()).relu().mean();
        let correlated = |x: Tensor| {
            let x = x - x.mean_dim(0);
            (x.t().matmul(x) / (n - 1)).off_diagonal().square().sum() / d
        };
        let invariance = (t - s).square().mean();
        let (variance, covariance) = (0.5 * (hinge(t) + hinge(s)), correlated(t) + correlated(s));
        self.invariance * invariance + self.variance * variance + self.covariance * covariance
    }
}
