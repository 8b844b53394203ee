//! Teh, DeVries & Taylor, "ProxyNCA++: Revisiting and Revitalizing Proxy Neighborhood Component
//! Analysis", ECCV 2020, equation 5.

use crate::proxy_nca::softmax_of_distances;
use retort_sdk::prelude::*;

hyper! {
    /// Proxy-NCA as a true probability over all proxies, sharpened by a temperature.
    ///
    /// L = -1/n Σᵢ log( e^{-‖xᵢ - p_yᵢ‖²/τ} / Σ_c e^{-‖xᵢ - p_c‖²/τ} )   of unit vectors.
    ///
    /// The paper's other changes are the experiment's: balanced batches, a higher learning rate of the
    /// proxies, and a network that pools by maximum.
    pub struct ProxyNcaPp {
        /// τ.
        temperature: f64 = 1.0 / 9.0 => above(0.0),
    }
}

impl Loss for ProxyNcaPp {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_two_classes();
        let (x, classes) = (step.target(), step.classes()); // [n, d]
        let p = step.param("proxies", [classes, x.dim(1)], Init::Normal(0.125)); // [c, d]
        softmax_of_distances(x, p, 1.0 / self.temperature, step.labels())
    }
}
