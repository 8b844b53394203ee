//! What the networks are made of: first values, layers that can be listed as they run, batch norm as
//! PyTorch has it, pooling and embedding.

use crate::kernel::{self, Norm};
use crate::random;
use burn::module::{Module, Param, ParamId, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{LayerNorm, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::module::{batch_norm, batch_norm_train, max_pool2d};
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};
use std::cell::RefCell;

/// First values, from the seed and each parameter's name alone.
#[derive(Clone, Copy, Debug)]
pub struct Init<'a> {
    /// The seed; none leaves weights at zeros that take no memory, for a network that is only looked at
    /// or loaded into.
    pub seed: Option<u64>,
    /// Where the parameters live.
    pub device: &'a Device,
}

impl Init<'_> {
    /// One zero that is seen everywhere.
    fn blank<const D: usize>(&self, dims: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::<D>::zeros([1; D], self.device).expand(dims))
    }

    /// A matrix or more, normal with this standard deviation.
    pub fn scaled<const D: usize>(
        &self,
        name: &str,
        dims: [usize; D],
        deviation: f64,
    ) -> Param<Tensor<D>> {
        let Some(seed) = self.seed else { return self.blank(dims) };
        let values = normal(seed, name, dims.iter().product());
        let values: Vec<f32> = values.into_iter().map(|v| (deviation * v) as f32).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, dims), self.device))
    }

    /// A convolution `input → output` channels that keeps the size at stride 1; He's normal values.
    pub fn conv(
        &self,
        name: &str,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
        bias: bool,
    ) -> Conv2d {
        let pad = kernel / 2;
        let mut conv = Conv2dConfig::new([input, output], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(pad, pad, pad, pad))
            .with_bias(bias)
            .init(self.device);
        let deviation = (2.0 / (kernel * kernel * input) as f64).sqrt();
        let dims = [output, input, kernel, kernel];
        conv.weight = self.scaled(&format!("{name}.weight"), dims, deviation);
        if bias {
            conv.bias = Some(Param::from_tensor(Tensor::zeros([output], self.device)));
        }
        conv
    }

    /// A linear layer with normal weights of this deviation, and a bias of zeros.
    pub fn linear(&self, name: &str, input: usize, output: usize, deviation: f64) -> Linear {
        let mut linear = LinearConfig::new(input, output).init(self.device);
        linear.weight = self.scaled(&format!("{name}.weight"), [input, output], deviation);
        linear.bias = Some(Param::from_tensor(Tensor::zeros([output], self.device)));
        linear
    }

    /// A linear layer whose rows or columns are orthonormal, and whose bias is zero.
    pub fn embedding(&self, input: usize, output: usize) -> Linear {
        let mut linear = LinearConfig::new(input, output).init(self.device);
        linear.weight = match self.seed {
            None => self.blank([input, output]),
            Some(seed) => {
                let values = orthogonal(seed, "embedding.weight", input, output);
                let data = TensorData::new(values, [input, output]);
                Param::from_tensor(Tensor::from_data(data, self.device))
            }
        };
        linear.bias = Some(Param::from_tensor(Tensor::zeros([output], self.device)));
        linear
    }

    /// Batch norm over `channels`; frozen, it uses its running statistics and never changes.
    pub fn batch_norm(&self, channels: usize, momentum: f64, frozen: bool) -> BatchNorm {
        let filled = |value: f64| Tensor::full([channels], value, self.device);
        let param = |value: f64| Param::from_tensor(filled(value)).set_require_grad(!frozen);
        BatchNorm {
            gamma: param(1.0),
            beta: param(0.0),
            running_mean: RunningState::new(filled(0.0)),
            running_var: RunningState::new(filled(1.0)),
            momentum,
            frozen,
        }
    }
}

/// Normal numbers.
fn normal(seed: u64, name: &str, n: usize) -> Vec<f64> {
    let mut stream = random::stream(random::key(seed, name), &[]);
    (0..n).map(|_| random::normal(&mut stream)).collect()
}

