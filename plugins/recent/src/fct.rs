//! Ramanujan, Vasu, Farhadi, Tuzel & Pouransari, "Forward Compatible Training for Large-Scale Embedding
//! Retrieval Systems", CVPR 2022; formulas of the authors' code, apple/ml-fct.

use retort_sdk::prelude::*;

hyper! {
    /// A small network turns the target's embedding into the source's: the transformation h that makes old
    /// embeddings fit a new search.
    ///
    /// L = mean (h(tᵢ) - sᵢ)²,  h(x) = W₁ relu(BN(W₀ x)) + b₁.
    ///
    /// Here the target is the old network, and stands for its side information, too. The batch
    /// normalisation takes the batch's statistics in training, and keeps running ones, with momentum 0.1, for
    /// who uses h afterwards.
    pub struct Fct {
        /// Width of the hidden layer.
        inner_dim: usize = 2048 => 1..,
    }
}

impl Loss for Fct {
    fn loss(&self, step: &Step) -> Tensor {
        let (t, s) = (step.target(), step.source()); // [n, d], [n, d']
        let (d, inner) = (t.dim(1), self.inner_dim);
        let init = Init::Uniform((d as f64).sqrt().recip());
        let hidden = t.matmul(step.param("h.0.weight", [inner, d], init).t()); // [n, inner]
        let hidden = batch_norm(step, "h.0.bn", hidden).relu();
        (step.linear("h.1", hidden, s.dim(1)) - s).square().mean()
    }
}

/// Batch normalisation of `[n, d]`, with parameters and buffers as in PyTorch.
fn batch_norm(step: &Step, name: &str, x: Tensor) -> Tensor {
    let d = x.dim(1);
    let weight = step.param(&format!("{name}.weight"), [d], Init::Constant(1.0));
    let bias = step.param(&format!("{name}.bias"), [d], Init::Zeros);
    let (mean, variance) = (x.mean_dim(0), x.var(0, 0)); // [1, d]
    let run = |what: &str, start, now: Tensor| {
        let name = format!("{name}.running_{what}");
        let buffer = step.buffer(&name, [d], start);
        buffer.set(0.9 * buffer.get() + 0.1 * now.detach().squeeze(0));
    };
    run("mean", Init::Zeros, mean);
    let n = x.dim(0);
    run("var", Init::Constant(1.0), variance * n / n.saturating_sub(1).max(1));
    (x - mean) / (variance + 1e-5).sqrt() * weight + bias
}
