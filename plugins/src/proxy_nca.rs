//! Movshovitz-Attias, Toshev, Leung, Ioffe & Singh, "No Fuss Distance Metric Learning using Proxies",
//! ICCV 2017, equation 4.

use retort_sdk::prelude::*;

hyper! {
    /// One learnable proxy a class; each sample is nearest to its own.
    ///
    /// L = -1/n Σᵢ log( e^{-s‖xᵢ - p_yᵢ‖²} / Σ_c e^{-s‖xᵢ - p_c‖²} )   of unit vectors.
    ///
    /// As in the reference, the own proxy is in the denominator too. Its code takes the logarithm of
    /// the softmax, and drops samples whose probability underflows; here none is.
    pub struct ProxyNca {
        /// s, sharpness.
        scale: f64 = 32.0 => above(0.0),
    }
}

impl Loss for ProxyNca {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_two_classes();
        let (x, classes) = (step.target(), step.classes()); // [n, d]
        let p = step.param("proxies", [classes, x.dim(1)], Init::Normal(1.0)); // [c, d]
        softmax_of_distances(x, p, self.scale, step.labels())
    }
}

/// Cross-entropy of the negative squared distances of unit vectors `[n, d]` and `[c, d]`.
pub(crate) fn softmax_of_distances(x: Tensor, p: Tensor, scale: f64, labels: Index) -> Tensor {
    let (x, p) = (x.normalize(1), p.normalize(1));
    let squared = x.square().sum_dim(1) + p.square().sum_dim(1).t() - 2.0 * x.matmul(p.t());
    cross_entropy(-scale * squared, labels)
}
