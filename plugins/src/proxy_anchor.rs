//! Kim, Kim, Cho & Kwak, "Proxy Anchor Loss for Deep Metric Learning", CVPR 2020, equation 4.

use retort_sdk::prelude::*;

hyper! {
    /// One learnable proxy a class; each proxy is the anchor, the whole batch its pairs.
    ///
    /// L = 1/|P⁺| Σ_{p∈P⁺} log(1 + Σ_{x∈X⁺} e^{-α(cos(x,p) - δ)})
    ///   + 1/|P|  Σ_{p∈P}  log(1 + Σ_{x∈X⁻} e^{ α(cos(x,p) + δ)})
    ///
    /// P⁺ are the proxies whose class is in the batch. The logarithms are taken so that no α
    /// overflows, which the authors' code does in f32 from α = 81 on.
    pub struct ProxyAnchor {
        /// α, sharpness.
        alpha: f64 = 32.0 => above(0.0),
        /// δ, margin, in cosine.
        margin: f64 = 0.1 => 0.0..,
    }
}

impl Loss for ProxyAnchor {
    fn loss(&self, step: &Step) -> Tensor {
        let classes = step.classes();
        let x = unit(step.target()); // [n, d]
        let init = Init::Normal((2.0 / classes as f64).sqrt());
        let p = unit(step.param("proxies", [classes, x.dim(1)], init)); // [c, d]

        let cos = x.matmul(p.t()); // [n, c]
        let same = step.labels().one_hot(classes); // [n, c]
        let pull = ln_1p_sum_exp(-self.alpha * (cos - self.margin), same, 0); // [1, c]
        let push = ln_1p_sum_exp(self.alpha * (cos + self.margin), 1.0 - same, 0);

        let present = same.max_dim(0).sum(); // |P⁺|
        pull.sum() / present + push.sum() / classes
    }
}

/// Unit rows, as the authors divide: x / √(‖x‖² + 1e-12).
fn unit(x: Tensor) -> Tensor {
    x / (x.square().sum_dim(1) + 1e-12).sqrt()
}
