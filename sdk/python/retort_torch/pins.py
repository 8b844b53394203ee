"""Pins: a loss's numbers on fixed inputs, in the text that `retort snapshot record` writes, and comparisons by them."""

from __future__ import annotations

import copy
import inspect
import json
import re
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from .errors import LossError, UndefinedError
from .hyper import range_in_words
from .loss import Loss

TITLE = "# retort snapshot, format 1: a loss on fixed inputs, in 64 bits"
_MASK = (1 << 64) - 1
#: Layouts that are tried, the plainest first: whether widths are equal, and views of each sample.
_LAYOUTS = [(False, 1), (True, 1), (False, 2), (True, 2)]

Function = Union[nn.Module, Callable[..., Tensor]]


def values(shape: List[int], salt: int) -> Tensor:
    """Numbers in [-1, 1): a formula of the salt, the same everywhere (`host/src/loss/case.rs`)."""
    x, out = (salt * 0x9E3779B97F4A7C15) & _MASK | 1, []
    for _ in range(torch.Size(shape).numel()):
        x ^= (x << 13) & _MASK
        x ^= x >> 7
        x ^= (x << 17) & _MASK
        out.append((x >> 40) / (1 << 23) - 1.0)
    return torch.tensor(out, dtype=torch.float64).reshape(shape)


def _features(n: int, more: int, salt: int) -> List[Tensor]:
    shapes = [[n, 3 + more, 4, 4], [n, 4 + more, 2, 2], [n, 5 + more]]
    return [values(shape, salt + i) for i, shape in enumerate(shapes)]


