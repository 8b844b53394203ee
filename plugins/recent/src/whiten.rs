//! Ermolov, Siarohin, Sangineto & Sebe, "Whitening for Self-Supervised Representation Learning", ICML
//! 2021, with the symmetric root.

use crate::eigen::symmetric_power;
use retort_sdk::prelude::*;

hyper! {
    /// The target's embedding is the source's, when the coordinates of both are uncorrelated and have one
    /// variance.
    ///
    /// L = 2 - 2 meanᵢ cos(z(tᵢ), z(sᵢ)),  z(x) = Σ^{-½} (x - x̄),  Σ = Cov(x) + ε I.
    ///
    /// Here by the symmetric root of Σ (ZCA), which the paper's Cholesky factor is up to a rotation; that
    /// rotation, between target and source, matters.
    pub struct Whiten {
        /// ε, added to the variances.
        epsilon: f64 = 1e-3 => above(0.0),
    }
}

impl Loss for Whiten {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d]
        step.need_same_shape(t, s, "give both networks one width");
        if t.dim(0) < 2 {
            return step.undefined("one sample has no variance");
        }
        let whitened = |x: Tensor| {
            let (n, d) = (x.dim(0), x.dim(1));
            let x = x - x.mean_dim(0);
            // The same from either side, and one of the matrices is smaller.
            if n < d {
                symmetric_power(step, x.matmul(x.t()) / (n - 1), self.epsilon).matmul(x)
            } else {
                x.matmul(symmetric_power(step, x.t().matmul(x) / (n - 1), self.epsilon))
            }
        };
        2.0 - 2.0 * row_cosine(whitened(t), whitened(s)).mean()
    }
}
