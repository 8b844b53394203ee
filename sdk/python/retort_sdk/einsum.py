"""Sums of products of two tensors, by the letters of their dimensions."""

from __future__ import annotations

from math import prod
from typing import List, Optional, Sequence, Tuple

from .tensor import Tensor, _refuse

__all__ = ["einsum"]


def einsum(spec: str, x: Tensor, y: Tensor) -> Tensor:
    """`einsum("nd,md->nm", x, y)` is `x.matmul(y.t())`, `einsum("nd,nd->n", x, y)` the dot product of each pair of
    rows.

    Letters of both that the result lacks are summed over, as are those of one. A letter stands once in each part, and
    no part has more than four.
    """
    parts = _parts(spec)
    why = "it isn't of the form ab,bc->ac" if parts is None else _misfit(parts, x.dims(), y.dims())
    if parts is None or why is not None:
        _refuse(f'einsum "{spec}": {why}')
        return x
    in_x, in_y, out = parts
    x, in_x = _summed(x, in_x, in_y, out)
    y, in_y = _summed(y, in_y, in_x, out)
    shared = [c for c in in_x if c in in_y and c in out]
    inner = [c for c in in_x if c in in_y and c not in out]
    left = [c for c in in_x if c not in in_y]
    right = [c for c in in_y if c not in in_x]
    sizes = {**dict(zip(in_y, y.dims())), **dict(zip(in_x, x.dims()))}

    def count(letters: Sequence[str]) -> int:
        return prod(sizes[c] for c in letters)

    b, n, k, m = count(shared), count(left), count(inner), count(right)
    x = _arranged(x, in_x, shared + left + inner).reshape([b, n, k])
    y = _arranged(y, in_y, shared + inner + right).reshape([b, k, m])
    result = shared + left + right
    return _arranged(x.matmul(y).reshape([sizes[c] for c in result]), result, out)


def _parts(spec: str) -> Optional[Tuple[List[str], List[str], List[str]]]:
    before, arrow, out = spec.partition("->")
    x, comma, y = before.partition(",")
    if not arrow or not comma:
        return None
    letters = [[c for c in part if not c.isspace()] for part in (x, y, out)]
    return letters[0], letters[1], letters[2]


def _misfit(parts: Tuple[List[str], List[str], List[str]], x_dims: List[int], y_dims: List[int]) -> Optional[str]:
    """What is wrong with the letters, for tensors of these shapes."""
    in_x, in_y, out = parts
    for part in parts:
        if len(part) > 4:
            return "a tensor has at most four dimensions"
        for i, c in enumerate(part):
            if c in part[:i]:
                return f"{c} stands twice in one part"
    for part, dims, which in ((in_x, x_dims, "first"), (in_y, y_dims, "second")):
        if len(part) != len(dims):
            return f"the {which} tensor has shape {dims}, not {len(part)} dimensions"
    for c, size in zip(in_y, y_dims):
        if c in in_x and x_dims[in_x.index(c)] != size:
            return f"{c} has size {x_dims[in_x.index(c)]} in the first tensor, {size} in the second"
    for c in out:
        if c not in in_x and c not in in_y:
            return f"{c} of the result is in neither tensor"
    return None


def _summed(x: Tensor, letters: List[str], other: List[str], out: List[str]) -> Tuple[Tensor, List[str]]:
    """A tensor without the letters that neither the other one nor the result has: they are summed over."""
    left = list(letters)
    for c in letters:
        if c not in other and c not in out:
            i = left.index(c)
            x = x.sum_dim(i).squeeze(i)
            del left[i]
    return x, left


def _arranged(x: Tensor, letters: List[str], order: List[str]) -> Tensor:
    """A tensor whose dimensions have these letters, with them in another order."""
    return x._reordered([letters.index(c) for c in order])
