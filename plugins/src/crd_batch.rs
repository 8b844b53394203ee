//! Tian, Krishnan & Isola, "Contrastive Representation Distillation", ICLR 2020, with the negatives of
//! He, Fan, Wu, Xie & Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning",
//! CVPR 2020, equation 1: the batch and a queue instead of a memory of the whole training set.

use retort_sdk::prelude::*;

hyper! {
    /// Tells a sample in the other network from the batch's others and from a queue of earlier ones.
    ///
    /// L = -1/n Σᵢ log( e^{tᵢ·sᵢ/τ} / (e^{tᵢ·sᵢ/τ} + Σⱼ e^{tᵢ·sⱼ/τ}) ) + the same with t and s exchanged,
    /// where t and s are unit projections of the embeddings, and j runs over the samples of other
    /// classes in the batch and in the queue.
    #[exempt(one_class = "until the queue holds another class, there is nothing to contrast with")]
    pub struct CrdBatch {
        /// Width of the space that both networks are projected to.
        dim: usize = 128 => 1..,
        /// Samples that the queue remembers.
        queue: usize = 4096 => 1..,
        /// τ.
        temperature: f64 = 0.07 => above(0.0),
    }
}

impl Loss for CrdBatch {
    fn loss(&self, step: &Step) -> Tensor {
        let t = step.linear("embed_target", step.target(), self.dim).normalize(1); // [n, dim]
        let s = step.linear("embed_source", step.source(), self.dim).normalize(1); // [n, dim]

        let queue = |name| step.buffer(name, [self.queue, self.dim], Init::Zeros);
        let (queue_t, queue_s) = (queue("queue_target"), queue("queue_source"));
        let queue_class = step.buffer("queue_class", [self.queue, 3], Init::Constant(-1.0));
        let class = residues(step.labels()); // [n, 3]
        let all = class.cat(0, queue_class.get()).t(); // [3, n + queue]
        let filled = all.slice(0, 0..1).above(-0.5); // an empty place has class -1
        let equal = |k: usize| class.slice(1, k..k + 1).equal(all.slice(0, k..k + 1));
        let other = (1.0 - equal(0) * equal(1) * equal(2)) * filled; // [n, n + queue]

        let nce = |anchor: Tensor, own: Tensor, queue: Buffer| {
            let own_score = (anchor * own).sum_dim(1) / self.temperature; // [n, 1]
            let others = anchor.matmul(own.cat(0, queue.get()).t()) / self.temperature;
            ln_1p_sum_exp(others - own_score, other, 1).mean()
        };
        let loss = nce(t, s, queue_s) + nce(s, t, queue_t);

        let push = |queue: Buffer, new: Tensor| queue.set(new.cat(0, queue.get()).slice(0, 0..self.queue));
        push(queue_t, t);
        push(queue_s, s);
        push(queue_class, class);
        loss
    }
}

/// What classes are told apart by in a buffer of floats, where 32 bits hold integers up to 2²⁴ only:
/// their remainders by three numbers without a common factor, whose product is beyond 2⁶³. `[n]` gives
/// `[n, 3]`.
fn residues(labels: Index) -> Tensor {
    let by = |m: usize| labels.modulo(m).column().float(); // [n, 1]
    by(M - 1).cat(1, by(M)).cat(1, by(M + 1))
}

const M: usize = 1 << 23;
