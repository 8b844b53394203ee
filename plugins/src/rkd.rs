//! Park, Kim, Lu & Cho, "Relational Knowledge Distillation", CVPR 2019, equations 4 to 9.

use crate::{rkd_angle::RkdAngle, rkd_distance::RkdDistance};
use retort_sdk::prelude::*;

hyper! {
    /// The target keeps the distances between pairs and the angles in triplets that the source has.
    ///
    /// L = λ_D · L_D + λ_A · L_A, the losses `rkd_distance` and `rkd_angle`.
    pub struct Rkd {
        /// λ_D, weight of the distances.
        weight_distance: f64 = 1.0 => 0.0..,
        /// λ_A, weight of the angles.
        weight_angle: f64 = 2.0 => 0.0..,
    }
}

impl Loss for Rkd {
    fn loss(&self, step: &Step) -> Tensor {
        let (distance, angle) = (RkdDistance {}.loss(step), RkdAngle {}.loss(step));
        step.log("distance", distance);
        step.log("angle", angle);
        self.weight_distance * distance + self.weight_angle * angle
    }
}
