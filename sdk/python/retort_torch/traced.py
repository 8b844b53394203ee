"""A loss without its component: one step's operations as a module of PyTorch alone."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor, fx, nn

from . import ops
from .errors import LossError, Refused
from .hyper import named
from .step import Interpreter

_INPUT, _PARAM, _LOG = 1, 3, 8
_CHANGING = ("epoch", "progress", "positive_pairs", "negative_pairs")


class Recorder(Interpreter):
    """Runs a step and notes its operations; refuses what another step would do otherwise."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        #: Of each value, its operation, the places of its operands, numbers and name.
        self.tape: List[Tuple[int, List[int], List[float], str]] = []

    def call(self, op: int, args: List[int], attrs: List[float], name: str) -> int:
        handle = super().call(op, args, attrs, name)
        if len(self.values) > len(self.tape):
            self.tape.append((op, [(arg & 0xFFFFFFFF) - 1 for arg in args], list(attrs), name))
        return handle

    def read(self, handle: int) -> List[float]:
        try:
            if not self.failure and isinstance(self.find(handle), Tensor):
                self.fail("read", "it looks at a tensor's values, and a trace would repeat those of one batch")
        except Refused as error:
            self.fail("read", str(error))
        return super().read(handle)

    def _fact(self, operands: Any, attrs: List[float], name: str) -> float:
        if name in _CHANGING:
            raise Refused("it changes from step to step, and a trace would repeat that of one")
        return super()._fact(operands, attrs, name)

    def _draw(self, *_: Any) -> Tensor:
        raise Refused("it draws anew in each step, and a trace would repeat one draw")

    def _kept(self, *_: Any) -> Tensor:
        raise Refused("it keeps this from step to step, and a trace keeps nothing")

    _buffer = _once = _set_rows = _set_buffer = _kept


class Traced(nn.Module):
    """The graph of a loss for batches of one shape; parameters are the loss's own. `torch.compile`, `torch.export`
    and `torch.jit.trace` take it, and `print(traced.graph.code)` shows it.

    Called with the example's tensors by name, or in the order of `names`; feature maps are `target_features_0`, …
    """

    def __init__(self, loss: str, graph: fx.GraphModule, example: Dict[str, Tensor]) -> None:
        super().__init__()
        self.loss, self.graph, self.names = loss, graph, list(example)
        #: Of each tensor, its shape, and its type if it holds floats.
        self.expected = {name: (list(t.shape), t.dtype if t.is_floating_point() else None) for name, t in example.items()}

    def forward(self, *tensors: Tensor, **given: Tensor) -> Tensor:
        if given:
            tensors = tensors + self._ordered(len(tensors), given)
        if not torch.jit.is_tracing():
            self._check(tensors)
        return self.graph(*tensors)

    def _ordered(self, first: int, given: Dict[str, Tensor]) -> Tuple[Tensor, ...]:
        for name in given:
            if name not in self.names[first:]:
                raise TypeError(f"{self.loss}: its trace takes no {name}{named(name, self.names)}")
        return tuple(given[name] for name in self.names[first:] if name in given)

    def _check(self, tensors: Tuple[Tensor, ...]) -> None:
        if len(tensors) != len(self.names):
            raise TypeError(f"{self.loss}: its trace takes {', '.join(self.names)}, and got {len(tensors)} of these")
        for name, tensor in zip(self.names, tensors):
            shape, dtype = self.expected[name]
            if list(tensor.shape) != shape:
                raise LossError(
                    f"{self.loss}: {name} has shape {list(tensor.shape)}, and it was traced with {shape}: trace it again"
                )
            if dtype is not None and tensor.dtype != dtype:
                raise LossError(f"{self.loss}: {name} is {tensor.dtype}, and it was traced with {dtype}: trace it again")


def graph(run: Recorder, result: int) -> Traced:
    """The module that computes a recorded step's result, and nothing that it doesn't need."""
    tape, root = run.tape, nn.Module()
    needed, moving = {result}, set()
    for i in range(result, -1, -1):
        if i in needed:
            needed.update(tape[i][1])
    for i, (op, operands, _, _) in enumerate(tape):
        if op in (_INPUT, _PARAM) or any(j in moving for j in operands):
            moving.add(i)
    nodes, drawn = fx.Graph(), {}
    tracer = fx.proxy.GraphAppendingTracer(nodes)
    example: Dict[str, Tensor] = {}
    for i in sorted(needed):
        if tape[i][0] == _INPUT:
            name = _identifier(_key(tape[i]))
            if name not in example:
                example[name] = run.values[i]
                drawn[name] = fx.Proxy(nodes.placeholder(name), tracer)
    found: Dict[int, Any] = {}
    for i in sorted(needed):
        op, operands, attrs, name = tape[i]
        if op == _INPUT:
            value = drawn[_identifier(_key(tape[i]))].to(run.values[i].dtype)
            found[i] = value.detach() if name.startswith("source") else value
        elif op == _PARAM:
            attribute = f"param_{_identifier(name)}"
            if not hasattr(root, attribute):
                root.register_parameter(attribute, run.kept.params[name])
            found[i] = fx.Proxy(nodes.get_attr(attribute), tracer).to(run.dtype)
        elif op == _LOG:
            found[i] = found[operands[0]] if operands[0] in found else _constant(root, nodes, tracer, run, operands[0])
        elif i in moving:
            of = [found[j] if j in moving else _constant(root, nodes, tracer, run, j) for j in operands]
            value = ops.OPERATIONS[op][2](of, attrs)
            found[i] = value.to(run.dtype) if op in ops.FLOATS else value
    if result not in moving:
        raise LossError(f"{run.loss}: it depends on none of its inputs: there is nothing to trace")
    nodes.output(found[result].reshape([]).node)
    nodes.eliminate_dead_code()
    module = fx.GraphModule(root, nodes)
    module.recompile()
    return Traced(run.loss, module, example)


def _key(entry: Tuple[int, List[int], List[float], str]) -> str:
    _, _, attrs, name = entry
    return f"{name}.{int(attrs[0])}" if attrs else name


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _constant(root: nn.Module, nodes: fx.Graph, tracer: Any, run: Recorder, i: int) -> Any:
    name = f"constant_{i}"
    if not hasattr(root, name):
        root.register_buffer(name, run.values[i].detach().clone())
    return fx.Proxy(nodes.get_attr(name), tracer)
