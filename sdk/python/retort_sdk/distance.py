"""Distances, masks and sums that several losses share; finite, with finite gradients, everywhere."""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from .step import Step
from .tensor import Index, Tensor

__all__ = [
    "binary_cross_entropy",
    "cdist",
    "cosine_similarity",
    "cross_entropy",
    "euclidean_distance",
    "feature_pairs",
    "huber",
    "kl_divergence",
    "last_feature",
    "ln_1p_sum_exp",
    "log_softmax_where",
    "log_sum_exp",
    "mean_where",
    "pairwise_distance",
    "row_cosine",
    "softplus",
]

_SMALL = 1 << 19
"""Elements of all differences of a small batch: 25 rows of 512, say."""

_OUT = -1e30
"""Masks what a sum of exponentials leaves out: finite, so that nothing becomes NaN."""


def _squared_distance(x: Tensor) -> Tensor:
    """Squared distances of the rows of `x`, `[n, d]` to `[n, n]`: `‖xᵢ‖² + ‖xⱼ‖² - 2 xᵢ·xⱼ`.

    The rows are centred first, which changes no distance and keeps the digits of those far from the origin. The norms
    are those of the matrix product itself, so that the terms of rows that coincide cancel exactly, in any precision.
    """
    x = x - x.mean_dim(0).detach()
    gram = x.matmul(x.t())
    norm = (gram * x.eye(x.dim(0))).sum_dim(1)  # [n, 1]
    return norm + norm.t() - 2.0 * gram


def pairwise_distance(x: Tensor) -> Tensor:
    """Euclidean distances between the rows of `x`: `[n, d]` gives `[n, n]`.

    `dᵢⱼ = √max(‖xᵢ - xⱼ‖², 1e-12)`, as the field's reference code has it: rows that coincide are 1e-6 apart and get no
    gradient. The diagonal is 0 without gradient.
    """
    return _squared_distance(x).clamp_min(1e-12).sqrt().off_diagonal()


def euclidean_distance(x: Tensor) -> Tensor:
    """Euclidean distances between the rows of `x`, `[n, d]` to `[n, n]`, exactly 0 between rows that coincide, which
    get no gradient from it.

    Small batches go by differences, which keep the digits of small distances; larger ones, as in PyTorch, by a matrix
    product, which is much faster.
    """
    n, d = x.dim(0), x.dim(1)
    if n * n * d <= _SMALL:
        difference = x.reshape([1, n, d]) - x.reshape([n, 1, d])
        squared = difference.square().sum_dim(2).reshape([n, n])
    else:
        squared = _squared_distance(x).clamp_min(0.0).off_diagonal()
    return squared.safe_sqrt()


