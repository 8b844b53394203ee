//! Ranzinger, Barker, Heinrich, Molchanov, Catanzaro & Tao, "PHI-S: Distribution Balancing for
//! Label-Free Multi-Teacher Distillation", ICLR 2025; formulas of the authors' code, NVlabs/RADIO,
//! examples/common/phi_s.py.

use crate::eigen::Eigen;
use crate::hadamard::hadamard;
use retort_sdk::prelude::*;

hyper! {
    /// The target's embedding is the source's, turned so that all coordinates have one variance, and scaled to 1.
    ///
    /// L = mean (tᵢ - (H Uᵀ (sᵢ - s̄) / φ))²,  Cov(s) = U Λ Uᵀ,  φ² = mean λ,  H a Hadamard matrix.
    ///
    /// Eigenvalues go upwards, and of each eigenvector the largest coordinate is positive; the authors' code
    /// leaves both to the library. Statistics are the batch's, as there those of the samples that are given.
    /// Widths without a known Hadamard matrix get Hartley's: their variances are only nearly equal.
    pub struct PhiS {}
}

impl Loss for PhiS {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d]
        step.need_same_shape(t, s, "give both networks one width");
        let (n, d) = (s.dim(0), s.dim(1));
        if n < 2 {
            return step.undefined("one sample has no variance");
        }
        let s = s - s.mean_dim(0);
        let Eigen { values, mut vectors } = Eigen::of(s.t().matmul(s) / (n - 1));
        for k in 0..d {
            let column = (0..d).map(|i| vectors[i * d + k]);
            let largest = column.fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
            if largest < 0.0 {
                (0..d).for_each(|i| vectors[i * d + k] *= -1.0);
            }
        }
        let variance = values.iter().map(|v| v.max(0.0)).sum::<f64>() / d as f64;
        if variance == 0.0 {
            return step.undefined("the source's embeddings are all the same");
        }
        let turned = s.matmul(step.constant([d, d], &vectors)).matmul(hadamard(step, d).t());
        (t - turned / variance.sqrt()).square().mean()
    }
}