/// A matrix `[rows, columns]` whose shorter side's vectors are orthonormal (Gram-Schmidt on
/// normal numbers, as `torch.nn.init.orthogonal_` up to signs).
fn orthogonal(seed: u64, name: &str, rows: usize, columns: usize) -> Vec<f32> {
    let (count, length) = (rows.min(columns), rows.max(columns));
    let values = normal(seed, name, count * length);
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    for vector in values.chunks(length) {
        let mut vector = vector.to_vec();
        for _ in 0..2 {
            for other in &basis {
                let dot: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        basis.push(vector.iter().map(|x| x / norm.max(1e-300)).collect());
    }
    let at = |i: usize, j: usize| if rows <= columns { basis[i][j] } else { basis[j][i] };
    (0..rows * columns).map(|k| at(k / columns, k % columns) as f32).collect()
}

/// A layer that ran: see [`observed`].
#[derive(Clone, Debug)]
pub struct Ran {
    /// One of its parameters.
    pub id: ParamId,
    /// What kind of layer it is.
    pub kind: &'static str,
    /// Shape of what it gave.
    pub output: Vec<usize>,
    /// Multiplications, each with its addition.
    pub macs: u64,
}

thread_local! {
    static RAN: RefCell<Option<Vec<Ran>>> = const { RefCell::new(None) };
}

/// Runs `f`, and lists the layers that run in it on this thread, in order.
pub fn observed<T>(f: impl FnOnce() -> T) -> (T, Vec<Ran>) {
    /// Ends the listing, also if `f` panics.
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            RAN.take();
        }
    }
    RAN.set(Some(Vec::new()));
    let _end = End;
    let result = f();
    (result, RAN.take().unwrap_or_default())
}

/// Says that a layer ran, with so many multiplications for each number that it gave.
pub fn note(id: ParamId, kind: &'static str, output: &[usize], macs_each: usize) {
    RAN.with_borrow_mut(|ran| {
        if let Some(ran) = ran {
            let macs = (output.iter().product::<usize>() * macs_each) as u64;
            ran.push(Ran { id, kind, output: output.to_vec(), macs });
        }
    });
}

/// A layer, whoever wrote it. Networks run their layers through this, so that they can be listed.
pub trait Layer<const D: usize> {
    /// The layer's output.
    fn run(&self, x: Tensor<D>) -> Tensor<D>;
}

impl Layer<4> for Conv2d {
    fn run(&self, x: Tensor<4>) -> Tensor<4> {
        let x = conv2d(self, &x).unwrap_or_else(|| self.forward(x));
        let each = self.weight.dims().iter().skip(1).product();
        note(self.weight.id, "conv2d", &x.dims(), each);
        x
    }
}

/// A convolution by a kernel of ours, where there is one for it.
fn conv2d(conv: &Conv2d, x: &Tensor<4>) -> Option<Tensor<4>> {
    let padding = match conv.padding {
        PaddingConfig2d::Valid => [0, 0],
        PaddingConfig2d::Explicit(top, left, bottom, right) if (top, left) == (bottom, right) => {
            [top, left]
        }
        _ => return None,
    };
    (conv.groups == 1 && conv.dilation == [1, 1]).then_some(())?;
    let bias = conv.bias.as_ref().map(Param::val);
    kernel::conv2d(x, &conv.weight.val(), bias.as_ref(), conv.stride, padding)
}

impl<const D: usize> Layer<D> for Linear {
    fn run(&self, x: Tensor<D>) -> Tensor<D> {
        let x = self.forward(x);
        note(self.weight.id, "linear", &x.dims(), self.weight.dims()[0]);
        x
    }
}

impl<const D: usize> Layer<D> for LayerNorm {
    fn run(&self, x: Tensor<D>) -> Tensor<D> {
        note(self.gamma.id, "layer_norm", &x.dims(), 0);
        self.forward(x)
    }
}

impl Layer<4> for BatchNorm {
    fn run(&self, x: Tensor<4>) -> Tensor<4> {
        note(self.gamma.id, "batch_norm", &x.dims(), 0);
        self.forward(x, false)
    }
}

/// Batch normalisation over `[n, c, h, w]` as PyTorch's: the running variance takes the unbiased batch
/// variance, which Burn's own layer doesn't.
#[derive(Module, Debug)]
pub struct BatchNorm {
    gamma: Param<Tensor<1>>,
    beta: Param<Tensor<1>>,
    running_mean: RunningState<Tensor<1>>,
    running_var: RunningState<Tensor<1>>,
    /// Share of the newest batch in the running statistics.
    momentum: f64,
    frozen: bool,
}

/// ε of every batch norm.
const EPSILON: f64 = 1e-5;

