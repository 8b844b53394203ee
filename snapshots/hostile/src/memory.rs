//! A loss that misbehaves.

use retort_sdk::prelude::*;

choice! {
    /// What fills the memory.
    pub enum With {
        Reshapes = "reshapes",
        Copies = "copies",
        Slices = "slices",
        Doubling = "doubling",
        Equal = "equal",
        Sorts = "sorts",
        Masks = "masks",
        Products = "products",
        Pools = "pools",
        Draws = "draws",
        Indices = "indices",
        Parameters = "parameters",
        Buffers = "buffers",
        Gathers = "gathers",
        Gradients = "gradients",
        Reads = "reads",
        Small = "small",
        Aside = "aside",
    }
}

hyper! {
    /// Fills the memory with tensors (of 64 MiB in 32 bits, unless `side` says otherwise), or with what the
    /// host makes on their way.
    pub struct Memory {
        /// What fills the memory.
        with: With = With::Reshapes,
        /// How often.
        times: usize = 40,
        /// Rows and columns of a tensor.
        side: usize = 4096,
    }
}

impl Loss for Memory {
    fn loss(&self, step: &Step) -> Tensor {
        let n = self.side;
        let x = step.target().sum();
        let times = 0..self.times;
        match self.with {
            // What is the same twice is computed once, so each time differs.
            // A transposed tensor is a view; another shape of it is a copy.
            With::Reshapes => {
                let turned = large(step, x, n).t();
                times.fold(x, |sum, _| sum + turned.reshape([n * n]).slice(0, 0..1).sum())
            }
            With::Copies => times.fold(large(step, x, n), |y, _| y.exp()).sum(),
            With::Slices => {
                let y = large(step, x, n);
                times.fold(x, |sum, i| sum + y.slice(1, i..n).abs().slice(0, 0..1).sum())
            }
            With::Doubling => times.fold(step.target(), |y, _| y.cat(0, y)).sum(),
            With::Equal => {
                let row = step.random_uniform([n, 1]);
                times.fold(x, |sum, i| sum + (row + i).equal(row.t()).slice(0, 0..1).sum())
            }
            With::Sorts => {
                let row = step.random_uniform([n * n / 8]);
                times.fold(x, |sum, i| sum + (row + i).argsort(0).slice(0, 0..1).float().sum())
            }
            With::Masks => {
                let y = step.random_uniform([n, 1]);
                times.fold(x, |sum, i| sum + y.greater(y.t() + i).slice(0, 0..1).sum())
            }
            With::Products => {
                let (a, b) = (step.random_uniform([n, 1]), step.random_uniform([1, n]));
                times.fold(x, |sum, i| sum + (a + i).matmul(b).slice(0, 0..1).sum())
            }
            With::Pools => {
                let y = x.reshape([1, 1, 1, 1]);
                times.fold(x, |sum, _| sum + y.adaptive_avg_pool(n, n).sum())
            }
            // The host draws in 64 bits, whatever the tensor has.
            With::Draws => times.fold(x, |sum, _| sum + step.random_normal([n, n / 2]).sum()),
            With::Indices => {
                let index = step.range(0..n * n / 8);
                let more = |i: usize| index.plus(step.range(i..i + 1));
                times.fold(x, |sum, i| sum + more(i).slice(0, 0..1).float().sum())
            }
            With::Parameters => times.fold(x, |sum, i| {
                sum + step.param(&format!("p{i}"), [n, n / 4], Init::Zeros).slice(0, 0..1).sum()
            }),
            With::Buffers => times.fold(x, |sum, i| {
                let buffer = step.buffer(&format!("b{i}"), [n, n / 4], Init::Zeros).get();
                sum + buffer.slice(0, 0..1).sum()
            }),
            With::Gathers => {
                let zeros = step.range(0..n * n / 8).modulo(1);
                times.fold(x, |sum, _| sum + step.target().rows(zeros).slice(0, 0..1).sum())
            }
            // Little of it is made in the step, and much by its gradient.
            With::Gradients => {
                let y = step.param("p", [n, n / 2], Init::Constant(0.5));
                times.fold(y, |y, _| y.slice(0, 0..n).reshape([n, n / 2])).sum() + x
            }
            With::Reads => {
                let y = step.random_uniform([n, n / 2]);
                times.fold(x, |sum, _| sum + y.to_vec()[0])
            }
            With::Small => times.fold(x, |sum, _| sum + 1.0),
            // A long way to nowhere: nothing of it is in the loss.
            With::Aside => {
                times.fold(x, |sum, _| sum + 1.0);
                step.target().square().mean()
            }
        }
    }
}

/// The scalar `x` times random numbers, `[n, n]`.
fn large(step: &Step, x: Tensor, n: usize) -> Tensor {
    x * step.random_uniform([n, 1]).matmul(step.random_uniform([1, n]))
}
