//! Distances, masks and sums that several losses share; finite, with finite gradients, everywhere.

use crate::step::Step;
use crate::tensor::{Index, Tensor};

/// Squared distances of the rows of `x`, `[n, d]` to `[n, n]`: `‖xᵢ‖² + ‖xⱼ‖² - 2 xᵢ·xⱼ`.
///
/// The rows are centred first, which changes no distance and keeps the digits of those far from the
/// origin. The norms are those of the matrix product itself, so that the terms of rows that coincide
/// cancel exactly, in any precision.
#[track_caller]
fn squared_distance(x: Tensor) -> Tensor {
    let x = x - x.mean_dim(0).detach();
    let gram = x.matmul(x.t());
    let norm = (gram * x.eye(x.dim(0))).sum_dim(1); // [n, 1]
    norm + norm.t() - 2.0 * gram
}

/// Euclidean distances between the rows of `x`: `[n, d]` gives `[n, n]`.
///
/// `dᵢⱼ = √max(‖xᵢ - xⱼ‖², 1e-12)`, as the field's reference code has it: rows that coincide are 1e-6
/// apart and get no gradient. The diagonal is 0 without gradient.
#[track_caller]
pub fn pairwise_distance(x: Tensor) -> Tensor {
    squared_distance(x).clamp_min(1e-12).sqrt().off_diagonal()
}

/// Euclidean distances between the rows of `x`, `[n, d]` to `[n, n]`, exactly 0 between rows that
/// coincide, which get no gradient from it.
///
/// Small batches go by differences, which keep the digits of small distances; larger ones, as in
/// PyTorch, by a matrix product, which is much faster.
#[track_caller]
pub fn euclidean_distance(x: Tensor) -> Tensor {
    let (n, d) = (x.dim(0), x.dim(1));
    let squared = if n * n * d <= SMALL {
        let difference = x.reshape([1, n, d]) - x.reshape([n, 1, d]);
        difference.square().sum_dim(2).reshape([n, n])
    } else {
        squared_distance(x).clamp_min(0.0).off_diagonal()
    };
    squared.safe_sqrt()
}

/// Euclidean distances between the rows of `x` and those of `y`: `[n, d]` and `[m, d]` give `[n, m]`.
///
/// Exactly 0 between rows that coincide, which get no gradient from it. Small batches go by
/// differences, larger ones by a matrix product of rows that are centred first.
#[track_caller]
pub fn cdist(x: Tensor, y: Tensor) -> Tensor {
    let (n, m, d) = (x.dim(0), y.dim(0), x.dim(1));
    let squared = if n * m * d <= SMALL {
        let difference = x.reshape([n, 1, d]) - y.reshape([1, m, d]);
        difference.square().sum_dim(2).reshape([n, m])
    } else {
        let centre = x.mean_dim(0).detach();
        let (x, y) = (x - centre, y - centre);
        let norms = x.square().sum_dim(1) + y.square().sum_dim(1).t(); // [n, m]
        (norms - 2.0 * x.matmul(y.t())).clamp_min(0.0)
    };
    squared.safe_sqrt()
}

/// Elements of all differences of a small batch: 25 rows of 512, say.
const SMALL: usize = 1 << 19;

/// Cosine similarities between the rows of `x` and those of `y`: `[n, d]` and `[m, d]` give `[n, m]`.
/// A zero row has similarity 0 to all others.
#[track_caller]
pub fn cosine_similarity(x: Tensor, y: Tensor) -> Tensor {
    x.normalize(1).matmul(y.normalize(1).t())
}

/// Cosine similarity of each row of `x` to the same row of `y`: `[n, d]` twice gives `[n]`. A zero row has
/// similarity 0.
#[track_caller]
pub fn row_cosine(x: Tensor, y: Tensor) -> Tensor {
    (x.normalize(1) * y.normalize(1)).sum_dim(1).squeeze(1)
}

/// The Huber function with threshold 1: `x²/2` where `|x| < 1`, else `|x| - 1/2`.
#[track_caller]
pub fn huber(x: Tensor) -> Tensor {
    let small = x.abs().clamp_max(1.0);
    small * (x.abs() - 0.5 * small)
}

/// Masks what a sum of exponentials leaves out: finite, so that nothing becomes NaN.
const OUT: f64 = -1e30;

