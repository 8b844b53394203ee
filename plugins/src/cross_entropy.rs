//! Zhai & Wu, "Classification is a Strong Baseline for Deep Metric Learning", BMVC 2019, equation 3.

use retort_sdk::prelude::*;

hyper! {
    /// A linear classifier on the embedding, with a temperature; by choice a normalised one.
    ///
    /// L = -1/n Σᵢ log softmax( (W xᵢ + b) / τ )_yᵢ
    ///
    /// As in the reference, nothing is normalised by default. Normalised (the paper's form, with
    /// τ = 0.05), x and the rows of W are unit vectors and there is no b.
    pub struct CrossEntropy {
        /// τ.
        temperature: f64 = 1.0 => above(0.0),
        /// Whether logits are cosines.
        normalize: bool = false,
    }
}

impl Loss for CrossEntropy {
    fn loss(&self, step: &Step) -> Tensor {
        step.need_two_classes();
        let (x, classes) = (step.target(), step.classes()); // [n, d]
        let logits = if self.normalize {
            let init = Init::Uniform((x.dim(1) as f64).sqrt().recip());
            cosine_similarity(x, step.param("classifier.weight", [classes, x.dim(1)], init))
        } else {
            step.linear("classifier", x, classes)
        };
        cross_entropy(logits / self.temperature, step.labels())
    }
}
