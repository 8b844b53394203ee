//! Write a loss once: one short file that reads like the paper's equation. Link it into the host,
//! load it as a native library, or sandbox it as a WASM component.
//!
//! ```
//! use retort_sdk::prelude::*;
//!
//! hyper! {
//!     /// Pulls the target's embeddings towards the source's.
//!     ///
//!     /// L = ω/n Σᵢ ‖tᵢ - sᵢ‖²
//!     pub struct Follow {
//!         /// ω, weight.
//!         omega: f64 = 1.0 => above(0.0),
//!     }
//! }
//!
//! impl Loss for Follow {
//!     fn loss(&self, step: &Step) -> Tensor {
//!         let (t, s) = (step.target(), step.source()); // [n, d]
//!         self.omega * (t - s).square().sum() / t.dim(0)
//!     }
//! }
//! ```
//!
//! A pack lists its losses in `lib.rs` with [`losses!`]. State lives in the host: parameters and
//! buffers by name ([`Step::param`], [`Step::buffer`]).

pub mod abi;
mod compose;
mod distance;
mod ffi;
mod hyper;
pub mod op;
mod plugin;
pub mod schema;
#[cfg(feature = "sources")]
pub mod sources;
mod step;
mod tensor;

pub use compose::einsum;
pub use distance::{
    binary_cross_entropy, cdist, cosine_similarity, cross_entropy, euclidean_distance,
    feature_pairs, huber, kl_divergence, last_feature, ln_1p_sum_exp, log_softmax_where,
    log_sum_exp, mean_where, pairwise_distance, row_cosine, softplus,
};
pub use hyper::{Hyper, Value};
#[doc(hidden)]
pub use hyper::{field, read};
pub use op::Op;
pub use plugin::{Entry, Loss, Pack, describe, entry, stamp};
#[cfg(not(target_family = "wasm"))]
pub use plugin::{quiet_panics, table};
pub use step::{Buffer, Init, Negatives, Step};
pub use tensor::{Index, Tensor};

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use {ffi::wit, plugin::wasm};

#[doc(hidden)]
pub use serde_json;

/// What a loss's file needs.
pub mod prelude {
    pub use crate::schema::above;
    pub use crate::{
        Buffer, Index, Init, Loss, Negatives, Step, Tensor, binary_cross_entropy, cdist, choice,
        cosine_similarity, cross_entropy, einsum, euclidean_distance, feature_pairs, huber, hyper,
        kl_divergence, last_feature, ln_1p_sum_exp, log_softmax_where, log_sum_exp, mean_where,
        pairwise_distance, row_cosine, softplus,
    };
}
