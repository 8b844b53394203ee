//! Schönemann, "A Generalized Solution of the Orthogonal Procrustes Problem", Psychometrika 1966; as a similarity
//! of representations: Ding, Denain & Steinhardt, "Grounding Representation Similarity Through Statistical
//! Testing", NeurIPS 2021.

use retort_sdk::prelude::*;

hyper! {
    /// The target's embeddings are the source's, up to a rotation and a factor.
    ///
    /// L = 1 - ‖t̄ᵀ s̄‖⁎ / (‖t̄‖ ‖s̄‖),  where x̄ are the embeddings less their mean, ‖·‖ is the Frobenius norm
    /// and ‖·‖⁎ the sum of the singular values.
    ///
    /// ‖M‖⁎ = ⟨M, U⟩, where U, the nearest orthogonal matrix, is its gradient, and is found by Newton-Schulz's
    /// iteration. Singular values below 10⁻⁷ of the largest count in part.
    pub struct Procrustes {}
}

impl Loss for Procrustes {
    fn loss(&self, step: &Step) -> Tensor {
        let unit = |x: Tensor| {
            let (n, d) = (x.dim(0), x.dim(1));
            (x - x.mean_dim(0)).reshape([1, n * d]).normalize(1).reshape([n, d])
        };
        let (t, s) = (unit(step.target()), unit(step.source())); // [n, d], [n, d']
        if t.dim(0) < 2 {
            return step.undefined("one sample can be rotated onto any other");
        }
        let m = t.t().matmul(s); // [d, d']
        1.0 - (m * orthogonal(m.detach())).sum()
    }
}

/// U Vᵀ of the singular value decomposition U S Vᵀ of `[d, d']`: all singular values become 1, those of 0 stay.
fn orthogonal(m: Tensor) -> Tensor {
    let flip = m.dim(0) < m.dim(1); // the smaller product
    let m = if flip { m.t() } else { m };
    let mut x = m / (m.square().sum().safe_sqrt() + m.square().sum().is_zero());
    for _ in 0..STEPS {
        x = 1.5 * x - 0.5 * x.matmul(x.t().matmul(x));
    }
    if flip { x.t() } else { x }
}

/// Each multiplies small singular values by 1.5: 40 and a few to end with every digit.
const STEPS: usize = 46;
