//! Batch norm in training as one operation, with its running statistics and the ReLU that mostly follows it: by two
//! launches each way on a GPU, two passes each way on the CPU, where Burn's operations take about a dozen.

mod cpu;
mod gpu;

use burn::tensor::{DType, Tensor};

/// What a batch norm goes by.
#[derive(Debug)]
pub(crate) struct Norm {
    /// Scale, `[c]`.
    pub(crate) gamma: Tensor<1>,
    /// Shift, `[c]`.
    pub(crate) beta: Tensor<1>,
    /// Running mean so far, `[c]`.
    pub(crate) mean: Tensor<1>,
    /// Running variance so far, `[c]`.
    pub(crate) variance: Tensor<1>,
    /// Share of this batch in the new ones.
    pub(crate) momentum: f64,
    /// What is added to variances.
    pub(crate) epsilon: f64,
    /// Whether a ReLU follows.
    pub(crate) relu: bool,
}

/// What it gives.
#[derive(Debug)]
pub(crate) struct Normalised {
    /// `[n, c, h, w]`
    pub(crate) output: Tensor<4>,
    /// The new running mean, `[c]`.
    pub(crate) mean: Tensor<1>,
    /// The new running variance, of the unbiased one of this batch, `[c]`.
    pub(crate) variance: Tensor<1>,
}

/// Normalises `[n, c, h, w]` on an autodiff device by its own statistics, in 32 bits; none elsewhere.
pub(crate) fn batch_norm(x: &Tensor<4>, norm: &Norm) -> Option<Normalised> {
    let all = [&norm.gamma, &norm.beta, &norm.mean, &norm.variance];
    let narrow = x.dtype() == DType::F32 && all.iter().all(|t| t.dtype() == DType::F32);
    let some = x.dims().iter().all(|&size| size > 0);
    (narrow && some).then_some(())?;
    cpu::batch_norm(x, norm).or_else(|| gpu::batch_norm(x, norm))
}

/// Normalises `[n, c, h, w]` by running statistics, without autodiff, on the CPU in 32 bits; none elsewhere.
pub(crate) fn normalise(x: &Tensor<4>, norm: &Norm) -> Option<Tensor<4>> {
    let all = [&norm.gamma, &norm.beta, &norm.mean, &norm.variance];
    let narrow = x.dtype() == DType::F32 && all.iter().all(|t| t.dtype() == DType::F32);
    narrow.then(|| cpu::normalise(x, norm)).flatten()
}

/// A batch's variance times this is the unbiased one.
pub(crate) fn unbiased(count: usize) -> f64 {
    count as f64 / count.saturating_sub(1).max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Norm, batch_norm};
    use crate::kernel::testing::{alike, apart, wave};
    use burn::tensor::activation::relu;
    use burn::tensor::module::batch_norm_train;
    use burn::tensor::{Device, Tensor};

    #[test]
    fn values_gradients_and_statistics_are_those_of_burn() {
        let device = Device::flex().autodiff();
        for dims in [[5, 3, 7, 6], [6, 2, 1, 1], [4, 8, 16, 16], [96, 5, 3, 5], [3, 70, 2, 2]] {
            for rectified in [false, true] {
                let [n, c, h, w] = dims;
                // Far from 0, as sums of squares are least exact there.
                let input = (wave(dims, 0.3, &device) + 20.0).detach().require_grad();
                let gamma = wave([c], 1.3, &device).require_grad();
                let beta = wave([c], 2.3, &device).require_grad();
                let norm = Norm {
                    gamma: gamma.clone(),
                    beta: beta.clone(),
                    mean: wave([c], 3.3, &device),
                    variance: wave([c], 4.3, &device),
                    momentum: 0.1,
                    epsilon: 1e-5,
                    relu: rectified,
                };
                let ours = batch_norm(&input, &norm).unwrap();
                let theirs = batch_norm_train(input.clone(), gamma.clone(), beta.clone(), 1e-5);
                let wanted = if rectified { relu(theirs.output) } else { theirs.output };
                let what = format!("{dims:?}, ReLU {rectified}");
                let far = apart(ours.output.clone().inner(), wanted.clone().inner());
                assert!(far < 2e-5, "{what}: {far:.0e}");

                let count = (n * h * w) as f64;
                let mean = norm.mean * 0.9 + theirs.mean.detach() * 0.1;
                let unbiased = count / (count - 1.0).max(1.0);
                let variance = norm.variance * 0.9 + theirs.variance.detach() * (0.1 * unbiased);
                let far = apart(ours.mean.inner(), mean.inner());
                let off = apart(ours.variance.inner(), variance.inner());
                assert!(far.max(off) < 1e-5, "{what}: {far:.0e}, {off:.0e}");

                let push = wave(dims, 0.9, &device);
                let of = |out: Tensor<4>| {
                    let gradients = (out * push.clone()).sum().backward();
                    let of = |t: &Tensor<1>| t.grad(&gradients).unwrap();
                    (input.grad(&gradients).unwrap(), of(&gamma), of(&beta))
                };
                let (ours, wanted) = (of(ours.output), of(wanted));
                let far = apart(ours.0, wanted.0).max(apart(ours.1, wanted.1));
                let far = far.max(apart(ours.2, wanted.2));
                assert!(far < 1e-4, "gradient of {what}: {far:.0e}");
            }
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bytes() {
        alike(|| {
            let device = Device::flex().autodiff();
            let input = wave([13, 6, 9, 11], 0.2, &device).require_grad();
            let param = |salt| wave([6], salt, &device);
            let norm = Norm {
                gamma: param(1.0).require_grad(),
                beta: param(2.0),
                mean: param(3.0),
                variance: param(4.0),
                momentum: 0.1,
                epsilon: 1e-5,
                relu: true,
            };
            let done = batch_norm(&input, &norm).unwrap();
            let gradients = (done.output.clone() * done.output.clone()).sum().backward();
            vec![
                done.output.into_data(),
                done.mean.into_data(),
                done.variance.into_data(),
                input.grad(&gradients).unwrap().into_data(),
                norm.gamma.grad(&gradients).unwrap().into_data(),
            ]
        });
    }
}
