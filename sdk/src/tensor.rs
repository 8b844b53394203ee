//! Handles to tensors that the host holds.
//!
//! They are `Copy`, because the host frees them all together when the step ends; a handle kept
//! beyond its step is refused, never mistaken for another tensor.

use crate::ffi::Host;
use crate::op::{Op, op_doc};
use std::ops::{Add, Div, Mul, Neg, Range, Sub};

/// Floats, of at most four dimensions. Operations on two tensors broadcast from the right.
///
/// In the docs of its methods `a` is the tensor itself, and `b` the other one.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    pub(crate) host: Host,
    pub(crate) id: u64,
}

/// Integers: labels, sample ids, sort orders. At most four dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    pub(crate) host: Host,
    pub(crate) id: u64,
}

impl Tensor {
    #[track_caller]
    fn op(self, op: Op, more: &[u64], attrs: &[f64]) -> Tensor {
        Tensor { host: self.host, id: with(self.host, op, self.id, more, attrs) }
    }
}

impl Index {
    #[track_caller]
    fn op(self, op: Op, more: &[u64], attrs: &[f64]) -> Index {
        Index { host: self.host, id: with(self.host, op, self.id, more, attrs) }
    }
}

/// Calls with up to three operands, the first apart.
#[track_caller]
fn with(host: Host, op: Op, first: u64, more: &[u64], attrs: &[f64]) -> u64 {
    match *more {
        [] => host.call(op, &[first], attrs, ""),
        [b] => host.call(op, &[first, b], attrs, ""),
        [b, c] => host.call(op, &[first, b, c], attrs, ""),
        _ => unreachable!("no operation takes more than three tensors"),
    }
}

