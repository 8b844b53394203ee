//! Qian, Shang, Sun, Hu, Li & Jin, "SoftTriple Loss: Deep Metric Learning Without Triplet Sampling",
//! ICCV 2019, equations 7, 8 and 11.

use retort_sdk::prelude::*;

hyper! {
    /// A normalised softmax in which each class has several learnable centres.
    ///
    /// L = -1/n Σᵢ log softmax_c( λ(S_ic - δ[c = yᵢ]) )_yᵢ + τ R, where
    /// S_ic = Σₖ softmaxₖ(xᵢ·w_ck / γ) xᵢ·w_ck  of unit vectors, and R is the mean of √(2 - 2 w_cj·w_ck)
    /// over the pairs of centres of one class, halved.
    ///
    /// As in the authors' code, with 1e-5 in the square root. Embeddings are normalised here; there
    /// the network does it.
    pub struct SoftTriple {
        /// Centres of each class.
        centers: usize = 10 => 1..,
        /// λ, sharpness of the softmax over classes.
        scale: f64 = 20.0 => above(0.0),
        /// γ, temperature of the softmax over centres.
        gamma: f64 = 0.1 => above(0.0),
        /// δ, margin, in cosine.
        margin: f64 = 0.01 => 0.0..,
        /// τ, weight of the regulariser that merges centres.
        tau: f64 = 0.2 => 0.0..,
    }
}

impl Loss for SoftTriple {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_two_classes();
        let (x, classes, k) = (step.target().normalize(1), step.classes(), self.centers);
        let init = Init::Uniform((x.dim(1) as f64).sqrt().recip());
        let w = step.param("centers", [classes * k, x.dim(1)], init).normalize(1);

        let cos = x.matmul(w.t()).reshape([x.dim(0), classes, k]);
        let share = (cos / self.gamma).log_softmax(2).exp();
        let similarity = (share * cos).sum_dim(2).reshape([x.dim(0), classes]);
        let own = step.labels().one_hot(classes);
        let loss = cross_entropy(self.scale * (similarity - self.margin * own), step.labels());
        if self.tau == 0.0 || k == 1 {
            return loss;
        }

        let w = w.reshape([classes, k, x.dim(1)]);
        let pairs = 1.0 - w.eye(k); // every pair twice
        let spread = (2.0 + 1e-5 - 2.0 * w.matmul(w.t())).clamp_min(1e-12).sqrt() * pairs;
        loss + self.tau * spread.sum() / (2 * classes * k * (k - 1))
    }
}