impl BatchNorm {
    /// Normalises, then ReLU.
    pub fn run_relu(&self, x: Tensor<4>) -> Tensor<4> {
        note(self.gamma.id, "batch_norm", &x.dims(), 0);
        self.forward(x, true)
    }

    /// Normalises; on an autodiff device by the batch's statistics, unless frozen.
    fn forward(&self, x: Tensor<4>, rectified: bool) -> Tensor<4> {
        if is_half(x.dtype()) {
            let dtype = FloatDType::from(x.dtype());
            return self.forward(full(x), rectified).cast(dtype);
        }
        let rectify = |x| if rectified { relu(x) } else { x };
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        let device = x.device();
        let fixed = self.frozen || !device.is_autodiff();
        let kept = |kept: &RunningState<Tensor<1>>| {
            let kept = if fixed { kept.value() } else { kept.value_sync() };
            kept.to_device(&device)
        };
        let norm = Norm {
            gamma,
            beta,
            mean: kept(&self.running_mean),
            variance: kept(&self.running_var),
            momentum: self.momentum,
            epsilon: EPSILON,
            relu: rectified,
        };
        if fixed {
            return kernel::normalise(&x, &norm).unwrap_or_else(|| {
                let Norm { gamma, beta, mean, variance, .. } = norm;
                rectify(batch_norm(x, gamma, beta, mean, variance, EPSILON))
            });
        }
        if let Some(done) = kernel::batch_norm(&x, &norm) {
            self.running_mean.update(done.mean);
            self.running_var.update(done.variance);
            return done.output;
        }
        let [n, _, h, w] = x.dims();
        let unbiased = kernel::unbiased(n * h * w);
        let result = batch_norm_train(x, norm.gamma, norm.beta, EPSILON);
        let mix = |kept: Tensor<1>, new: Tensor<1>, scale: f64| {
            (kept * (1.0 - self.momentum) + new.detach() * (self.momentum * scale)).detach()
        };
        self.running_mean.update(mix(norm.mean, result.mean, 1.0));
        self.running_var.update(mix(norm.variance, result.variance, unbiased));
        rectify(result.output)
    }
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// 16-bit floats as 32-bit ones, others as they are.
pub fn full<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_half(x.dtype()) { x.cast(FloatDType::F32) } else { x }
}

/// Maximum over square windows of `[n, c, h, w]`; with `ceil` also over those that leave the picture on the right or
/// below.
pub fn max_pool(
    x: Tensor<4>,
    window: usize,
    stride: usize,
    padding: usize,
    ceil: bool,
) -> Tensor<4> {
    kernel::max_pool2d(&x, window, stride, padding, ceil).unwrap_or_else(|| {
        let options = MaxPoolOptions::new([window; 2]).with_stride([stride; 2]);
        max_pool2d(x, options.with_padding([padding; 2]).with_ceil_mode(ceil))
    })
}

/// Global average plus global maximum of `[n, c, h, w]`: `[n, c]`.
pub fn pooled(x: &Tensor<4>) -> Tensor<2> {
    let [n, c, h, w] = x.dims();
    let flat = full(x.clone()).reshape([n, c, h * w]);
    (flat.clone().mean_dim(2) + flat.max_dim(2)).reshape([n, c])
}

/// Rows of `[n, d]` at unit length, if asked for; the norm is at least 1e-12.
pub fn unit_rows(x: Tensor<2>, l2_norm: bool) -> Tensor<2> {
    if !l2_norm {
        return x;
    }
    let norm = x.clone().powi_scalar(2).sum_dim(1).clamp_min(1e-24).sqrt();
    x / norm
}

/// Pictures `[n, 3, h, w]` with values 0 to 255, normalised channel by channel: `(x / scale - mean) / std`.
pub fn normalised(images: &Tensor<4>, scale: f64, mean: [f64; 3], std: [f64; 3]) -> Tensor<4> {
    let device = images.device();
    let channel = |values: [f64; 3]| {
        Tensor::<1>::from_data(TensorData::from(values), (&device, images.dtype()))
            .reshape([1, 3, 1, 1])
    };
    (images.clone() / scale - channel(mean)) / channel(std)
}

/// Pictures with values 0 to 255, red first, normalised by ImageNet's mean and deviation.
pub fn imagenet(images: &Tensor<4>) -> Tensor<4> {
    normalised(images, 255.0, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
}