def batch(n: int, d: int, salt: int, equal_widths: bool = False, views: int = 1) -> Dict[str, Any]:
    """`target` [n, d], `source` [n, d + 4], feature maps, classes of two samples: a pin's batch."""
    n = -(-n // views) * views
    samples = n // views
    ids = [i % samples for i in range(n)]
    more = 0 if equal_widths else 2
    return {
        "target": values([n, d], salt + 1),
        "source": values([n, d if equal_widths else d + 4], salt + 1000),
        "target_features": _features(n, 0, salt + 2000),
        "source_features": _features(n, more, salt + 3000),
        "labels": torch.tensor([i // 2 for i in ids]),
        "ids": torch.tensor(ids),
        "sample_labels": [i // 2 for i in range(n)],
        "classes": -(-n // 2),
        "samples": n,
        "views": views,
    }


def _leaves(given: Dict[str, Any]) -> Tuple[Dict[str, Any], Dict[str, Tensor]]:
    """The batch with leaves of the graph, and these by name."""
    given = dict(given)
    given["target"] = given["target"].clone().requires_grad_()
    given["target_features"] = [t.clone().requires_grad_() for t in given["target_features"]]
    features = enumerate(given["target_features"])
    return given, {"target": given["target"], **{f"target_features.{i}": t for i, t in features}}


def _number(x: float) -> str:
    mantissa, exponent = f"{x:.12e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _json(value: Any) -> str:
    """As Rust writes it: exponents have no plus and no zeros before them."""
    return re.sub(r"(?<=\de)(-?)\+?0*(?=\d)", r"\1", json.dumps(value, separators=(",", ":")))


def _norm(values: Tensor) -> float:
    return float(values.detach().double().norm())


def _layout(loss: Loss) -> Tuple[bool, int]:
    for layout in _LAYOUTS:
        try:
            _fresh(loss)(**batch(12, 6, 42, *layout))
            return layout
        except UndefinedError:
            return layout
        except LossError:
            continue
    return _LAYOUTS[0]


def _fresh(loss: Loss, **hyper: Any) -> Loss:
    """The loss as it begins, with the seed of pins."""
    return Loss(loss.pack, loss.name, seed=1, **{**loss.hyper, **hyper})


def _another(field: Dict[str, Any]) -> Optional[Any]:
    """A value that isn't the default, and allowed."""
    default, kind, limits = field["default"], field["kind"], field.get("range") or {}

    def inside(x: float) -> bool:
        low, high, above = limits.get("min"), limits.get("max"), limits.get("above", False)
        return (low is None or (x > low if above else x >= low)) and (high is None or x <= high)

    near: List[Any] = []
    if kind == "boolean":
        return not default
    if kind == "choice":
        near = [word for word in field["choices"] if word != default]
        return near[0] if near else None
    if kind in ("floats", "integers", "choices"):
        return default[:-1] if len(default) > 1 else None
    if kind == "integer":
        near = [int(default) + 1, max(int(default) - 1, 0)]
    if kind == "float":
        near = [0.25, -0.25] if default == 0 else [default * 1.25, default * 0.75]
    return next((x for x in near if inside(x)), None)


def _words(name: str, layout: Tuple[bool, int]) -> str:
    return " ".join([name] + ["equal widths"] * layout[0] + ["two views"] * (layout[1] > 1))


def _cases(loss: Loss) -> Iterator[Tuple[str, Dict[str, Any], Dict[str, Any]]]:
    plain = _layout(loss)
    yield _words("n 12 d 6", plain), batch(12, 6, 42, *plain), {}
    yield _words("n 8 d 4 views 2", (plain[0], 1)), batch(8, 4, 7, plain[0], 2), {}
    for field in loss.pack.losses[loss.name]["hyper"]:
        value = _another(field)
        if value is not None:
            changed = {field["name"]: value}
            try:
                layout = _layout(_fresh(loss, **changed))
            except LossError:
                layout = plain
            name = _words("n 12 d 6", layout) + f" {field['name']} {_json(value)}"
            yield name, batch(12, 6, 42, *layout), changed


def _gradients(value: Tensor, leaves: Dict[str, Tensor]) -> Dict[str, Tensor]:
    names = sorted(leaves)
    found = torch.autograd.grad(value, [leaves[name] for name in names], allow_unused=True) if value.requires_grad else []
    return {name: g for name, g in zip(names, found) if g is not None and float(g.norm()) != 0}


def _lines(gradients: Dict[str, Tensor]) -> List[str]:
    lines = []
    for name, gradient in sorted(gradients.items()):
        flat = gradient.detach().double().flatten()
        some = flat[:: max(flat.numel() // 5, 1)][:5]
        lines.append(f"  gradient.{name} norm {_number(_norm(flat))} some {' '.join(_number(x) for x in some.tolist())}")
    return lines


def _step(loss: Loss, given: Dict[str, Any]) -> Tuple[Tensor, Dict[str, Tensor]]:
    given, leaves = _leaves(given)
    value = loss(**given)
    leaves.update((f"param.{name}", p) for name, p in loss.param.values.items())
    return value, _gradients(value, leaves)


def _pinned(loss: Loss, given: Dict[str, Any], changed: bool) -> List[str]:
    lines: List[str] = []
    for number in (1, 2):
        try:
            value, gradients = _step(loss, given)
        except UndefinedError as error:
            return lines + [f"  undefined {str(error).split('on this batch: ', 1)[-1]}"]
        except LossError:
            if changed:
                return lines + ["  refused"]
            raise
        lines.append(f"  value.{number} {_number(float(value))}")
        if number == 1:
            lines += [f"  term.{name} {_number(float(term))}" for name, term in sorted(loss.terms.items())]
            lines += _lines(gradients)
            loss.commit()
            state = {f"param.{n}": t for n, t in loss.param.values.items()}
            state.update((f"buffer.{n}", t) for n, t in loss.buffer.values.items())
            lines += [f"  {name} {list(t.shape)} norm {_number(_norm(t))}" for name, t in sorted(state.items())]
    return lines


def pin(what: Union[Loss, Function], like: Union[Loss, str, None] = None) -> str:
    """The pin of a pack's loss, as `retort snapshot record` writes it and `retort snapshot verify` compares it; or, in
    the same lines, value and gradients of your own function on the plain batches of the pack's loss `like`.

    A function gets those of `target`, `source`, `labels`, `ids`, `target_features`, `source_features` that it asks
    for by name, in float64, and is pinned with `like`'s hyperparameters as they are.
    """
    loss = what if isinstance(what, Loss) else Loss(like) if isinstance(like, str) else like
    if loss is None:
        raise TypeError("pin(function, like=Loss(…)): say which loss's batches it is pinned on")
    lines = [TITLE, f"loss {loss.name}"]
    for field in loss.pack.losses[loss.name]["hyper"]:
        shown = _json(field["default"])
        lines.append(f"hyper {field['name']} {field['kind']} = {shown} ({range_in_words(field)})")
    for name, given, changed in _cases(loss):
        if isinstance(what, Loss):
            lines += [f"case {name}"] + _pinned(_fresh(loss, **changed), given, bool(changed))
        elif not changed:
            value, gradients = _of_function(what, given)
            lines += [f"case {name}", f"  value.1 {_number(float(value))}"] + _lines(gradients)
    return "\n".join(lines) + "\n"


def _of_function(function: Function, given: Dict[str, Any]) -> Tuple[Tensor, Dict[str, Tensor]]:
    given, leaves = _leaves(given)
    call = function.forward if isinstance(function, nn.Module) else function
    parameters = inspect.signature(call).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = {name: value for name, value in given.items() if takes_all or name in {p.name for p in parameters}}
    value = copy.deepcopy(function).double()(**known) if isinstance(function, nn.Module) else function(**known)
    return value, _gradients(value, leaves)


def check(function: Function, loss: Union[Loss, str], tolerance: float = 1e-6) -> List[str]:
    """Compares your own loss with a pack's (`"pack.wasm#rkd"`, or a `Loss`), value and gradients in float64 on the pack's pinned batches: where they part,
    a line each, which are printed, too. None: they agree.

    `tolerance` is relative. Losses with parameters of their own are compared in value and in the inputs' gradients only
    where yours has none, because theirs begin at random.
    """
    found: List[str] = []
    loss = Loss(loss) if isinstance(loss, str) else loss
    for name, given, changed in _cases(loss):
        if changed:
            continue
        try:
            wanted, theirs = _step(_fresh(loss), given)
        except UndefinedError:
            continue
        value, own = _of_function(function, given)
        error = abs(float(value) - float(wanted)) / max(abs(float(wanted)), 1e-12)
        if not error <= tolerance:
            found.append(f"{name}: value {float(value):.9g}, {float(wanted):.9g} in {loss.name}")
        for of, gradient in theirs.items():
            if of.startswith("param."):
                continue
            mine = own.get(of, torch.zeros_like(gradient))
            difference = (mine - gradient).abs()
            if not float(difference.norm()) <= tolerance * float(gradient.norm()):
                at = int(difference.flatten().argmax())
                row = at // max(gradient[0].numel(), 1)
                found.append(
                    f"{name}: gradient of {of} is off by {float(difference.norm() / gradient.norm()):.2g} of its norm, "
                    f"most in row {row}: {float(mine.flatten()[at]):.9g}, {float(gradient.flatten()[at]):.9g} in {loss.name}"
                )
    print("\n".join(found) or f"agrees with {loss.name} on its pinned batches")
    return found
