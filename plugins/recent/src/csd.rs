//! Wu, Wang, Zhou, Li & Tian, "Contextual Similarity Distillation for Asymmetric Image Retrieval", CVPR
//! 2022; formulas of SCY-X/D3still, AIR_Distiller/distillers/CSD.py.

use crate::asymmetric::unit;
use retort_sdk::prelude::*;

hyper! {
    /// The target's query finds the source's nearest neighbours as similar as the source's query does.
    ///
    /// L = 1/n Σᵢ KL( softmaxⱼ(sᵢ·sⱼ / τ_g) ‖ softmaxⱼ(tᵢ·sⱼ / τ_q) )  over the k samples j nearest to sᵢ,
    /// i itself among them, of unit embeddings.
    ///
    /// The paper's gallery is the training set; here, as in the code of D3still, it is the batch. A k beyond it
    /// takes all.
    pub struct Csd {
        /// k, neighbours.
        k: usize = 64 => 2..,
        /// τ_q, temperature of the target's queries.
        tau_query: f64 = 1.0 => above(0.0),
        /// τ_g, temperature of the source's.
        tau_gallery: f64 = 0.01 => above(0.0),
        /// Whether a learnable map brings the target to the source's width.
        project: bool = false,
    }
}

impl Loss for Csd {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = unit(step, self.project); // [n, d]
        let k = self.k.min(s.dim(0));
        let (gallery, nearest) = s.matmul(s.t()).top_k(k, 1); // [n, k]
        let query = t.matmul(s.t()).gather(1, nearest);
        let (p, q) = (gallery / self.tau_gallery, query / self.tau_query);
        kl_divergence(p.log_softmax(1), q.log_softmax(1), 1).mean()
    }
}