macro_rules! unary {
    ($($name:ident $op:ident)*) => {
        impl Tensor { $(#[doc = op_doc!($op)] #[track_caller] pub fn $name(self) -> Tensor { self.op(Op::$op, &[], &[]) })* }
    };
}
unary! {
    exp Exp
    ln Ln
    ln_1p Ln1p
    sqrt Sqrt
    relu Relu
    abs Abs
    tanh Tanh
    sigmoid Sigmoid
    sin Sin
    cos Cos
    sum Sum
    t Transpose
    detach Detach
}

macro_rules! reduce {
    ($($name:ident $op:ident)*) => {
        impl Tensor { $(#[doc = op_doc!($op)] #[track_caller] pub fn $name(self, dim: usize) -> Tensor { self.op(Op::$op, &[], &[dim as f64]) })* }
    };
}
reduce! {
    sum_dim SumDim
    mean_dim MeanDim
    max_dim MaxDim
    min_dim MinDim
    cumsum CumSum
}

macro_rules! binary {
    ($($trait:ident $name:ident $op:ident)*) => { $(impl $trait for Tensor {
        type Output = Tensor;
        #[track_caller]
        fn $name(self, rhs: Tensor) -> Tensor { self.op(Op::$op, &[rhs.id], &[]) }
    })* };
}
binary! { Add add Add  Sub sub Sub  Mul mul Mul  Div div Div }

macro_rules! scalar {
    ($($trait:ident $name:ident $scalar:ty : |$t:ident, $s:ident| $right:expr, $left:expr;)*) => { $(
        impl $trait<$scalar> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $name(self, s: $scalar) -> Tensor { let ($t, $s) = (self, s as f64); $right }
        }
        impl $trait<Tensor> for $scalar {
            type Output = Tensor;
            #[track_caller]
            fn $name(self, t: Tensor) -> Tensor { let ($t, $s) = (t, self as f64); $left }
        }
    )* };
}
macro_rules! scalars {
    ($($scalar:ty)*) => { $(scalar! {
        Add add $scalar: |t, s| t.op(Op::AddScalar, &[], &[s]), t.op(Op::AddScalar, &[], &[s]);
        Sub sub $scalar: |t, s| t.op(Op::AddScalar, &[], &[-s]), (-t).op(Op::AddScalar, &[], &[s]);
        Mul mul $scalar: |t, s| t.op(Op::MulScalar, &[], &[s]), t.op(Op::MulScalar, &[], &[s]);
        Div div $scalar: |t, s| t.op(Op::DivScalar, &[], &[s]), t.powf(-1.0).op(Op::MulScalar, &[], &[s]);
    })* };
}
scalars! { f64 usize }

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        self.op(Op::Neg, &[], &[])
    }
}

impl Tensor {
    /// Dimensions.
    pub fn dims(self) -> Vec<usize> {
        self.host.shape(self.id)
    }

    /// Size of dimension `d`, from the left, from 0.
    #[track_caller]
    pub fn dim(self, d: usize) -> usize {
        dim(self.host, &self.dims(), d)
    }

    /// Mean of all elements: a scalar.
    #[track_caller]
    pub fn mean(self) -> Tensor {
        self.sum() / self.dims().iter().product::<usize>()
    }

    #[doc = op_doc!(PowScalar)]
    ///
    /// `x` is `p` here.
    #[track_caller]
    pub fn powf(self, p: f64) -> Tensor {
        self.op(Op::PowScalar, &[], &[p])
    }

    /// `x²`
    #[track_caller]
    pub fn square(self) -> Tensor {
        self * self
    }

    #[doc = op_doc!(ClampMin)]
    ///
    /// `x` is `min` here.
    #[track_caller]
    pub fn clamp_min(self, min: f64) -> Tensor {
        self.op(Op::ClampMin, &[], &[min])
    }

    #[doc = op_doc!(ClampMax)]
    ///
    /// `x` is `max` here.
    #[track_caller]
    pub fn clamp_max(self, max: f64) -> Tensor {
        self.op(Op::ClampMax, &[], &[max])
    }

    #[doc = op_doc!(Max)]
    #[track_caller]
    pub fn max(self, rhs: Tensor) -> Tensor {
        self.op(Op::Max, &[rhs.id], &[])
    }

    #[doc = op_doc!(Min)]
    #[track_caller]
    pub fn min(self, rhs: Tensor) -> Tensor {
        self.op(Op::Min, &[rhs.id], &[])
    }

    #[doc = op_doc!(Greater)]
    #[track_caller]
    pub fn greater(self, rhs: Tensor) -> Tensor {
        self.op(Op::Greater, &[rhs.id], &[])
    }

    #[doc = op_doc!(Equal)]
    #[track_caller]
    pub fn equal(self, rhs: Tensor) -> Tensor {
        self.op(Op::Equal, &[rhs.id], &[])
    }

    /// Mask: 1 where `self > x`, else 0. No gradient.
    #[track_caller]
    pub fn above(self, x: f64) -> Tensor {
        self.greater(self.scalar(x))
    }

    /// Mask: 1 where `self` is 0, else 0. No gradient.
    #[track_caller]
    pub fn is_zero(self) -> Tensor {
        self.equal(self.scalar(0.0))
    }

    /// One number, on this tensor's device.
    #[track_caller]
    pub fn scalar(self, x: f64) -> Tensor {
        Tensor { host: self.host, id: self.host.call(Op::Constant, &[], &[0.0, x], "") }
    }

    #[doc = op_doc!(Select)]
    #[track_caller]
    pub fn select(self, mask: Tensor, other: Tensor) -> Tensor {
        self.op(Op::Select, &[other.id, mask.id], &[])
    }

    #[doc = op_doc!(Matmul)]
    #[track_caller]
    pub fn matmul(self, rhs: Tensor) -> Tensor {
        self.op(Op::Matmul, &[rhs.id], &[])
    }

    #[doc = op_doc!(Reshape)]
    #[track_caller]
    pub fn reshape<const D: usize>(self, dims: [usize; D]) -> Tensor {
        self.op(Op::Reshape, &[], &dims.map(|d| d as f64))
    }

    #[doc = op_doc!(SwapDims)]
    #[track_caller]
    pub fn swap_dims(self, dim: usize, with: usize) -> Tensor {
        self.op(Op::SwapDims, &[], &[dim as f64, with as f64])
    }

    #[doc = op_doc!(Slice)]
    #[track_caller]
    pub fn slice(self, dim: usize, range: Range<usize>) -> Tensor {
        self.op(Op::Slice, &[], &[dim as f64, range.start as f64, range.end as f64])
    }

    #[doc = op_doc!(Cat)]
    #[track_caller]
    pub fn cat(self, dim: usize, rhs: Tensor) -> Tensor {
        self.op(Op::Cat, &[rhs.id], &[dim as f64])
    }

    #[doc = op_doc!(Rows)]
    #[track_caller]
    pub fn rows(self, index: Index) -> Tensor {
        self.op(Op::Rows, &[index.id], &[])
    }

    #[doc = op_doc!(Gather)]
    #[track_caller]
    pub fn gather(self, dim: usize, index: Index) -> Tensor {
        self.op(Op::Gather, &[index.id], &[dim as f64])
    }

    #[doc = op_doc!(Argsort)]
    #[track_caller]
    pub fn argsort(self, dim: usize) -> Index {
        Index { host: self.host, id: with(self.host, Op::Argsort, self.id, &[], &[dim as f64]) }
    }

    #[doc = op_doc!(AdaptiveAvgPool)]
    #[track_caller]
    pub fn adaptive_avg_pool(self, height: usize, width: usize) -> Tensor {
        self.op(Op::AdaptiveAvgPool, &[], &[height as f64, width as f64])
    }

    /// Square root, without gradient at 0, where that of [`sqrt`](Self::sqrt) is infinite.
    #[track_caller]
    pub fn safe_sqrt(self) -> Tensor {
        let zero = self.is_zero();
        (self + zero).sqrt() - zero
    }

    /// L2 norm along `dim`, which stays with size 1. A zero vector gets no gradient.
    #[track_caller]
    pub fn norm(self, dim: usize) -> Tensor {
        self.square().sum_dim(dim).safe_sqrt()
    }

    /// Divides by the L2 norm along `dim`, but not by less than 1e-12. A zero vector stays zero and
    /// gets no gradient.
    #[track_caller]
    pub fn normalize(self, dim: usize) -> Tensor {
        let squared = self.square().sum_dim(dim);
        let zero = squared.is_zero(); // its norm counts as 1, so that nothing explodes
        let norm = (squared + zero).sqrt().clamp_min(1e-12);
        self * ((1.0 - zero) / norm)
    }

    /// Logarithm of the softmax along `dim`; never overflows.
    #[track_caller]
    pub fn log_softmax(self, dim: usize) -> Tensor {
        let x = self - self.detach().max_dim(dim);
        x - x.exp().sum_dim(dim).ln()
    }

    /// A square matrix `[n, n]` with zeros on its diagonal, which gets no gradient.
    #[track_caller]
    pub fn off_diagonal(self) -> Tensor {
        self * (1.0 - self.eye(self.dim(0)))
    }

    #[doc = op_doc!(Eye)]
    #[track_caller]
    pub fn eye(self, n: usize) -> Tensor {
        Tensor { host: self.host, id: self.host.call(Op::Eye, &[], &[n as f64], "") }
    }

    /// Copies the values to the plugin, row-major; waits for the device.
    pub fn to_vec(self) -> Vec<f64> {
        self.host.read(self.id)
    }
}

impl Index {
    /// Dimensions.
    pub fn dims(self) -> Vec<usize> {
        self.host.shape(self.id)
    }

    /// Size of dimension `d`.
    #[track_caller]
    pub fn dim(self, d: usize) -> usize {
        dim(self.host, &self.dims(), d)
    }

    /// Size of the first dimension.
    #[track_caller]
    pub fn len(self) -> usize {
        self.dim(0)
    }

    /// Whether the first dimension has size 0.
    #[track_caller]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[doc = op_doc!(OneHot)]
    #[track_caller]
    pub fn one_hot(self, classes: usize) -> Tensor {
        self.tensor(Op::OneHot, &[], &[classes as f64])
    }

    /// Mask of pairs that share a value: `[n]` gives `[n, n]`, ones on the diagonal.
    #[track_caller]
    pub fn same(self) -> Tensor {
        let n = self.len();
        self.reshape([n, 1]).equal(self.reshape([1, n]))
    }

    /// Mask: 1 where both are equal, else 0.
    #[track_caller]
    pub fn equal(self, rhs: Index) -> Tensor {
        self.tensor(Op::Equal, &[rhs.id], &[])
    }

    #[doc = op_doc!(ReshapeIndex)]
    #[track_caller]
    pub fn reshape<const D: usize>(self, dims: [usize; D]) -> Index {
        self.op(Op::ReshapeIndex, &[], &dims.map(|d| d as f64))
    }

    /// `[n]` as `[n, 1]`.
    #[track_caller]
    pub fn column(self) -> Index {
        self.reshape([self.len(), 1])
    }

    /// All integers in one dimension.
    #[track_caller]
    pub fn flat(self) -> Index {
        self.reshape([self.dims().iter().product()])
    }

    #[doc = op_doc!(CatIndex)]
    #[track_caller]
    pub fn cat(self, dim: usize, rhs: Index) -> Index {
        self.op(Op::CatIndex, &[rhs.id], &[dim as f64])
    }

    #[doc = op_doc!(SliceIndex)]
    #[track_caller]
    pub fn slice(self, dim: usize, range: Range<usize>) -> Index {
        self.op(Op::SliceIndex, &[], &[dim as f64, range.start as f64, range.end as f64])
    }

    #[doc = op_doc!(GatherIndex)]
    #[track_caller]
    pub fn gather(self, dim: usize, index: Index) -> Index {
        self.op(Op::GatherIndex, &[index.id], &[dim as f64])
    }

    #[doc = op_doc!(AddIndex)]
    #[track_caller]
    pub fn plus(self, rhs: Index) -> Index {
        self.op(Op::AddIndex, &[rhs.id], &[])
    }

    #[doc = op_doc!(ModIndex)]
    ///
    /// `divisor` is `n` here.
    #[track_caller]
    pub fn modulo(self, n: usize) -> Index {
        self.op(Op::ModIndex, &[], &[n as f64])
    }

    #[doc = op_doc!(Float)]
    #[track_caller]
    pub fn float(self) -> Tensor {
        self.tensor(Op::Float, &[], &[])
    }

    /// Copies the values to the plugin, row-major; waits for the device.
    pub fn to_vec(self) -> Vec<i64> {
        self.host.read(self.id).into_iter().map(|x| x as i64).collect()
    }

    #[track_caller]
    fn tensor(self, op: Op, more: &[u64], attrs: &[f64]) -> Tensor {
        Tensor { host: self.host, id: with(self.host, op, self.id, more, attrs) }
    }
}

/// The size asked for; where there is no such dimension, the step fails and the answer is 1.
#[track_caller]
fn dim(host: Host, dims: &[usize], d: usize) -> usize {
    dims.get(d).copied().unwrap_or_else(|| {
        host.fail(&format!("dim({d}) of a tensor of shape {dims:?}"));
        host.call(Op::Fail, &[], &[], ""); // names the caller's line
        1
    })
}
