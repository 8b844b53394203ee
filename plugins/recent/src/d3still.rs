//! Xie, Lin, Cai, Xu, Zhang, Du & He, "D3still: Decoupled Differential Distillation for Asymmetric
//! Image Retrieval", CVPR 2024; formulas of the authors' code, SCY-X/D3still.

use crate::asymmetric::unit;
use retort_sdk::prelude::*;

hyper! {
    /// The target keeps the source's similarities, and its differences of similarities, wrongly ordered ones
    /// apart from the others.
    ///
    /// L = α/n ‖ (sᵢ·sᵢ - tᵢ·sᵢ)ᵢ ‖ + 1/(n(k-1)) Σᵢ ( β ‖Hᵢ‖ + γ ‖Eᵢ‖ ),
    /// where the entries of Hᵢ and Eᵢ are (Δᵗ - Δˢ) / (0.1 + |Δˢ|) over pairs of the k - 1 samples nearest to sᵢ,
    /// Δˢ and Δᵗ are the differences of a pair's cosines to sᵢ and to tᵢ, and a pair is in H where these
    /// differ in sign, in E where they agree.
    ///
    /// A pair that the source finds equally near is left out; in the authors' code its difference counts as 1.
    /// A k beyond the batch counts as the batch in the divisor, too.
    pub struct D3still {
        /// k, neighbours, the sample itself among them.
        k: usize = 10 => 2..,
        /// α, weight of the own similarity.
        alpha: f64 = 50.0 => 0.0..,
        /// β, weight of wrongly ordered pairs.
        beta: f64 = 2.0 => 0.0..,
        /// γ, weight of the others.
        gamma: f64 = 1.0 => 0.0..,
        /// Whether a learnable map brings the target to the source's width.
        project: bool = false,
    }
}

impl Loss for D3still {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = unit(step, self.project); // [n, d]
        let (n, k) = (s.dim(0), self.k.min(s.dim(0)));
        if k < 2 {
            return step.undefined("a batch of one has no pairs of neighbours");
        }
        let (source, nearest) = s.matmul(s.t()).top_k(k, 1); // [n, k]
        let target = t.matmul(s.t()).gather(1, nearest);
        let own = (source - target).slice(1, 0..1).norm(0).sum();

        let differences = |x: Tensor| {
            let x = x.slice(1, 1..k);
            (x.unsqueeze(1) - x.unsqueeze(2)).reshape([n, (k - 1) * (k - 1)])
        };
        let (source, target) = (differences(source), differences(target));
        let entry = (target - source) / (0.1 + source.abs());
        let agreement = (source * target).detach();
        let norm = |mask: Tensor| (entry * mask).norm(1).mean() / (k - 1);
        let (hard, easy) = (norm(agreement.below(0.0)), norm(agreement.above(0.0)));
        self.alpha * own / n + self.beta * hard + self.gamma * easy
    }
}
