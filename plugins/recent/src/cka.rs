//! Kornblith, Norouzi, Lee & Hinton, "Similarity of Neural Network Representations Revisited", ICML
//! 2019, equation 3.

use retort_sdk::prelude::*;

choice! {
    /// The kernel.
    pub enum Kernel {
        /// The dot product.
        Linear = "linear",
        /// A Gaussian, half as wide as the median distance.
        Rbf = "rbf",
    }
}

hyper! {
    /// The target's centred kernel is the source's, up to a factor.
    ///
    /// L = 1 - ⟨K̄ᵗ, K̄ˢ⟩ / (‖K̄ᵗ‖ ‖K̄ˢ‖),  K̄ = H K H,  H = I - 1/n, where K is the matrix of xᵢ·xⱼ, or of
    /// e^{-‖xᵢ-xⱼ‖² / 2σ²} with σ half the median of all distances, those of 0 included,
    /// a constant.
    pub struct Cka {
        /// The kernel.
        kernel: Kernel = Kernel::Linear,
    }
}

impl Loss for Cka {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (self.centred(step.target()), self.centred(step.source())); // [n, n]
        if t.dim(0) < 2 {
            return step.undefined("one sample has no kernel but itself");
        }
        // One unit after the other: the product of the norms may leave what 32 bits hold.
        let unit = |k: Tensor| k.flat().normalize(0);
        1.0 - (unit(t) * unit(s)).sum()
    }
}

impl Cka {
    fn centred(&self, x: Tensor) -> Tensor {
        let k = match self.kernel {
            Kernel::Linear => {
                let x = x - x.mean_dim(0);
                x.matmul(x.t())
            }
            Kernel::Rbf => {
                let squared = euclidean_distance(x).square();
                let count = squared.dim(0) * squared.dim(0);
                let median = squared.detach().flat().sort(0, false).0.slice(0, count / 2..count / 2 + 1);
                let variance = 0.25 * median + median.is_zero();
                (-0.5 * squared / variance).exp()
            }
        };
        let k = k - k.mean_dim(0);
        k - k.mean_dim(1)
    }
}
