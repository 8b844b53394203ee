//! Roth, Milbich, Ommer, Cohen & Ghassemi, "Simultaneous Similarity-based Self-Distillation for Deep
//! Metric Learning", ICML 2021; formulas of the authors' code, MLforHealth/S2SD.

use retort_sdk::prelude::*;

hyper! {
    /// The target learns with wider embeddings of its own beside it, and takes over their similarities and
    /// those of its features.
    ///
    /// L = ½ (M(t) + meanₖ M(bₖ)) + γ meanₖ D(bₖ) + γ D(φ),
    /// D(x) = T²/n Σᵢ KL( softmaxⱼ(xᵢ·xⱼ / T) ‖ softmaxⱼ(tᵢ·tⱼ / T) ),
    /// where φ is the last feature vector, bₖ = Bₖ relu(Aₖ φ + aₖ) + cₖ, all of unit norm, and M is the
    /// multi-similarity loss with its miner, a mean over the anchors with mined pairs of both kinds.
    ///
    /// As in the authors' code, with α = 2, β = 40, ε = 0.1 and λ = ½. A batch without mined pairs has M = 0, where
    /// theirs raises. The delay counts epochs, where theirs counts iterations.
    pub struct S2sd {
        /// Width of the first branch.
        width_1: usize = 512 => 1..,
        /// Width of the second; 0 is none.
        width_2: usize = 0,
        /// Width of the third; 0 is none.
        width_3: usize = 0,
        /// γ, weight of the distillation.
        weight_distill: f64 = 50.0 => 0.0..,
        /// T, temperature.
        temperature: f64 = 1.0 => above(0.0),
        /// Epochs before the features distil, too.
        delay: usize = 0,
    }
}

impl Loss for S2sd {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_positive_pairs();
        step.need_negative_pairs();
        let t = step.target().normalize(1); // [n, d]
        let Some(feature) = last_feature(&step.target_features()) else {
            return step.fail("the target returns no feature vector");
        };
        let cos = t.matmul(t.t());
        let widths = [self.width_1, self.width_2, self.width_3];
        let widths: Vec<usize> = widths.into_iter().filter(|&width| width > 0).collect();
        let mut sum = None;
        for (k, &width) in widths.iter().enumerate() {
            let hidden = step.linear(&format!("branch{k}.a"), feature, width).relu();
            let b = step.linear(&format!("branch{k}.b"), hidden, width).normalize(1);
            let branch = b.matmul(b.t());
            let own = 0.5 * multi_similarity(step, branch);
            let own = own + self.weight_distill * self.divergence(branch, cos);
            sum = Some(sum.map_or(own, |sum: Tensor| sum + own));
        }
        let Some(branches) = sum else { return step.fail("set the width of a branch") };
        let loss = 0.5 * multi_similarity(step, cos) + branches / widths.len();
        if step.epoch() < self.delay {
            return loss;
        }
        let feature = feature.normalize(1);
        loss + self.weight_distill * self.divergence(feature.matmul(feature.t()), cos)
    }
}

impl S2sd {
    /// D, of cosines of the wider embedding, a constant, and of the target.
    fn divergence(&self, wider: Tensor, cos: Tensor) -> Tensor {
        let log = |x: Tensor| (x / self.temperature).log_softmax(1);
        self.temperature * self.temperature
            * kl_divergence(log(wider.detach()), log(cos), 1).mean()
    }
}

/// M, of cosines `[n, n]`.
fn multi_similarity(step: &Step, cos: Tensor) -> Tensor {
    let (positive, negative) = step.pairs();
    let constant = cos.detach();
    let hardest = constant.select(negative, cos.scalar(-FAR)).max_dim(1); // [n, 1]
    let loosest = constant.select(positive, cos.scalar(FAR)).min_dim(1);
    let pull = positive * (hardest + 0.1).greater(constant);
    let push = negative * (constant + 0.1).greater(loosest);
    let part = |scale: f64, mask| ln_1p_sum_exp(scale * (cos - 0.5), mask, 1) / scale.abs();
    let mined = pull.max_dim(1) * push.max_dim(1);
    mean_where(part(-2.0, pull) + part(40.0, push), mined)
}

/// Beyond any cosine.
const FAR: f64 = 10.0;
