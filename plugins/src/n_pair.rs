//! Sohn, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective", NIPS 2016, equation 7.

use retort_sdk::prelude::*;

hyper! {
    /// Each class's first sample tells its second from the other classes' second ones.
    ///
    /// L = mean over classes c of -log( e^{a_c·p_c} / Σ_k e^{a_c·p_k} ) + λ · meanᵢ ‖xᵢ‖,
    /// where a_c and p_c are the first and the second embedding of class c in the batch, as they are.
    ///
    /// With fewer than two such pairs there is nothing to tell apart, and the loss isn't defined.
    #[exempt(order = "a class's first two samples in the batch are its pair")]
    pub struct NPair {
        /// λ, weight of the embeddings' norms.
        l2_reg: f64 = 0.0 => 0.0..,
    }
}

impl Loss for NPair {
    fn loss(&self, step: &Step) -> Tensor {
        if classes_with_pairs(step.labels()) < 2 {
            return step.undefined(
                "fewer than two classes of the batch have two samples: draw at least two of each",
            );
        }
        let x = step.target(); // [n, d]
        let (n, same) = (x.dim(0), step.labels().same());

        let rank = (same * x.eye(n).cumsum(1)).sum_dim(0).t(); // 1 for a class's first row, 2 …
        let second = rank.equal(x.scalar(2.0)).t(); // [1, n]
        let anchor = rank.equal(x.scalar(1.0)) * (same * second).sum_dim(1); // [n, 1]

        let dot = x.matmul(x.t());
        let own = (dot * same * second).sum_dim(1);
        let all = log_sum_exp(dot, second, 1);
        mean_where(all - own, anchor) + self.l2_reg * x.norm(1).mean()
    }
}

/// Classes of which the batch has two samples or more. Read on the host.
fn classes_with_pairs(labels: Index) -> usize {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    labels.chunk_by(|a, b| a == b).filter(|class| class.len() > 1).count()
}
