"""Handles to tensors that the host holds.

The host frees them all together when the step ends; a handle kept beyond its step is refused, never mistaken for
another tensor.
"""

from __future__ import annotations

from math import prod
from typing import List, NoReturn, Sequence, Tuple, Union

from . import host
from . import op as ops

__all__ = ["Index", "Number", "Tensor"]

Number = Union[int, float]


class _Handle:
    """What floats and integers have in common."""

    __slots__ = ("_id",)

    def __init__(self, handle: int) -> None:
        self._id = handle

    def dims(self) -> List[int]:
        """Dimensions."""
        return host.shape(self._id)

    def dim(self, d: int) -> int:
        """Size of dimension `d`, from the left, from 0."""
        dims = self.dims()
        if 0 <= d < len(dims):
            return dims[d]
        _refuse(f"dim({d}) of a tensor of shape {dims}")
        return 1

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a tensor is neither true nor false: its numbers lie with the host. Use a mask (x > y, x.select(mask, z)), "
            "or read it with to_list(), which waits for the device"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.dims()}"


def _refuse(why: str) -> None:
    """Fails the step at the author's line."""
    host.fail(why)
    host.call(ops.FAIL)


class Tensor(_Handle):
    """Floats, of at most four dimensions. Operations on two tensors broadcast from the right."""

    __slots__ = ()
    __hash__ = object.__hash__

    def _op(self, op: int, *more: _Handle, attrs: Sequence[Number] = ()) -> Tensor:
        return Tensor(host.call(op, [self._id, *(x._id for x in more)], attrs))

    # Arithmetic.

    def __add__(self, other: Union[Tensor, Number]) -> Tensor:
        if isinstance(other, Tensor):
            return self._op(ops.ADD, other)
        if isinstance(other, (int, float)):
            return self._op(ops.ADD_SCALAR, attrs=[other])
        return NotImplemented

    def __radd__(self, other: Number) -> Tensor:
        return self._op(ops.ADD_SCALAR, attrs=[other]) if isinstance(other, (int, float)) else NotImplemented

    def __sub__(self, other: Union[Tensor, Number]) -> Tensor:
        if isinstance(other, Tensor):
            return self._op(ops.SUB, other)
        if isinstance(other, (int, float)):
            return self._op(ops.ADD_SCALAR, attrs=[-float(other)])
        return NotImplemented

    def __rsub__(self, other: Number) -> Tensor:
        return (-self)._op(ops.ADD_SCALAR, attrs=[other]) if isinstance(other, (int, float)) else NotImplemented

    def __mul__(self, other: Union[Tensor, Number]) -> Tensor:
        if isinstance(other, Tensor):
            return self._op(ops.MUL, other)
        if isinstance(other, (int, float)):
            return self._op(ops.MUL_SCALAR, attrs=[other])
        return NotImplemented

    def __rmul__(self, other: Number) -> Tensor:
        return self._op(ops.MUL_SCALAR, attrs=[other]) if isinstance(other, (int, float)) else NotImplemented

    def __truediv__(self, other: Union[Tensor, Number]) -> Tensor:
        if isinstance(other, Tensor):
            return self._op(ops.DIV, other)
        if isinstance(other, (int, float)):
            return self._op(ops.DIV_SCALAR, attrs=[other])
        return NotImplemented

    def __rtruediv__(self, other: Number) -> Tensor:
        if isinstance(other, (int, float)):
            return self.powf(-1.0)._op(ops.MUL_SCALAR, attrs=[other])
        return NotImplemented

    def __pow__(self, p: Number) -> Tensor:
        return self.powf(p) if isinstance(p, (int, float)) else NotImplemented

    def __neg__(self) -> Tensor:
        return self._op(ops.NEG)

    def __abs__(self) -> Tensor:
        return self.abs()

    def __matmul__(self, other: Tensor) -> Tensor:
        return self.matmul(other) if isinstance(other, Tensor) else NotImplemented

    # Masks: 1 or 0, without gradient.

    def __gt__(self, other: Union[Tensor, Number]) -> Tensor:
        if isinstance(other, Tensor):
            return self.greater(other)
        return self.above(other) if isinstance(other, (int, float)) else NotImplemented

    def __lt__(self, other: Union[Tensor, Number]) -> Tensor:
        if isinstance(other, Tensor):
            return self.less(other)
        return self.below(other) if isinstance(other, (int, float)) else NotImplemented

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        if isinstance(other, Tensor):
            return self.equal(other)
        if isinstance(other, (int, float)):
            return self.equal(self.scalar(other))
        return NotImplemented

    def greater(self, other: Tensor) -> Tensor:
        """Mask: 1 where `self > other`, else 0. No gradient."""
        return self._op(ops.GREATER, other)

    def equal(self, other: Tensor) -> Tensor:
        """Mask: 1 where both are equal, else 0. No gradient."""
        return self._op(ops.EQUAL, other)

    def above(self, x: Number) -> Tensor:
        """Mask: 1 where `self > x`, else 0. No gradient."""
        return self.greater(self.scalar(x))

    def less(self, other: Tensor) -> Tensor:
        """Mask: 1 where `self < other`, else 0. No gradient."""
        return other.greater(self)

    def below(self, x: Number) -> Tensor:
        """Mask: 1 where `self < x`, else 0. No gradient."""
        return self.scalar(x).greater(self)

    def is_zero(self) -> Tensor:
        """Mask: 1 where `self` is 0, else 0. No gradient."""
        return self.equal(self.scalar(0.0))

    def select(self, mask: Tensor, other: Tensor) -> Tensor:
        """`self` where the mask isn't 0, else `other`; the branch not taken gets no gradient."""
        return self._op(ops.SELECT, other, mask)

    def masked_fill(self, mask: Tensor, value: Number) -> Tensor:
        """`value` where the mask isn't 0, else `self`."""
        return self.scalar(value).select(mask, self)

    # Element by element.

    def exp(self) -> Tensor:
        """`eˣ`, element by element."""
        return self._op(ops.EXP)

    def ln(self) -> Tensor:
        """Natural logarithm."""
        return self._op(ops.LN)

    def log(self) -> Tensor:
        """Natural logarithm, as `ln`."""
        return self.ln()

    def ln_1p(self) -> Tensor:
        """`ln(1 + x)`, exact near 0."""
        return self._op(ops.LN1P)

    def sqrt(self) -> Tensor:
        """Square root. Its gradient at 0 is infinite: clamp first, or use the shared distances."""
        return self._op(ops.SQRT)

    def safe_sqrt(self) -> Tensor:
        """Square root, without gradient at 0, where that of `sqrt` is infinite."""
        zero = self.is_zero()
        return (self + zero).sqrt() - zero

    def relu(self) -> Tensor:
        """`[x]₊ = max(x, 0)`."""
        return self._op(ops.RELU)

    def leaky_relu(self, slope: Number) -> Tensor:
        """`max(x, 0) + slope · min(x, 0)`"""
        return self.relu() - slope * (-self).relu()

    def abs(self) -> Tensor:
        """`|x|`"""
        return self._op(ops.ABS)

    def sign(self) -> Tensor:
        """1 above 0, -1 below, 0 at 0. No gradient."""
        return self.above(0.0) - self.below(0.0)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return self._op(ops.TANH)

    def sigmoid(self) -> Tensor:
        """`1 / (1 + e⁻ˣ)`"""
        return self._op(ops.SIGMOID)

    def sin(self) -> Tensor:
        """Sine."""
        return self._op(ops.SIN)

    def cos(self) -> Tensor:
        """Cosine."""
        return self._op(ops.COS)

    def powf(self, p: Number) -> Tensor:
        """`xᵖ`"""
        return self._op(ops.POW_SCALAR, attrs=[p])

    def pow(self, p: Number) -> Tensor:
        """`xᵖ`, as `powf`."""
        return self.powf(p)

    def square(self) -> Tensor:
        """`x²`"""
        return self * self

    def reciprocal(self) -> Tensor:
        """`1 / x`"""
        return self.powf(-1.0)

    def clamp_min(self, least: Number) -> Tensor:
        """`max(x, least)`, without gradient where `x < least`."""
        return self._op(ops.CLAMP_MIN, attrs=[least])

    def clamp_max(self, most: Number) -> Tensor:
        """`min(x, most)`, without gradient where `x > most`."""
        return self._op(ops.CLAMP_MAX, attrs=[most])

    def clamp(self, least: Number, most: Number) -> Tensor:
        """`min(max(x, least), most)`, without gradient outside."""
        return self.clamp_min(least).clamp_max(most)

    def max(self, other: Tensor) -> Tensor:
        """The larger of the two, element by element; where they are equal, each gets half of the gradient."""
        return self._op(ops.MAX, other)

    def min(self, other: Tensor) -> Tensor:
        """The smaller of the two, element by element; where they are equal, each gets half of the gradient."""
        return self._op(ops.MIN, other)

    def detach(self) -> Tensor:
        """The same values as a constant: no gradient flows through."""
        return self._op(ops.DETACH)

    def straight_through(self, hard: Tensor) -> Tensor:
        """The value of `hard`, with the gradient of `self`: the straight-through estimate of what has none, such as
        rounding (Bengio et al., 2013)."""
        return hard.detach() + (self - self.detach())

    # Sums and the like. Those along a dimension keep it with size 1.

    def sum(self) -> Tensor:
        """Sum of all elements: a scalar."""
        return self._op(ops.SUM)

    def mean(self) -> Tensor:
        """Mean of all elements: a scalar."""
        return self.sum() / prod(self.dims())

    def sum_dim(self, dim: int) -> Tensor:
        """Sum along `dim`, which stays with size 1."""
        return self._op(ops.SUM_DIM, attrs=[dim])

    def mean_dim(self, dim: int) -> Tensor:
        """Mean along `dim`, which stays with size 1."""
        return self._op(ops.MEAN_DIM, attrs=[dim])

    def max_dim(self, dim: int) -> Tensor:
        """Largest along `dim`, which stays with size 1."""
        return self._op(ops.MAX_DIM, attrs=[dim])

    def min_dim(self, dim: int) -> Tensor:
        """Smallest along `dim`, which stays with size 1."""
        return self._op(ops.MIN_DIM, attrs=[dim])

    def cumsum(self, dim: int) -> Tensor:
        """Running sum along `dim`."""
        return self._op(ops.CUM_SUM, attrs=[dim])

    def var(self, dim: int, correction: int) -> Tensor:
        """Variance along `dim`, which stays with size 1: squared differences from the mean, divided by the size less
        `correction`. 1, as torch has it where nothing is said, is the unbiased estimate; 0 the variance of the values
        themselves."""
        n = self.dim(dim)
        if n <= correction:
            _refuse(f"var: the variance of {n} values with correction {correction}")
        return (self - self.mean_dim(dim)).square().sum_dim(dim) / max(n - correction, 1)

    def std(self, dim: int, correction: int) -> Tensor:
        """Standard deviation along `dim`, which stays with size 1: the root of `var`. Equal values get no gradient."""
        return self.var(dim, correction).safe_sqrt()

    def norm(self, dim: int) -> Tensor:
        """L2 norm along `dim`, which stays with size 1. A zero vector gets no gradient."""
        return self.square().sum_dim(dim).safe_sqrt()

    def norm_p(self, p: float, dim: int) -> Tensor:
        """p-norm along `dim`, which stays with size 1: `(Σ |x|ᵖ)^(1/p)`, for p of at least 1. A zero vector gets no
        gradient. The L2 norm is `norm`."""
        if not 1.0 <= p <= 1e3:
            _refuse(f"norm_p: p = {p} must be 1 to 1000")
        total = self.abs().powf(p).sum_dim(dim)
        zero = total.is_zero()  # counts as 1, so that nothing explodes
        return (total + zero).powf(1.0 / p) - zero

    def normalize(self, dim: int) -> Tensor:
        """Divides by the L2 norm along `dim`, but not by less than 1e-12. A zero vector stays zero and gets no
        gradient."""
        squared = self.square().sum_dim(dim)
        zero = squared.is_zero()  # its norm counts as 1, so that nothing explodes
        norm = (squared + zero).sqrt().clamp_min(1e-12)
        return self * ((1.0 - zero) / norm)

    def softmax(self, dim: int) -> Tensor:
        """Softmax along `dim`, which keeps its size; never overflows."""
        e = (self - self.detach().max_dim(dim)).exp()
        return e / e.sum_dim(dim)

    def log_softmax(self, dim: int) -> Tensor:
        """Logarithm of the softmax along `dim`; never overflows."""
        x = self - self.detach().max_dim(dim)
        return x - x.exp().sum_dim(dim).ln()

    def logsumexp(self, dim: int) -> Tensor:
        """`ln Σ eˣ` along `dim`, which stays with size 1; never overflows."""
        top = self.detach().max_dim(dim)
        return top + (self - top).exp().sum_dim(dim).ln()

    # Order.

    def argsort(self, dim: int) -> Index:
        """Positions that sort `dim` upwards; equal elements keep their order, NaNs come last."""
        return Index(host.call(ops.ARGSORT, [self._id], [dim]))

    def sort(self, dim: int, descending: bool) -> Tuple[Tensor, Index]:
        """The elements of `dim` sorted, and where each came from; equal ones keep their order, and NaNs come last
        either way."""
        index = (-self).argsort(dim) if descending else self.argsort(dim)
        return self.gather(dim, index), index

    def top_k(self, k: int, dim: int) -> Tuple[Tensor, Index]:
        """The `k` largest elements along `dim`, the largest first, and where each is: `dim` gets size `k`. Of equal
        ones the first counts. The smallest are `(-x).top_k(…)`."""
        index = (-self).argsort(dim).slice(dim, 0, k)
        return self.gather(dim, index), index

    def argmax(self, dim: int) -> Index:
        """Where the largest element along `dim` is, the first of equal ones; `dim` stays with size 1."""
        return (-self).argsort(dim).slice(dim, 0, 1)

    def argmin(self, dim: int) -> Index:
        """Where the smallest element along `dim` is, the first of equal ones; `dim` stays with size 1."""
        return self.argsort(dim).slice(dim, 0, 1)

    def ranks(self, dim: int) -> Index:
        """Each element's place along `dim` when sorted upwards, from 0; equal ones by their order."""
        return self.argsort(dim).float().argsort(dim)

    # Shape and selection.

    def matmul(self, other: Tensor) -> Tensor:
        """Matrix product: `[…, n, k]` by `[…, k, m]` gives `[…, n, m]`. Also `x @ y`."""
        return self._op(ops.MATMUL, other)

    def t(self) -> Tensor:
        """Exchanges the last two dimensions: `[…, n, m]` gives `[…, m, n]`."""
        return self._op(ops.TRANSPOSE)

    def reshape(self, dims: Sequence[int]) -> Tensor:
        """The same elements in another shape."""
        return self._op(ops.RESHAPE, attrs=dims)

    def flat(self) -> Tensor:
        """All elements in one dimension, row-major."""
        return self.reshape([prod(self.dims())])

    def unsqueeze(self, dim: int) -> Tensor:
        """The same elements with a dimension of size 1 before dimension `dim`."""
        dims = self.dims()
        if not 0 <= dim <= len(dims) or len(dims) == 4:
            _refuse(f"unsqueeze({dim}) of a tensor of shape {dims}")
            return self
        return self.reshape([*dims[:dim], 1, *dims[dim:]])

    def squeeze(self, dim: int) -> Tensor:
        """The same elements without dimension `dim`, whose size is 1."""
        dims = self.dims()
        if not 0 <= dim < len(dims) or dims[dim] != 1:
            _refuse(f"squeeze({dim}) of a tensor of shape {dims}")
            return self
        return self.reshape([*dims[:dim], *dims[dim + 1 :]])

    def swap_dims(self, a: int, b: int) -> Tensor:
        """Exchanges two dimensions."""
        return self._op(ops.SWAP_DIMS, attrs=[a, b])

    def permute(self, order: Sequence[int]) -> Tensor:
        """The dimensions in another order: `x.permute([0, 2, 1])` is `x.swap_dims(1, 2)`."""
        dims = self.dims()
        if sorted(order) != list(range(len(dims))):
            _refuse(f"permute({list(order)}) of a tensor of shape {dims}")
            return self
        return self._reordered(order)

    def _reordered(self, order: Sequence[int]) -> Tensor:
        """`permute`, once the order is known to be one."""
        x, now = self, list(range(len(order)))
        for i, wanted in enumerate(order):
            j = now.index(wanted)
            if i != j:
                x = x.swap_dims(i, j)
                now[i], now[j] = now[j], now[i]
        return x

    def slice(self, dim: int, start: int, end: int) -> Tensor:
        """Elements from `start` to before `end` of dimension `dim`."""
        return self._op(ops.SLICE, attrs=[dim, start, end])

    def cat(self, dim: int, other: Tensor) -> Tensor:
        """`self`, then `other`, along dimension `dim`."""
        return self._op(ops.CAT, other, attrs=[dim])

    def rows(self, index: Index) -> Tensor:
        """Rows by number: `[n, …]` and `[m]` give `[m, …]`."""
        return self._op(ops.ROWS, index)

    def gather(self, dim: int, index: Index) -> Tensor:
        """`out[i, j] = self[i, index[i, j]]` for `dim` 1, and so on."""
        return self._op(ops.GATHER, index, attrs=[dim])

    def adaptive_avg_pool(self, height: int, width: int) -> Tensor:
        """Average over windows: `[n, c, h, w]` gives `[n, c, height, width]`."""
        return self._op(ops.ADAPTIVE_AVG_POOL, attrs=[height, width])

    def off_diagonal(self) -> Tensor:
        """A square matrix `[n, n]` with zeros on its diagonal, which gets no gradient."""
        return self * (1.0 - self.eye(self.dim(0)))

    def without_diagonal(self) -> Tensor:
        """A square matrix without its diagonal: `[n, n]` gives `[n, n - 1]`, for n of at least 2."""
        n = self.dim(0)
        if self.dims() != [n, n] or n < 2:
            _refuse(f"without_diagonal of a tensor of shape {self.dims()}")
            return self
        # From the second element on, each row of n + 1 ends in the next one of the diagonal.
        rest = self.reshape([n * n]).slice(0, 1, n * n).reshape([n - 1, n + 1])
        return rest.slice(1, 0, n).reshape([n, n - 1])

    def diagonal(self) -> Tensor:
        """The diagonal of a square matrix: `[n, n]` gives `[n]`."""
        n = self.dim(0)
        own = self.select(self.eye(n), self.scalar(0.0))
        return own.sum_dim(1).reshape([n])

    def trace(self) -> Tensor:
        """Sum of the diagonal of a square matrix, a scalar."""
        return self.diagonal().sum()

    # New tensors, and numbers.

    def scalar(self, x: Number) -> Tensor:
        """One number, on this tensor's device."""
        return Tensor(host.call(ops.CONSTANT, [], [0.0, x]))

    def eye(self, n: int) -> Tensor:
        """The identity matrix `[n, n]`, on this tensor's device."""
        return Tensor(host.call(ops.EYE, [], [n]))

    def to_list(self) -> List[float]:
        """The values, row-major; waits for the device."""
        return host.read(self._id)


