//! What authors know from other libraries, made of the host's operations: nothing here is part of the
//! interface.

use crate::op::Op;
use crate::tensor::{Index, Tensor};

impl Tensor {
    /// Natural logarithm, as [`ln`](Self::ln).
    #[track_caller]
    pub fn log(self) -> Tensor {
        self.ln()
    }

    /// `xᵖ`, as [`powf`](Self::powf).
    #[track_caller]
    pub fn pow(self, p: f64) -> Tensor {
        self.powf(p)
    }

    /// `1 / x`
    #[track_caller]
    pub fn reciprocal(self) -> Tensor {
        self.powf(-1.0)
    }

    /// `min(max(x, min), max)`, without gradient outside.
    #[track_caller]
    pub fn clamp(self, min: f64, max: f64) -> Tensor {
        self.clamp_min(min).clamp_max(max)
    }

    /// 1 above 0, -1 below, 0 at 0. No gradient.
    #[track_caller]
    pub fn sign(self) -> Tensor {
        self.above(0.0) - self.below(0.0)
    }

    /// Mask: 1 where `self < rhs`, else 0. No gradient.
    #[track_caller]
    pub fn less(self, rhs: Tensor) -> Tensor {
        rhs.greater(self)
    }

    /// Mask: 1 where `self < x`, else 0. No gradient.
    #[track_caller]
    pub fn below(self, x: f64) -> Tensor {
        self.scalar(x).greater(self)
    }

    /// `value` where the mask isn't 0, else `self`.
    #[track_caller]
    pub fn masked_fill(self, mask: Tensor, value: f64) -> Tensor {
        self.scalar(value).select(mask, self)
    }

    /// `max(x, 0) + slope · min(x, 0)`
    #[track_caller]
    pub fn leaky_relu(self, slope: f64) -> Tensor {
        self.relu() - slope * (-self).relu()
    }

    /// Softmax along `dim`, which keeps its size; never overflows.
    #[track_caller]
    pub fn softmax(self, dim: usize) -> Tensor {
        let e = (self - self.detach().max_dim(dim)).exp();
        e / e.sum_dim(dim)
    }

    /// `ln Σ eˣ` along `dim`, which stays with size 1; never overflows.
    #[track_caller]
    pub fn logsumexp(self, dim: usize) -> Tensor {
        let top = self.detach().max_dim(dim);
        top + (self - top).exp().sum_dim(dim).ln()
    }

    /// Variance along `dim`, which stays with size 1: squared differences from the mean, divided by the
    /// size less `correction`. 1, as torch has it where nothing is said, is the unbiased estimate; 0 the
    /// variance of the values themselves.
    #[track_caller]
    pub fn var(self, dim: usize, correction: usize) -> Tensor {
        let n = self.dim(dim);
        if n <= correction {
            self.refuse(&format!("var: the variance of {n} values with correction {correction}"));
        }
        (self - self.mean_dim(dim)).square().sum_dim(dim) / n.saturating_sub(correction).max(1)
    }

    /// Standard deviation along `dim`, which stays with size 1: the root of [`var`](Self::var). Equal
    /// values get no gradient.
    #[track_caller]
    pub fn std(self, dim: usize, correction: usize) -> Tensor {
        self.var(dim, correction).safe_sqrt()
    }

    /// p-norm along `dim`, which stays with size 1: `(Σ |x|ᵖ)^(1/p)`, for p of at least 1. A zero vector
    /// gets no gradient. The L2 norm is [`norm`](Self::norm).
    #[track_caller]
    pub fn norm_p(self, p: f64, dim: usize) -> Tensor {
        if !(1.0..=1e3).contains(&p) {
            self.refuse(&format!("norm_p: p = {p} must be 1 to 1000"));
        }
        let sum = self.abs().powf(p).sum_dim(dim);
        let zero = sum.is_zero(); // counts as 1, so that nothing explodes
        (sum + zero).powf(p.recip()) - zero
    }

    /// The elements of `dim` sorted, and where each came from; equal ones keep their order, and NaNs come
    /// last either way.
    #[track_caller]
    pub fn sort(self, dim: usize, descending: bool) -> (Tensor, Index) {
        let index = if descending { (-self).argsort(dim) } else { self.argsort(dim) };
        (self.gather(dim, index), index)
    }

    /// The `k` largest elements along `dim`, the largest first, and where each is: `dim` gets size `k`.
    /// Of equal ones the first counts. The smallest are `(-x).top_k(…)`.
    #[track_caller]
    pub fn top_k(self, k: usize, dim: usize) -> (Tensor, Index) {
        let index = (-self).argsort(dim).slice(dim, 0..k);
        (self.gather(dim, index), index)
    }

