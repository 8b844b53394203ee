//! Shen, Xiong, Xia & Soatto, "Towards Backward-Compatible Representation Learning", CVPR 2020;
//! formulas of the authors' code, YantaoShen/openBCT. The contrastive influence: Khosla et al.,
//! "Supervised Contrastive Learning", NeurIPS 2020.

use retort_sdk::prelude::*;

choice! {
    /// What makes the new embeddings compatible.
    pub enum Influence {
        /// The old classifier reads them.
        Classifier = "classifier",
        /// The old classifier reads from them what it reads from the old embeddings.
        Distil = "distil",
        /// The old embeddings of their class are their neighbours.
        Contrast = "contrast",
    }
}

hyper! {
    /// The target learns its classes, and that a search among the source's embeddings finds them: backward
    /// compatibility.
    ///
    /// L = CE(f(tᵢ), yᵢ) + one of
    ///
    /// classifier: CE(g(tᵢ), yᵢ);  distil: -1/n Σᵢ softmax(g(sᵢ)) · log softmax(g(tᵢ));
    ///
    /// contrast: 1/n Σᵢ mean_{p: yₚ=yᵢ} -log( e^{tᵢ·sₚ/τ} / (e^{tᵢ·sₚ/τ} + Σ_{j: yⱼ≠yᵢ} e^{tᵢ·sⱼ/τ}) ) of unit
    /// embeddings.
    ///
    /// f is a new classifier, g the old one, which reads the target cut to the source's width or filled with
    /// zeros, as in the authors' code; a class for which the buffers `old_fc` hold nothing gets its mean among
    /// the source's embeddings, from the first batch that shows it. The contrastive influence is what the
    /// code's comments say: one positive against all negatives.
    pub struct Bct {
        /// What makes the new embeddings compatible.
        influence: Influence = Influence::Classifier,
        /// τ, temperature of the contrastive influence.
        temperature: f64 = 0.05 => above(0.0),
    }
}

impl Loss for Bct {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_two_classes();
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        let classes = step.classes();
        let weight = old_weight(step, s, classes);
        let bias = step.buffer("old_fc.bias", [classes], Init::Zeros).get();
        let own = cross_entropy(step.linear("fc", t, classes), step.labels());

        let t = fitted(step, t, s.dim(1)); // [n, d']
        let old = |x: Tensor| x.matmul(weight.t()) + bias; // [n, classes]
        own + match self.influence {
            Influence::Classifier => cross_entropy(old(t), step.labels()),
            Influence::Distil => {
                -(old(s).softmax(1) * old(t).log_softmax(1)).sum_dim(1).mean()
            }
            Influence::Contrast => self.contrast(step, t, s),
        }
    }
}

impl Bct {
    fn contrast(&self, step: &Step, t: Tensor, s: Tensor) -> Tensor {
        let cos = t.normalize(1).matmul(s.normalize(1).t()) / self.temperature; // [n, n]
        let same = step.labels().same();
        let others = log_sum_exp(cos, 1.0 - same, 1); // [n, 1]
        let term = softplus(others - cos) * same;
        (term.sum_dim(1) / same.sum_dim(1)).mean()
    }
}

/// The old classifier's weight, `[classes, d']`. Rows of zeros become their class's mean in the first batch
/// that shows the class.
fn old_weight(step: &Step, s: Tensor, classes: usize) -> Tensor {
    let buffer = step.buffer("old_fc.weight", [classes, s.dim(1)], Init::Zeros);
    let class = step.labels().one_hot(classes).t(); // [classes, n]
    let means = class.matmul(s) / class.sum_dim(1).clamp_min(1.0);
    let known = buffer.get().abs().sum_dim(1).above(0.0);
    let weight = buffer.get().select(known, means);
    buffer.set(weight);
    weight
}

/// `[n, d]` cut to a width, or filled with zeros.
fn fitted(step: &Step, x: Tensor, width: usize) -> Tensor {
    let (n, d) = (x.dim(0), x.dim(1));
    if d >= width {
        return x.slice(1, 0..width);
    }
    x.cat(1, step.constant([n, width - d], &vec![0.0; n * (width - d)]))
}
