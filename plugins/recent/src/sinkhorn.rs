//! Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", NeurIPS 2013; between embeddings of a
//! batch: Genevay, Peyré & Cuturi, "Learning Generative Models with Sinkhorn Divergences", AISTATS 2018.

use retort_sdk::prelude::*;

hyper! {
    /// The target's embeddings lie where the source's do, whichever sample is where: the cost of moving one cloud
    /// onto the other.
    ///
    /// L = Σᵢⱼ Pᵢⱼ Cᵢⱼ,  Cᵢⱼ = ‖tᵢ - sⱼ‖² of unit embeddings, where P = e^{(f⊕g-C)/ε} / n² has row and column sums
    /// 1/n, and f and g are found by turns.
    pub struct Sinkhorn {
        /// ε, how much the plan is smoothed, in squared distance.
        epsilon: f64 = 0.05 => above(0.0),
        /// Turns of f and g.
        iterations: usize = 50 => 1..,
        /// Whether gradients flow through the turns; else the plan counts as constant.
        unroll: bool = false,
    }
}

impl Loss for Sinkhorn {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d]
        step.need_same_shape(t, s, "give both networks one width");
        let cost = 2.0 - 2.0 * cosine_similarity(t, s); // [n, n]
        let constant = if self.unroll { cost } else { cost.detach() };

        let score = -constant / self.epsilon;
        let uniform = step.constant([1, 1], &[t.dim(0) as f64]).ln();
        let (mut f, mut g) = (None, score.slice(0, 0..1) * 0.0); // over ε: [n, 1], [1, n]
        for _ in 0..self.iterations {
            let row = uniform - (score + g).logsumexp(1);
            g = uniform - (score + row).logsumexp(0);
            f = Some(row);
        }
        let Some(f) = f else { return step.fail("there is no iteration") };
        let plan = (score + f + g - 2.0 * uniform).exp();
        (plan * cost).sum()
    }
}