    /// Where the largest element along `dim` is, the first of equal ones; `dim` stays with size 1.
    #[track_caller]
    pub fn argmax(self, dim: usize) -> Index {
        (-self).argsort(dim).slice(dim, 0..1)
    }

    /// Where the smallest element along `dim` is, the first of equal ones; `dim` stays with size 1.
    #[track_caller]
    pub fn argmin(self, dim: usize) -> Index {
        self.argsort(dim).slice(dim, 0..1)
    }

    /// Each element's place along `dim` when sorted upwards, from 0; equal ones by their order.
    #[track_caller]
    pub fn ranks(self, dim: usize) -> Index {
        self.argsort(dim).float().argsort(dim)
    }

    /// The value of `hard`, with the gradient of `self`: the straight-through estimate of what has none,
    /// such as rounding (Bengio et al., 2013).
    #[track_caller]
    pub fn straight_through(self, hard: Tensor) -> Tensor {
        hard.detach() + (self - self.detach())
    }

    /// A square matrix without its diagonal: `[n, n]` gives `[n, n - 1]`, for n of at least 2.
    #[track_caller]
    pub fn without_diagonal(self) -> Tensor {
        let n = self.dim(0);
        if self.dims() != [n, n] || n < 2 {
            return self
                .refuse(&format!("without_diagonal of a tensor of shape {:?}", self.dims()));
        }
        // From the second element on, each row of n + 1 ends in the next one of the diagonal.
        let rest = self.reshape([n * n]).slice(0, 1..n * n).reshape([n - 1, n + 1]);
        rest.slice(1, 0..n).reshape([n, n - 1])
    }

    /// All elements in one dimension, row-major.
    #[track_caller]
    pub fn flat(self) -> Tensor {
        self.shaped(&[self.dims().iter().product()])
    }

    /// The same elements with a dimension of size 1 before dimension `dim`.
    #[track_caller]
    pub fn unsqueeze(self, dim: usize) -> Tensor {
        let mut dims = self.dims();
        if dim > dims.len() || dims.len() == 4 {
            return self.refuse(&format!("unsqueeze({dim}) of a tensor of shape {dims:?}"));
        }
        dims.insert(dim, 1);
        self.shaped(&dims)
    }

    /// The same elements without dimension `dim`, whose size is 1.
    #[track_caller]
    pub fn squeeze(self, dim: usize) -> Tensor {
        let mut dims = self.dims();
        if dims.get(dim) != Some(&1) {
            return self.refuse(&format!("squeeze({dim}) of a tensor of shape {dims:?}"));
        }
        dims.remove(dim);
        self.shaped(&dims)
    }

    /// The dimensions in another order: `x.permute([0, 2, 1])` is `x.swap_dims(1, 2)`.
    #[track_caller]
    pub fn permute<const D: usize>(self, order: [usize; D]) -> Tensor {
        let mut sorted = order;
        sorted.sort_unstable();
        if self.dims().len() != D || !sorted.into_iter().eq(0..D) {
            return self
                .refuse(&format!("permute({order:?}) of a tensor of shape {:?}", self.dims()));
        }
        self.reordered(&order)
    }

    /// The diagonal of a square matrix: `[n, n]` gives `[n]`.
    #[track_caller]
    pub fn diagonal(self) -> Tensor {
        let n = self.dim(0);
        let own = self.select(self.eye(n), self.scalar(0.0));
        own.sum_dim(1).reshape([n])
    }

    /// Sum of the diagonal of a square matrix, a scalar.
    #[track_caller]
    pub fn trace(self) -> Tensor {
        self.diagonal().sum()
    }

    /// `reshape` to dimensions whose number isn't known.
    #[track_caller]
    fn shaped(self, dims: &[usize]) -> Tensor {
        let attrs: Vec<f64> = dims.iter().map(|&d| d as f64).collect();
        Tensor { host: self.host, id: self.host.call(Op::Reshape, &[self.id], &attrs, "") }
    }

    /// `permute`, once the order is known to be one.
    #[track_caller]
    fn reordered(self, order: &[usize]) -> Tensor {
        let (mut x, mut now) = (self, (0..order.len()).collect::<Vec<usize>>());
        for (i, wanted) in order.iter().enumerate() {
            let j = now.iter().position(|d| d == wanted).unwrap_or(i);
            if i != j {
                x = x.swap_dims(i, j);
                now.swap(i, j);
            }
        }
        x
    }

    /// Fails the step at the caller's line.
    #[track_caller]
    fn refuse(self, why: &str) -> Tensor {
        self.host.fail(why);
        self.host.call(Op::Fail, &[], &[], "");
        self
    }
}