def cdist(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances between the rows of `x` and those of `y`: `[n, d]` and `[m, d]` give `[n, m]`.

    Exactly 0 between rows that coincide, which get no gradient from it. Small batches go by differences, larger ones
    by a matrix product of rows that are centred first.
    """
    n, m, d = x.dim(0), y.dim(0), x.dim(1)
    if n * m * d <= _SMALL:
        difference = x.reshape([n, 1, d]) - y.reshape([1, m, d])
        squared = difference.square().sum_dim(2).reshape([n, m])
    else:
        centre = x.mean_dim(0).detach()
        x, y = x - centre, y - centre
        norms = x.square().sum_dim(1) + y.square().sum_dim(1).t()  # [n, m]
        squared = (norms - 2.0 * x.matmul(y.t())).clamp_min(0.0)
    return squared.safe_sqrt()


def cosine_similarity(x: Tensor, y: Tensor) -> Tensor:
    """Cosine similarities between the rows of `x` and those of `y`: `[n, d]` and `[m, d]` give `[n, m]`. A zero row has
    similarity 0 to all others."""
    return x.normalize(1).matmul(y.normalize(1).t())


def row_cosine(x: Tensor, y: Tensor) -> Tensor:
    """Cosine similarity of each row of `x` to the same row of `y`: `[n, d]` twice gives `[n]`. A zero row has
    similarity 0."""
    return (x.normalize(1) * y.normalize(1)).sum_dim(1).squeeze(1)


def huber(x: Tensor) -> Tensor:
    """The Huber function with threshold 1: `x²/2` where `|x| < 1`, else `|x| - 1/2`."""
    small = x.abs().clamp_max(1.0)
    return small * (x.abs() - 0.5 * small)


def log_sum_exp(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    """`ln Σ mask · eˣ` along `dim`, which stays with size 1; never overflows. -1e30 where the mask is empty."""
    x = x.select(mask, mask.scalar(_OUT))
    top = x.detach().max_dim(dim)
    return top + (x - top).exp().sum_dim(dim).ln()


def log_softmax_where(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Logarithm of the softmax along `dim` over what the mask doesn't leave out; 0, without gradient, where it does.
    Never overflows."""
    return (x - log_sum_exp(x, mask, dim)).select(mask, mask.scalar(0.0))


def ln_1p_sum_exp(x: Tensor, mask: Tensor, dim: int) -> Tensor:
    """`ln(1 + Σ eˣ)` along `dim`, which stays with size 1, over what the mask doesn't leave out; never overflows. A
    weight w is a term more in the exponent: `x + w.ln()`, and w the mask."""
    x = x.select(mask, mask.scalar(_OUT))
    top = x.detach().max_dim(dim).relu()  # the 1 is e⁰
    rest = (x - top).exp().sum_dim(dim) + ((-top).exp() - 1.0)
    return top + rest.ln_1p()


def softplus(x: Tensor) -> Tensor:
    """`ln(1 + eˣ)`; never overflows."""
    return x.relu() + (-x.abs()).exp().ln_1p()


def cross_entropy(logits: Tensor, labels: Index) -> Tensor:
    """Mean cross-entropy of logits `[n, c]` against classes `[n]`."""
    own = labels.one_hot(logits.dim(1))
    return -(logits.log_softmax(1) * own).sum() / logits.dim(0)


def kl_divergence(log_p: Tensor, log_q: Tensor, dim: int) -> Tensor:
    """Kullback-Leibler divergence `Σ p (ln p - ln q)` along `dim`, which stays with size 1, of logarithms of
    probabilities such as `Tensor.log_softmax` gives."""
    return (log_p.exp() * (log_p - log_q)).sum_dim(dim)


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of logits against labels from 0 to 1 of the same shape; never overflows."""
    return (softplus(logits) - logits * labels).mean()


def mean_where(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of `x` where the mask is 1; 0 where it is nowhere."""
    return (x * mask).sum() / mask.sum().clamp_min(1.0)


def feature_pairs(step: Step) -> List[Tuple[Tensor, Tensor]]:
    """Feature maps of both networks side by side, `[n, c, h, w]` and `[n, c', h, w]`, the deepest last.

    Where one network has more maps than the other, its early ones are left out; where a map is larger than its
    counterpart, it is averaged over windows to the smaller size. The pooled vector at the end of the lists is left out,
    unless there is nothing else: vectors count as maps of 1x1.
    """

    def maps(features: List[Tensor]) -> List[Tensor]:
        four = [x for x in features if len(x.dims()) == 4]
        return four or [x.reshape([x.dim(0), x.dim(1), 1, 1]) for x in features]

    t, s = maps(step.target_features()), maps(step.source_features())
    levels = min(len(t), len(s))
    pairs = []
    for a, b in zip(t[len(t) - levels :], s[len(s) - levels :]):
        h, w = min(a.dim(2), b.dim(2)), min(a.dim(3), b.dim(3))
        pairs.append((_shrunk(a, h, w), _shrunk(b, h, w)))
    return pairs


def _shrunk(x: Tensor, h: int, w: int) -> Tensor:
    """Maps averaged to a height and width, if they don't have it."""
    return x if (x.dim(2), x.dim(3)) == (h, w) else x.adaptive_avg_pool(h, w)


def last_feature(features: Sequence[Tensor]) -> Optional[Tensor]:
    """The last vector of a network's features, `[n, c]`: what its embedding layer sees."""
    return next((x for x in reversed(features) if len(x.dims()) == 2), None)