class Index(_Handle):
    """Integers: labels, sample ids, sort orders. At most four dimensions."""

    __slots__ = ()
    __hash__ = object.__hash__

    def _op(self, op: int, *more: _Handle, attrs: Sequence[Number] = ()) -> Index:
        return Index(host.call(op, [self._id, *(x._id for x in more)], attrs))

    def _tensor(self, op: int, *more: _Handle, attrs: Sequence[Number] = ()) -> Tensor:
        return Tensor(host.call(op, [self._id, *(x._id for x in more)], attrs))

    def __len__(self) -> int:
        return self.dim(0)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return self.equal(other) if isinstance(other, Index) else NotImplemented

    def __add__(self, other: Index) -> Index:
        return self.plus(other) if isinstance(other, Index) else NotImplemented

    def __mod__(self, n: int) -> Index:
        return self.modulo(n) if isinstance(n, int) else NotImplemented

    def len(self) -> int:
        """Size of the first dimension. Also `len(x)`."""
        return self.dim(0)

    def is_empty(self) -> bool:
        """Whether the first dimension has size 0."""
        return self.len() == 0

    def one_hot(self, classes: int) -> Tensor:
        """`[n]` integers below `classes`: `[n, classes]`, one 1 a row. Others are refused."""
        return self._tensor(ops.ONE_HOT, attrs=[classes])

    def same(self) -> Tensor:
        """Mask of pairs that share a value: `[n]` gives `[n, n]`, ones on the diagonal."""
        n = self.len()
        return self.reshape([n, 1]).equal(self.reshape([1, n]))

    def equal(self, other: Index) -> Tensor:
        """Mask: 1 where both are equal, else 0."""
        return self._tensor(ops.EQUAL, other)

    def reshape(self, dims: Sequence[int]) -> Index:
        """The same integers in another shape."""
        return self._op(ops.RESHAPE_INDEX, attrs=dims)

    def column(self) -> Index:
        """`[n]` as `[n, 1]`."""
        return self.reshape([self.len(), 1])

    def flat(self) -> Index:
        """All integers in one dimension."""
        return self.reshape([prod(self.dims())])

    def cat(self, dim: int, other: Index) -> Index:
        """`self`, then `other`, along dimension `dim`."""
        return self._op(ops.CAT_INDEX, other, attrs=[dim])

    def slice(self, dim: int, start: int, end: int) -> Index:
        """Elements from `start` to before `end` of dimension `dim`."""
        return self._op(ops.SLICE_INDEX, attrs=[dim, start, end])

    def gather(self, dim: int, index: Index) -> Index:
        """`out[i, j] = self[i, index[i, j]]` for `dim` 1, and so on."""
        return self._op(ops.GATHER_INDEX, index, attrs=[dim])

    def plus(self, other: Index) -> Index:
        """`self + other`, element by element."""
        return self._op(ops.ADD_INDEX, other)

    def modulo(self, n: int) -> Index:
        """Remainders of the division by `n`, never negative."""
        return self._op(ops.MOD_INDEX, attrs=[n])

    def float(self) -> Tensor:
        """The integers as floats."""
        return self._tensor(ops.FLOAT)

    def to_list(self) -> List[int]:
        """The values, row-major; waits for the device."""
        return [int(x) for x in host.read(self._id)]
