//! A loss that misbehaves.

use retort_sdk::prelude::*;

choice! {
    /// Who is given the size.
    pub enum To {
        Matmul = "matmul",
        OneHot = "one_hot",
        Cumsum = "cumsum",
        Pool = "pool",
        Constant = "constant",
        ConstantIndex = "constant_index",
        Uniform = "uniform",
        Normal = "normal",
        Drawn = "drawn",
        Contrast = "contrast",
        Eye = "eye",
        Range = "range",
        Reshape = "reshape",
        ReshapeIndex = "reshape_index",
        Slice = "slice",
        Param = "param",
        Buffer = "buffer",
    }
}

hyper! {
    /// Makes a tensor with a dimension of a size that no tensor has.
    pub struct Sizes {
        /// Who is given the size.
        to: To = To::Matmul,
        /// The size.
        size: f64 = 0.0,
    }
}

impl Loss for Sizes {
    fn loss(&self, step: &Step) -> Tensor {
        // Where addresses have 32 bits, the largest there is.
        let (x, n) = (step.target(), self.size as usize);
        let made = match self.to {
            To::Matmul => step.random_uniform([n, 2, 1]).matmul(step.random_uniform([1, 3])),
            To::OneHot => step.range(0..n.min(2)).one_hot(n),
            To::Cumsum => step.random_uniform([1, 1, n]).cumsum(1),
            To::Pool => x.reshape([1, 1, 6, 4]).adaptive_avg_pool(n, 1),
            To::Constant => step.constant([n, 1], &[]),
            To::ConstantIndex => step.constant_index([n, 1], &[]).float(),
            To::Uniform => step.random_uniform([2, n]),
            To::Normal => step.random_normal([n]),
            To::Drawn => step.random_index([n, 1], 5).float(),
            To::Contrast => step.contrast(n, Negatives::Uniform).float(),
            To::Eye => x.eye(n),
            To::Range => step.range(0..n).float(),
            To::Reshape => x.reshape([n, 24]),
            To::ReshapeIndex => step.labels().reshape([n, 6]).float(),
            To::Slice => x.slice(0, n..n),
            To::Param => step.param("p", [n, 2], Init::Normal(1.0)),
            To::Buffer => step.buffer("b", [2, n], Init::Zeros).get(),
        };
        made.sum() + x.sum()
    }
}