/// `ln Σ mask · eˣ` along `dim`, which stays with size 1; never overflows. -1e30 where the mask is
/// empty.
#[track_caller]
pub fn log_sum_exp(x: Tensor, mask: Tensor, dim: usize) -> Tensor {
    let x = x.select(mask, mask.scalar(OUT));
    let top = x.detach().max_dim(dim);
    top + (x - top).exp().sum_dim(dim).ln()
}

/// Logarithm of the softmax along `dim` over what the mask doesn't leave out; 0, without gradient, where
/// it does. Never overflows.
#[track_caller]
pub fn log_softmax_where(x: Tensor, mask: Tensor, dim: usize) -> Tensor {
    (x - log_sum_exp(x, mask, dim)).select(mask, mask.scalar(0.0))
}

/// `ln(1 + Σ eˣ)` along `dim`, which stays with size 1, over what the mask doesn't leave out; never
/// overflows. A weight w is a term more in the exponent: `x + w.ln()`, and w the mask.
#[track_caller]
pub fn ln_1p_sum_exp(x: Tensor, mask: Tensor, dim: usize) -> Tensor {
    let x = x.select(mask, mask.scalar(OUT));
    let top = x.detach().max_dim(dim).relu(); // the 1 is e⁰
    let rest = (x - top).exp().sum_dim(dim) + ((-top).exp() - 1.0);
    top + rest.ln_1p()
}

/// `ln(1 + eˣ)`; never overflows.
#[track_caller]
pub fn softplus(x: Tensor) -> Tensor {
    x.relu() + (-x.abs()).exp().ln_1p()
}

/// Mean cross-entropy of logits `[n, c]` against classes `[n]`.
#[track_caller]
pub fn cross_entropy(logits: Tensor, labels: Index) -> Tensor {
    let own = labels.one_hot(logits.dim(1));
    -(logits.log_softmax(1) * own).sum() / logits.dim(0)
}

/// Kullback-Leibler divergence `Σ p (ln p - ln q)` along `dim`, which stays with size 1, of logarithms
/// of probabilities such as [`Tensor::log_softmax`] gives.
#[track_caller]
pub fn kl_divergence(log_p: Tensor, log_q: Tensor, dim: usize) -> Tensor {
    (log_p.exp() * (log_p - log_q)).sum_dim(dim)
}

/// Mean binary cross-entropy of logits against labels from 0 to 1 of the same shape; never overflows.
#[track_caller]
pub fn binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor {
    (softplus(logits) - logits * labels).mean()
}

/// Mean of `x` where the mask is 1; 0 where it is nowhere.
#[track_caller]
pub fn mean_where(x: Tensor, mask: Tensor) -> Tensor {
    (x * mask).sum() / mask.sum().clamp_min(1.0)
}

/// Feature maps of both networks side by side, `[n, c, h, w]` and `[n, c', h, w]`, the deepest last.
///
/// Where one network has more maps than the other, its early ones are left out; where a map is larger
/// than its counterpart, it is averaged over windows to the smaller size. The pooled vector at the end
/// of the lists is left out, unless there is nothing else: vectors count as maps of 1x1.
#[track_caller]
pub fn feature_pairs(step: &Step) -> Vec<(Tensor, Tensor)> {
    let maps = |list: Vec<Tensor>| {
        let (maps, vectors): (Vec<_>, Vec<_>) = list.into_iter().partition(|x| x.dims().len() == 4);
        let flat = |x: Tensor| x.reshape([x.dim(0), x.dim(1), 1, 1]);
        if maps.is_empty() { vectors.into_iter().map(flat).collect() } else { maps }
    };
    let (t, s) = (maps(step.target_features()), maps(step.source_features()));
    let levels = t.len().min(s.len());
    let (t, s) = (&t[t.len() - levels..], &s[s.len() - levels..]);
    let pair = |(&t, &s): (&Tensor, &Tensor)| {
        let (h, w) = (t.dim(2).min(s.dim(2)), t.dim(3).min(s.dim(3)));
        (shrunk(t, h, w), shrunk(s, h, w))
    };
    t.iter().zip(s).map(pair).collect()
}

/// Maps averaged to a height and width, if they don't have it.
#[track_caller]
fn shrunk(x: Tensor, h: usize, w: usize) -> Tensor {
    if (x.dim(2), x.dim(3)) == (h, w) { x } else { x.adaptive_avg_pool(h, w) }
}

/// The last vector of a network's features, `[n, c]`: what its embedding layer sees.
#[track_caller]
pub fn last_feature(features: &[Tensor]) -> Option<Tensor> {
    features.iter().rev().copied().find(|x| x.dims().len() == 2)
}