/// Sums of products of two tensors, by the letters of their dimensions: `einsum("nd,md->nm", x, y)` is
/// `x.matmul(y.t())`, `einsum("nd,nd->n", x, y)` the dot product of each pair of rows.
///
/// Letters of both that the result lacks are summed over, as are those of one. A letter stands once in
/// each part, and no part has more than four.
#[track_caller]
pub fn einsum(spec: &str, x: Tensor, y: Tensor) -> Tensor {
    match Letters::read(spec, &x.dims(), &y.dims()) {
        Ok(letters) => letters.product(x, y),
        Err(why) => x.refuse(&format!("einsum \"{spec}\": {why}")),
    }
}

/// The dimensions of a product by letter.
struct Letters {
    x: Vec<char>,
    y: Vec<char>,
    out: Vec<char>,
}

impl Letters {
    fn read(spec: &str, x_dims: &[usize], y_dims: &[usize]) -> Result<Self, String> {
        let parts = spec.split_once("->").and_then(|(x, out)| Some((x.split_once(',')?, out)));
        let Some(((x, y), out)) = parts else {
            return Err("it isn't of the form ab,bc->ac".into());
        };
        let letters =
            |part: &str| part.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
        let all = Letters { x: letters(x), y: letters(y), out: letters(out) };
        for part in [&all.x, &all.y, &all.out] {
            if part.len() > 4 {
                return Err("a tensor has at most four dimensions".into());
            }
            if let Some(c) =
                (1..part.len()).find(|&i| part[..i].contains(&part[i])).map(|i| part[i])
            {
                return Err(format!("{c} stands twice in one part"));
            }
        }
        for (part, dims, which) in [(&all.x, x_dims, "first"), (&all.y, y_dims, "second")] {
            if part.len() != dims.len() {
                let n = part.len();
                return Err(format!("the {which} tensor has shape {dims:?}, not {n} dimensions"));
            }
        }
        for (c, &size) in all.y.iter().zip(y_dims) {
            let other = all.x.iter().position(|d| d == c).map(|i| x_dims[i]);
            if other.is_some_and(|other| other != size) {
                let other = other.unwrap_or_default();
                return Err(format!(
                    "{c} has size {other} in the first tensor, {size} in the second"
                ));
            }
        }
        match all.out.iter().find(|c| !all.x.contains(c) && !all.y.contains(c)) {
            Some(c) => Err(format!("{c} of the result is in neither tensor")),
            None => Ok(all),
        }
    }

    #[track_caller]
    fn product(&self, x: Tensor, y: Tensor) -> Tensor {
        let Letters { x: in_x, y: in_y, out } = self;
        let ((x, in_x), (y, in_y)) = (summed(x, in_x, in_y, out), summed(y, in_y, in_x, out));
        let only = |a: &[char], wanted: &dyn Fn(&char) -> bool| {
            a.iter().copied().filter(|c| wanted(c)).collect::<Vec<char>>()
        };
        let shared = only(&in_x, &|c| in_y.contains(c) && out.contains(c));
        let inner = only(&in_x, &|c| in_y.contains(c) && !out.contains(c));
        let left = only(&in_x, &|c| !in_y.contains(c));
        let right = only(&in_y, &|c| !in_x.contains(c));

        let (x_dims, y_dims) = (x.dims(), y.dims());
        let size = |c: &char| {
            let of = |list: &[char], dims: &[usize]| {
                list.iter().position(|d| d == c).and_then(|i| dims.get(i).copied())
            };
            of(&in_x, &x_dims).or_else(|| of(&in_y, &y_dims)).unwrap_or(1)
        };
        let count = |list: &[char]| list.iter().map(size).product::<usize>();
        let (b, l, k, r) = (count(&shared), count(&left), count(&inner), count(&right));
        let x = arranged(x, &in_x, &[&shared[..], &left, &inner].concat()).reshape([b, l, k]);
        let y = arranged(y, &in_y, &[&shared[..], &inner, &right].concat()).reshape([b, k, r]);
        let result = [shared, left, right].concat();
        let dims: Vec<usize> = result.iter().map(size).collect();
        arranged(x.matmul(y).shaped(&dims), &result, out)
    }
}

/// A tensor without the letters that neither the other one nor the result has: they are summed over.
#[track_caller]
fn summed(x: Tensor, letters: &[char], other: &[char], out: &[char]) -> (Tensor, Vec<char>) {
    let (mut x, mut left) = (x, letters.to_vec());
    while let Some(i) = left.iter().position(|c| !other.contains(c) && !out.contains(c)) {
        x = x.sum_dim(i).squeeze(i);
        left.remove(i);
    }
    (x, left)
}

/// A tensor whose dimensions have these letters, with them in another order.
#[track_caller]
fn arranged(x: Tensor, letters: &[char], order: &[char]) -> Tensor {
    let place = |c: &char| letters.iter().position(|d| d == c).unwrap_or_default();
    x.reordered(&order.iter().map(place).collect::<Vec<usize>>())
}
