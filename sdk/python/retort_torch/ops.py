"""Operation -> PyTorch, one line each; codes and names as in the SDK's `op.rs`. Gradients are autograd's."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn import functional

from .errors import Refused

#: Name, operands (`f` floats, `i` integers, `a` either), and what is computed of operands `t` and numbers `x`.
Operation = Tuple[str, str, Callable[[Sequence[Tensor], Sequence[Any]], Tensor]]

NAMES: Dict[int, str] = {
    1: "input", 2: "fact", 3: "param", 4: "buffer", 5: "set_rows", 6: "set_buffer", 7: "once", 8: "log",
    9: "random_index", 10: "random_uniform", 11: "random_normal", 12: "constant", 13: "constant_index",
    14: "fail", 15: "blame", 16: "undefined", 17: "contrast", 18: "has", 102: "eye", 108: "range",
}  # fmt: skip

#: Operands of those of them that have any.
OPERANDS: Dict[int, str] = {5: "if", 6: "f", 7: "f", 8: "f"}

OPERATIONS: Dict[int, Operation] = {
    20: ("add", "ff", lambda t, x: t[0] + t[1]),
    21: ("sub", "ff", lambda t, x: t[0] - t[1]),
    22: ("mul", "ff", lambda t, x: t[0] * t[1]),
    23: ("div", "ff", lambda t, x: t[0] / t[1]),
    24: ("max", "ff", lambda t, x: torch.maximum(t[0], t[1])),
    25: ("min", "ff", lambda t, x: torch.minimum(t[0], t[1])),
    26: ("add_scalar", "f", lambda t, x: t[0] + x[0]),
    27: ("mul_scalar", "f", lambda t, x: t[0] * x[0]),
    28: ("div_scalar", "f", lambda t, x: t[0] / x[0]),
    29: ("pow_scalar", "f", lambda t, x: t[0] ** x[0]),
    30: ("greater", "ff", lambda t, x: (t[0] > t[1]).to(t[0].dtype)),
    31: ("equal", "aa", lambda t, x: t[0] == t[1]),
    32: ("select", "fff", lambda t, x: torch.where(t[2] != 0, t[0], t[1])),
    40: ("neg", "f", lambda t, x: -t[0]),
    41: ("exp", "f", lambda t, x: t[0].exp()),
    42: ("ln", "f", lambda t, x: t[0].log()),
    43: ("ln1p", "f", lambda t, x: t[0].log1p()),
    44: ("sqrt", "f", lambda t, x: t[0].sqrt()),
    45: ("relu", "f", lambda t, x: t[0].relu()),
    46: ("abs", "f", lambda t, x: t[0].abs()),
    47: ("clamp_min", "f", lambda t, x: t[0].clamp(min=x[0])),
    48: ("clamp_max", "f", lambda t, x: t[0].clamp(max=x[0])),
    49: ("detach", "f", lambda t, x: t[0].detach()),
    50: ("tanh", "f", lambda t, x: t[0].tanh()),
    51: ("sigmoid", "f", lambda t, x: t[0].sigmoid()),
    52: ("sin", "f", lambda t, x: t[0].sin()),
    53: ("cos", "f", lambda t, x: t[0].cos()),
    60: ("sum", "f", lambda t, x: t[0].sum()),
    61: ("sum_dim", "f", lambda t, x: t[0].sum(size(x[0]), keepdim=True)),
    62: ("mean_dim", "f", lambda t, x: t[0].mean(size(x[0]), keepdim=True)),
    63: ("max_dim", "f", lambda t, x: t[0].max(size(x[0]), keepdim=True).values),
    64: ("min_dim", "f", lambda t, x: t[0].min(size(x[0]), keepdim=True).values),
    65: ("cum_sum", "f", lambda t, x: t[0].cumsum(size(x[0]))),
    80: ("matmul", "ff", lambda t, x: t[0] @ t[1]),
    81: ("transpose", "f", lambda t, x: t[0].transpose(-1, -2)),
    82: ("reshape", "f", lambda t, x: t[0].reshape(shape(x))),
    83: ("slice", "f", lambda t, x: part(t[0], x)),
    84: ("cat", "ff", lambda t, x: torch.cat([t[0], t[1]], size(x[0]))),
    85: ("rows", "fi", lambda t, x: t[0].index_select(0, t[1])),
    86: ("gather", "fi", lambda t, x: t[0].gather(size(x[0]), t[1])),
    87: ("swap_dims", "f", lambda t, x: t[0].transpose(size(x[0]), size(x[1]))),
    88: ("adaptive_avg_pool", "f", lambda t, x: functional.adaptive_avg_pool2d(t[0], shape(x))),
    100: ("argsort", "f", lambda t, x: t[0].sort(stable=True, dim=size(x[0])).indices),
    101: ("one_hot", "i", lambda t, x: functional.one_hot(t[0], size(x[0]))),
    103: ("cat_index", "ii", lambda t, x: torch.cat([t[0], t[1]], size(x[0]))),
    104: ("reshape_index", "i", lambda t, x: t[0].reshape(shape(x))),
    105: ("float", "i", lambda t, x: t[0]),
    106: ("slice_index", "i", lambda t, x: part(t[0], x)),
    107: ("gather_index", "ii", lambda t, x: t[0].gather(size(x[0]), t[1])),
    109: ("add_index", "ii", lambda t, x: t[0] + t[1]),
    110: ("mod_index", "i", lambda t, x: t[0].remainder(positive(x[0]))),
}  # fmt: skip

#: Those whose result is floats of the step's type, whatever PyTorch gives.
FLOATS = frozenset({31, 101, 105})


def size(x: float) -> int:
    """A whole number from 0 to 2³¹ - 1."""
    if not 0 <= x < 2**31 or x != int(x):
        raise Refused(f"{x} is not a whole number from 0 to {2**31 - 1}")
    return int(x)


def positive(x: float) -> int:
    """A size above 0."""
    if size(x) == 0:
        raise Refused("the divisor is 0")
    return size(x)


def shape(numbers: Sequence[float]) -> List[int]:
    """At most four sizes."""
    if len(numbers) > 4:
        raise Refused(f"{len(numbers)} dimensions; at most 4")
    return [size(x) for x in numbers]


def part(tensor: Tensor, numbers: Sequence[float]) -> Tensor:
    """Elements start..end of a dimension."""
    dim, start, end = (size(x) for x in numbers)
    return tensor.narrow(dim, start, end - start)


def below(index: Tensor, end: int) -> Tensor:
    """The index, if all of it lies in 0..end."""
    outside = index[(index < 0) | (index >= end)]
    if outside.numel():
        raise Refused(f"the index holds {int(outside[0])}, which is not in 0..{end}")
    return index


def check(code: int, tensors: Sequence[Tensor], numbers: Sequence[float]) -> None:
    """Refuses what lies outside of a tensor; the operations themselves look at no value."""
    if code == 85:
        below(tensors[1], tensors[0].shape[0])
    elif code in (86, 107):
        below(tensors[1], tensors[0].shape[size(numbers[0])])
    elif code == 101:
        below(tensors[0], size(numbers[0]))
    elif code in (83, 106):
        dim, start, end = (size(x) for x in numbers)
        if start >= end or end > tensors[0].shape[dim]:
            raise Refused(f"{start}..{end} of a dimension of size {tensors[0].shape[dim]}")


def elements(code: int, tensors: Sequence[Tensor], numbers: Sequence[float]) -> int:
    """How many the result has at most, before anything is computed."""
    a = tensors[0]
    if code in (84, 103):
        return a.numel() + tensors[1].numel()
    if code == 80:
        if a.dim() < 2 or tensors[1].dim() < 2 or a.shape[-1] != tensors[1].shape[-2]:
            raise Refused("the inner sizes differ: [n, k] by [k, m] gives [n, m]")
        lead = torch.broadcast_shapes(a.shape[:-2], tensors[1].shape[:-2]).numel()
        return lead * a.shape[-2] * tensors[1].shape[-1]
    if code == 85:
        return a.numel() // max(a.shape[0] if a.dim() else 1, 1) * tensors[1].numel()
    if code in (86, 107):
        return tensors[1].numel()
    if code == 88:
        return a.numel() // max(a.shape[-1] * a.shape[-2], 1) * size(numbers[0]) * size(numbers[1])
    if code == 101:
        if a.dim() != 1:
            raise Refused("needs one dimension [n]")
        return a.numel() * size(numbers[0])
    if len(tensors) == 1:
        return a.numel()
    try:
        return torch.broadcast_shapes(*(t.shape for t in tensors)).numel()
    except RuntimeError:
        raise Refused("the shapes don't broadcast: sizes must be equal or 1") from None
