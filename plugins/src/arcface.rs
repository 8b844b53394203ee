//! Deng, Guo, Xue & Zafeiriou, "ArcFace: Additive Angular Margin Loss for Deep Face Recognition",
//! CVPR 2019, equation 3.

use retort_sdk::prelude::*;

hyper! {
    /// A normalised softmax in which the own class's angle is made larger by a margin.
    ///
    /// L = -1/n Σᵢ log softmax_c( s cos(θ_ic + m[c = yᵢ]) )_yᵢ, where θ is the angle between the
    /// embedding and the class's weight.
    ///
    /// As in the authors' code, beyond θ = π - m the own logit is cos θ - m sin m, which keeps falling.
    pub struct Arcface {
        /// m, margin, in radians.
        margin: f64 = 0.5 => 0.0..,
        /// s, scale.
        scale: f64 = 64.0 => above(0.0),
    }
}

impl Loss for Arcface {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_two_classes();
        let (x, classes, m) = (step.target(), step.classes(), self.margin); // [n, d]
        let weight = step.param("weight", [classes, x.dim(1)], Init::Normal(0.01));
        let cos = cosine_similarity(x, weight); // [n, c]

        let sin = (1.0 - cos.square()).clamp_min(1e-12).sqrt();
        let moved = m.cos() * cos - m.sin() * sin;
        let small_angle = cos.above(-m.cos());
        let moved = moved.select(small_angle, cos - m * m.sin());
        let logits = moved.select(step.labels().one_hot(classes), cos);
        cross_entropy(self.scale * logits, step.labels())
    }
}
