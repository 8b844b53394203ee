//! Wu, Wang, Zhou & Li, "A General Rank Preserving Framework for Asymmetric Image Retrieval", ICLR
//! 2023, equations 8 to 10; formulas of SCY-X/D3still, AIR_Distiller/distillers/ROP.py.

use crate::asymmetric::unit;
use crate::ranking::soft_step;
use retort_sdk::prelude::*;

hyper! {
    /// The target's query ranks the source's nearest neighbours as the source's query does.
    ///
    /// L = 1/(nk) Σᵩ Σᵢ wᵩᵢ Σⱼ ( σ((sᵩ·sⱼ - sᵩ·sᵢ) / 10⁻⁶) - σ((tᵩ·sⱼ - sᵩ·sᵢ) / τ) )²,
    /// wᵩᵢ = i softmaxᵢ(ω sᵩ·sᵢ),  over the k samples nearest to sᵩ, numbered by their distance, q itself among
    /// them, of unit embeddings.
    ///
    /// The paper's gallery is the training set; here, as in the code of D3still, it is the batch, and a k
    /// beyond it takes all. As there, weights grow with the rank.
    pub struct Rop {
        /// k, neighbours.
        k: usize = 64 => 2..,
        /// τ, temperature of the target's ranks.
        tau: f64 = 0.1 => above(0.0),
        /// ω, how much more the similar count.
        rank_weight: f64 = 0.2 => 0.0..,
        /// Whether a learnable map brings the target to the source's width.
        project: bool = false,
    }
}

impl Loss for Rop {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = unit(step, self.project); // [n, d]
        let k = self.k.min(s.dim(0));
        let (source, nearest) = s.matmul(s.t()).top_k(k, 1); // [n, k]
        let target = t.matmul(s.t()).gather(1, nearest);

        let reference = source.unsqueeze(2); // [n, k, 1], of i
        let indicator_s = soft_step(source.unsqueeze(1) - reference, 1e-6); // [n, k, k]
        let indicator_t = soft_step(target.unsqueeze(1) - reference, self.tau);
        let place = step.range(1..k + 1).float(); // [k]
        let weight = (self.rank_weight * source).softmax(1) * place;
        let row = (indicator_s - indicator_t).square().sum_dim(2).squeeze(2); // [n, k]
        (weight * row).sum() / (t.dim(0) * k)
    }
}
