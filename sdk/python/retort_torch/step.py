"""One step of one loss, as its plugin sees it (`core/src/loss/interpreter.rs`, `offer.rs`)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence

import torch
from torch import Tensor

from . import ops
from .errors import LossError, Refused, UndefinedError
from .host import Limits
from .random import Stream, key

_GENERATION = itertools.count(1)
_HINTS = {
    "target": "the loss needs the embeddings that are trained",
    "source": "the loss compares with a source network: give one",
    "source_features": "the loss needs the source network's feature maps: give a source",
    "target_features": "the loss needs the target network's feature maps",
    "labels": "the loss needs the class of each sample",
    "ids": "the loss needs the number of each sample in the training set",
    "classes": "say their number: classes=…",
    "samples": "say their number: samples=…",
    "sample_labels": "negatives of other classes need the class of every training sample: sample_labels=…",
}


@dataclass
class Inputs:
    """What a step shows: floats `target` [n, d], `source` [n, d'], features; integers `labels`, `ids` [n]."""

    tensors: Dict[str, Tensor]
    facts: Dict[str, float]
    sample_labels: Optional[List[int]]
    draws: Sequence[Tensor]


@dataclass
class Kept:
    """What is kept from step to step."""

    params: Dict[str, Any]
    buffers: Dict[str, Any]
    #: No parameter or buffer may appear any more.
    frozen: bool = False
    #: Names of values that are kept as they are first seen.
    firsts: set = field(default_factory=set)


class Interpreter:
    """Runs a step's operations as they are asked for."""

    def __init__(
        self, loss: str, inputs: Inputs, kept: Kept, like: Tensor, seed: int, step: int, limits: Limits
    ) -> None:
        self.loss, self.inputs, self.kept, self.limits = loss, inputs, kept, limits
        self.dtype, self.device = like.dtype, like.device
        self.seed, self.step, self.draws, self.bytes, self.calls = seed, step, 0, 0, 0
        self.generation = (next(_GENERATION) & 0x7FFFFFFF) << 32
        self.values: List[Any] = []
        self.failure: Optional[List[str]] = None  # what, why, where
        self.undefined = False
        self.terms: Dict[str, Tensor] = {}
        self.onces: Dict[str, Tensor] = {}
        self.writes: List[Callable[[], None]] = []
        #: The place of the loss among the values, once it is there.
        self.result = -1

    # What the plugin calls.

    def call(self, op: int, args: List[int], attrs: List[float], name: str) -> int:
        """Runs an operation; its result's handle, or 0 once the step has failed."""
        self.calls += 1
        if op == 15:
            if self.failure and not self.failure[2]:
                self.failure[2] = name[:4096]
            return 0
        if self.failure:
            return 0
        if op in (14, 16):
            self.undefined = op == 16
            self.fail("", name[:4096]) if name or self.undefined else None
            return 0
        try:
            if len(self.values) >= self.limits.handles:
                raise Refused(f"the step made more than {self.limits.handles} tensors (limit `handles`)")
            if len(name.encode()) > 256 or len(args) > 3 or (len(attrs) > 8 and op not in (12, 13)):
                raise Refused("its name, its operands or its numbers are too many")
            operands = [self.find(handle) for handle in args]
            self.values.append(self.operation(op, operands, attrs, name))
            return self.generation | len(self.values)
        except Exception as error:  # PyTorch's own errors, out of memory among them, are the step's
            self.fail(self.described(op, args, name), str(error).split("\n")[0] or type(error).__name__)
            return 0

    def shape(self, handle: int) -> List[int]:
        """A tensor's dimensions; ones once the step has failed, so that a formula can run to its end."""
        try:
            return [1] * 4 if self.failure else list(getattr(self.find(handle), "shape", []))
        except Refused as error:
            self.fail("shape", str(error))
            return [1] * 4

    def read(self, handle: int) -> List[float]:
        """A tensor's values, row by row."""
        try:
            if self.failure:
                return []
            value = self.find(handle)
            return value.detach().double().flatten().tolist() if isinstance(value, Tensor) else [value]
        except Exception as error:
            self.fail("read", str(error))
            return []

    # What ends a step.

    def fail(self, what: str, why: str) -> None:
        self.failure = self.failure or [what, why, ""]

    def described(self, op: int, args: Sequence[int], name: str) -> str:
        known = ops.OPERATIONS[op][0] if op in ops.OPERATIONS else ops.NAMES.get(op, f"operation {op}")
        shapes = []
        for handle in args[:3]:
            try:
                shapes.append(str(list(getattr(self.find(handle), "shape", []))))
            except Refused:
                shapes.append("?")
        name = f" `{name[:256]}`" if name else ""
        return f"{known}{name}" + (" of " if shapes else "") + " and ".join(shapes)

    def error(self) -> Optional[LossError]:
        """The step's failure as an exception."""
        if not self.failure:
            return None
        what, why, at = self.failure
        if self.undefined:
            return UndefinedError(f"{self.loss} isn't defined on this batch: {why}")
        place = " ".join(part for part in (what, f"at {at}" if at else "") if part)
        return LossError(f"{self.loss}: {place + ': ' if place else ''}{why}")

    def find(self, handle: int) -> Any:
        number = handle & 0xFFFFFFFF
        if handle - number != self.generation:
            raise Refused("a handle from another step, or from another loss: handles live for one step only")
        if not 0 < number <= len(self.values):
            raise Refused("a handle that this step never gave out")
        return self.values[number - 1]

    # The operations.

    def reserve(self, elements: int) -> None:
        """Makes sure that a tensor of so many elements stays within the limits."""
        size = 8 * elements
        self.bytes += size
        if size > self.limits.tensor_bytes:
            raise Refused(f"a tensor of {size} bytes (limit `tensor_bytes`)")
        if self.bytes > self.limits.held_bytes:
            raise Refused("the step's tensors have more bytes than allowed (limit `held_bytes`)")

    def operation(self, op: int, operands: List[Any], attrs: List[float], name: str) -> Any:
        known = ops.OPERATIONS.get(op)
        if not known and op not in ops.NAMES:
            raise Refused("this host doesn't know it; the plugin's SDK is newer than the host")
        kinds = known[1] if known else ops.OPERANDS.get(op, "")
        if len(operands) != len(kinds):
            raise Refused(f"{len(operands)} operands, where it takes {len(kinds)}")
        for i, (kind, tensor) in enumerate(zip(kinds, operands), 1):
            if not isinstance(tensor, Tensor) or (kind != "a" and tensor.is_floating_point() != (kind == "f")):
                raise Refused(f"operand {i} must be {'integers' if kind == 'i' else 'floats'}, and isn't")
        if kinds == "aa" and operands[0].is_floating_point() != operands[1].is_floating_point():
            raise Refused("its operands must be both floats or both integers")
        if not known:
            return getattr(self, f"_{ops.NAMES[op]}")(operands, attrs, name)
        self.reserve(ops.elements(op, operands, attrs))
        ops.check(op, operands, attrs)
        result = known[2](operands, attrs)
        return result.to(self.dtype) if op in ops.FLOATS else result

    def _input(self, _: Any, attrs: List[float], name: str) -> Tensor:
        key = f"{name}.{ops.size(attrs[0])}" if attrs else name
        if key not in self.inputs.tensors:
            raise Refused(_missing(key))
        return self.inputs.tensors[key]

    def _fact(self, _: Any, attrs: List[float], name: str) -> float:
        if name not in self.inputs.facts:
            raise Refused("this host has no such fact about a step")
        number = float(self.inputs.facts[name])
        if number == 0 and _is_count(name):
            raise Refused(_missing(name))
        return number

    def _has(self, _: Any, attrs: List[float], name: str) -> float:
        key = f"{name}.{int(attrs[0])}" if attrs else name
        fact = self.inputs.facts.get(name, 0)
        known = name in self.inputs.facts and (fact != 0 or not _is_count(name))
        return float(key in self.inputs.tensors or known)

    def _param(self, _: Any, attrs: List[float], name: str) -> Tensor:
        return self._state(self.kept.params, attrs, name, lambda t: torch.nn.Parameter(t))

    def _buffer(self, _: Any, attrs: List[float], name: str) -> Tensor:
        # A copy would cost the size of a memory bank; writes replace the tensor and never change it.
        return self._state(self.kept.buffers, attrs, name, lambda t: t)

    def _state(self, kept: Dict[str, Any], attrs: List[float], name: str, make: Callable[[Tensor], Any]) -> Tensor:
        dims = ops.shape(attrs[2:])
        if name not in kept:
            if self.kept.frozen:
                raise Refused(
                    "it appears after set-up; a loss must ask for all of its parameters and buffers in every "
                    "step, from the first on"
                )
            kept[name] = make(self.initial(attrs[0], attrs[1], dims, name))
        if list(kept[name].shape) != dims:
            raise Refused(f"it has shape {list(kept[name].shape)}, but the loss now asks for {dims}")
        return kept[name].to(self.dtype)

    def initial(self, code: float, scale: float, dims: List[int], name: str) -> Tensor:
        """A new parameter's or buffer's value: a function of the seed and its name alone."""
        n = torch.Size(dims).numel()
        self.reserve(n)
        stream = Stream(key(self.seed, name))
        if code not in (0, 1, 2, 3):
            raise Refused(f"initialiser {code} is unknown to this host")
        values = {
            0: lambda: [0.0] * n,
            1: lambda: [scale] * n,
            2: lambda: [scale * stream.normal() for _ in range(n)],
            3: lambda: [scale * (2.0 * stream.uniform() - 1.0) for _ in range(n)],
        }[int(code)]()
        return torch.tensor(values, dtype=self.dtype, device=self.device).reshape(dims)

    def _kept_buffer(self, name: str) -> Tensor:
        if name not in self.kept.buffers:
            raise Refused("no such buffer; ask for it with step.buffer() before writing it")
        return self.kept.buffers[name]

    def _set_rows(self, operands: List[Tensor], _: Any, name: str) -> Tensor:
        index, rows = operands
        kept = self._kept_buffer(name)
        if index.dim() != 1 or rows.shape != index.shape + kept.shape[1:]:
            raise Refused(f"the buffer has shape {list(kept.shape)}: rows need an index [n] and values [n, …]")
        ops.below(index, kept.shape[0])

        def land() -> None:
            last = {row: position for position, row in enumerate(index.tolist())}
            new = self.kept.buffers[name].clone()
            at = torch.tensor(list(last), dtype=torch.int64, device=new.device)
            take = torch.tensor(list(last.values()), dtype=torch.int64, device=rows.device)
            new[at] = rows.detach()[take].to(new)
            self.kept.buffers[name] = new

        self.writes.append(land)
        return rows

    def _set_buffer(self, operands: List[Tensor], _: Any, name: str) -> Tensor:
        value, kept = operands[0], self._kept_buffer(name)
        if kept.shape != value.shape:
            raise Refused(f"the buffer has shape {list(kept.shape)}")
        self.writes.append(lambda: self.kept.buffers.__setitem__(name, value.detach().to(kept).clone()))
        return value

    def _once(self, operands: List[Tensor], _: Any, name: str) -> Tensor:
        if name in self.kept.buffers:
            return self.kept.buffers[name].to(self.dtype)
        if self.kept.frozen and name not in self.kept.firsts:
            raise Refused("it appears after set-up")
        self.kept.firsts.add(name)
        value = operands[0].detach().clone()
        self.writes.append(lambda: self.kept.buffers.setdefault(name, value))  # type: ignore[arg-type]
        return value

    def _log(self, operands: List[Tensor], _: Any, name: str) -> Tensor:
        if operands[0].numel() != 1:
            raise Refused("only one number can be logged")
        self.terms[name] = operands[0].detach().reshape([])
        return operands[0]

    # Random draws.

    def _draw(self, dims: List[int], make: Callable[[Stream], List[Any]], dtype: torch.dtype) -> Tensor:
        """This step's next draw, or the tensor that replaces it."""
        number = self.draws
        self.draws += 1
        n = torch.Size(dims).numel()
        self.reserve(n)
        if number < len(self.inputs.draws):
            given = self.inputs.draws[number]
            if list(given.shape) != dims:
                raise Refused(f"draw {number} has shape {list(given.shape)}, but this draw has shape {dims}")
            return given.to(self.device, dtype)
        values = make(Stream(self.seed, [self.step, number]))
        return torch.tensor(values, dtype=dtype, device=self.device).reshape(dims)

    def _random_index(self, _: Any, attrs: List[float], name: str) -> Tensor:
        end, dims = ops.size(attrs[0]), ops.shape(attrs[1:])
        if end == 0:
            raise Refused("there is nothing to draw from: the end is 0")
        n = torch.Size(dims).numel()
        return ops.below(self._draw(dims, lambda s: [s.below(end) for _ in range(n)], torch.int64), end)

    def _random_uniform(self, _: Any, attrs: List[float], name: str) -> Tensor:
        dims = ops.shape(attrs)
        n = torch.Size(dims).numel()
        return self._draw(dims, lambda s: [s.uniform() for _ in range(n)], self.dtype)

    def _random_normal(self, _: Any, attrs: List[float], name: str) -> Tensor:
        dims = ops.shape(attrs)
        n = torch.Size(dims).numel()
        return self._draw(dims, lambda s: [s.normal() for _ in range(n)], self.dtype)

    def _contrast(self, _: Any, attrs: List[float], name: str) -> Tensor:
        k, other = ops.size(attrs[0]), attrs[1] != 0
        samples = int(self.inputs.facts["samples"])
        if "ids" not in self.inputs.tensors or samples == 0:
            raise Refused(_missing("samples" if "ids" in self.inputs.tensors else "ids"))
        ids: List[int] = self.inputs.tensors["ids"].tolist()
        distinct = max(len(ids) // max(int(self.inputs.facts["views"]), 1), 1)

        def make(stream: Stream) -> List[int]:
            rows: List[List[int]] = []
            classes = self.inputs.sample_labels
            if other and not classes:
                raise Refused(_missing("sample_labels"))
            if other and classes and len(set(classes)) == 1:
                self.undefined = True
                raise Refused("it contrasts with other classes, but the training set has only one")
            for row, own in enumerate(ids):
                first = row % distinct
                if ids[first] == own and first != row:
                    rows.append(rows[first])
                    continue
                drawn = [own]
                if other and classes:
                    if not 0 <= own < len(classes):
                        raise Refused(f"sample {own} is not among the {samples} of the training set")
                    while len(drawn) <= k:
                        one = stream.below(len(classes))
                        drawn += [one] if classes[one] != classes[own] else []
                else:
                    drawn += [stream.below(samples) for _ in range(k)]
                rows.append(drawn)
            return [i for row in rows for i in row]

        drawn = ops.below(self._draw([len(ids), 1 + k], make, torch.int64), samples)
        if drawn[:, 0].tolist() != ids:
            raise Refused("column 0 doesn't hold the rows' own ids")
        return drawn

    # Constants.

    def _values(self, attrs: List[float], dtype: torch.dtype) -> Tensor:
        rank = ops.size(attrs[0])
        dims, values = ops.shape(attrs[1 : 1 + rank]), attrs[1 + rank :]
        if len(values) != torch.Size(dims).numel():
            raise Refused(f"{len(values)} values for shape {dims}")
        self.reserve(len(values))
        return torch.tensor(values, dtype=torch.float64).to(self.device, dtype).reshape(dims)

    def _constant(self, _: Any, attrs: List[float], name: str) -> Tensor:
        return self._values(attrs, self.dtype)

    def _constant_index(self, _: Any, attrs: List[float], name: str) -> Tensor:
        bad = next((v for v in attrs[1:] if v != v or abs(v) > 2**53 or v != int(v)), None)
        if bad is not None:
            raise Refused(f"{bad} is not a whole number that a float holds exactly")
        return self._values(attrs, torch.int64)

    def _eye(self, _: Any, attrs: List[float], name: str) -> Tensor:
        self.reserve(ops.size(attrs[0]) ** 2)
        return torch.eye(ops.size(attrs[0]), dtype=self.dtype, device=self.device)

    def _range(self, _: Any, attrs: List[float], name: str) -> Tensor:
        start, end = (ops.size(x) for x in attrs)
        if end <= start:
            raise Refused(f"{start}..{end} is empty")
        self.reserve(end - start)
        return torch.arange(start, end, device=self.device)


def _is_count(fact: str) -> bool:
    """Whether 0 stands for what this step doesn't have or know."""
    return fact.endswith("_features") or fact in ("classes", "samples")


def _missing(key: str) -> str:
    hint = _HINTS.get(key.split(".")[0], "no host has such an input")
    return f"this step has no {key}; {hint}"


