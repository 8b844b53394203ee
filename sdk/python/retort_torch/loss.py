"""A pack's loss as a `torch.nn.Module`."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from typing import Any, Dict, List, Optional, Sequence, Type, Union

import torch
from torch import Tensor, nn

from .errors import LossError, PackError, Refused
from .host import Instance, Limits, Pack
from .hyper import named, resolve
from .random import key
from .step import Inputs, Interpreter, Kept
from .traced import Recorder, Traced, graph


class State(nn.Module):
    """Parameters or buffers by the names that the loss gives them, which may hold dots."""

    def __init__(self, learn: bool) -> None:
        super().__init__()
        self._learn = learn

    @property
    def values(self) -> Dict[str, Any]:
        return self._parameters if self._learn else self._buffers

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing, unexpected, errors):  # type: ignore
        # Before the first call there is nothing yet to load into: what is loaded makes it.
        given = {k[len(prefix) :]: v for k, v in state_dict.items() if k.startswith(prefix)}
        missing += [prefix + name for name in self.values if name not in given]
        for name, value in given.items():
            kept = self.values.get(name)
            if kept is None:
                self.values[name] = nn.Parameter(value.clone()) if self._learn else value.clone()
            elif kept.shape != value.shape:
                errors.append(f"{prefix}{name} has shape {list(value.shape)}, the loss's {list(kept.shape)}")
            elif self._learn:
                with torch.no_grad():
                    kept.copy_(value)
            else:
                self.values[name] = value.to(kept).clone()


class Loss(nn.Module):
    """A loss of a pack: `Loss("pack.wasm#rkd", weight_angle=2.0)`.

    Its parameters and buffers appear in `setup` or the first call, under `param.<name>` and `buffer.<name>` of
    `state_dict`, as in the Rust host; a state may be loaded before. In training mode, what a call writes to
    buffers lands with `commit()`, or at the start of the next call; in `eval()` nothing lands.
    """

    def __init__(
        self, pack: Union[str, Pack], name: Optional[str] = None, *, seed: int = 0, limits: Limits = Limits(), **hyper: Any
    ) -> None:
        super().__init__()
        if isinstance(pack, str):
            path, _, of = pack.partition("#")
            pack, name = Pack(path, limits), name or of
        if name not in pack.losses:
            raise PackError(f"{pack.path} has no loss {name}{named(name or '', list(pack.losses))}")
        self.name, self.seed, self.pack = name, seed, pack
        self.hyper = resolve(name, pack.losses[name]["hyper"], hyper)
        self.param, self.buffer = State(True), State(False)
        self.terms: Dict[str, Tensor] = {}
        self.steps = 0
        self._ready = False
        self._firsts: set = set()
        self._pending: Optional[Interpreter] = None
        self._start()

    def _start(self) -> None:
        self._instance = Instance(self.pack, self.name)
        made = self._instance.run("create", self.name, json.dumps(self.hyper))
        if not isinstance(made, int):
            raise PackError(str(getattr(made, "payload", made)))
        self._made = made

    def setup(self, **example: Any) -> "Loss":
        """Makes parameters and buffers from one batch, given as to a call; nothing else of it stays."""
        with torch.no_grad():
            self._run(None, example)
        self._ready = True
        return self

    def forward(self, *, step: Optional[int] = None, **inputs: Any) -> Tensor:
        """The loss, a scalar.

        `target` [n, d], `source` [n, d'], `labels` and `ids` [n]; `target_features` and `source_features`: lists
        of [n, c, h, w] or [n, c]; numbers `classes`, `samples`, `views`, `epoch`, `progress`; `sample_labels`
        [samples]; `draws`: tensors in place of the first, second, … random draw. `step` keys the random draws: by
        default, the number of steps whose writes landed.
        """
        self.commit()
        with torch.autocast("cuda" if torch.cuda.is_available() else "cpu", enabled=False):
            value, run = self._run(step, inputs)
        self._ready = True
        self.terms = run.terms
        self._pending = run if self.training else None
        return value

    def traced(self, **example: Any) -> "Traced":
        """The loss on batches of the example's shapes as a module without WASM, for `torch.compile`,
        `torch.export` and `torch.jit.trace`: the operations of one step, on this loss's own parameters.

        The example is given as to a call. A loss that keeps buffers, draws random numbers, asks for the epoch or looks
        at values is refused with the reason: a trace would repeat what it did on one batch.
        """
        with torch.no_grad():
            value, run = self._run(None, example, Recorder)
        self._ready = True
        assert isinstance(run, Recorder)
        return graph(run, run.result)

    def commit(self) -> None:
        """Lands what the last call wrote to buffers, and goes on to the next step."""
        if self._pending is not None:
            run, self._pending = self._pending, None
            for land in run.writes:
                land()
            self.steps += 1

    def discard(self) -> None:
        """Forgets the last call: nothing of it lands."""
        self._pending = None

    def _run(
        self, step: Optional[int], given: Dict[str, Any], interpreter: Type[Interpreter] = Interpreter
    ) -> "tuple[Tensor, Interpreter]":
        for word in given.keys() - _INPUTS:
            raise TypeError(f"{self.name}: a call takes no {word}{named(word, sorted(_INPUTS))}")
        inputs = _inputs(**given)
        like = next((t for t in inputs.tensors.values() if t.is_floating_point()), None)
        if like is None:
            raise LossError(f"{self.name}: give target or target_features")
        kept = Kept(dict(self.param.values), dict(self.buffer.values), self._ready, self._firsts)
        number = self.steps if step is None else step
        run = interpreter(self.name, inputs, kept, like, key(self.seed, self.name), number, self.pack.limits)
        try:
            handle = self._instance.run("loss", self._made, step=run)
        except LossError as trap:
            self._start()
            raise (run.error() or trap) from trap
        error = run.error()
        if error:
            raise error
        try:
            value = run.find(handle)
        except Refused as why:
            raise LossError(f"{self.name}: the tensor it returned is {why}") from why
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() != 1:
            dims = list(getattr(value, "shape", []))
            raise LossError(f"{self.name} returned a tensor of shape {dims}, but a loss is one float")
        run.result = (handle & 0xFFFFFFFF) - 1
        # Only now: a step that failed leaves nothing behind.
        for name in kept.params.keys() - self.param.values.keys():
            self.param.values[name] = kept.params[name]
        for name in kept.buffers.keys() - self.buffer.values.keys():
            self.buffer.values[name] = kept.buffers[name]
        kept.params, kept.buffers = self.param.values, self.buffer.values
        return value.reshape([]), run

    def get_extra_state(self) -> Dict[str, int]:
        """The step's number, so that random draws go on after a resume."""
        return {"steps": self.steps}

    def set_extra_state(self, state: Dict[str, int]) -> None:
        self.steps = int(state["steps"])


def _inputs(
    target: Optional[Tensor] = None,
    source: Optional[Tensor] = None,
    labels: Optional[Tensor] = None,
    ids: Optional[Tensor] = None,
    target_features: Sequence[Tensor] = (),
    source_features: Sequence[Tensor] = (),
    classes: int = 0,
    samples: int = 0,
    views: int = 1,
    epoch: int = 0,
    progress: float = 0.0,
    sample_labels: Optional[Sequence[int]] = None,
    draws: Sequence[Tensor] = (),
) -> Inputs:
    tensors: Dict[str, Tensor] = {}
    floats = [("target", target), ("source", source)]
    floats += [(f"target_features.{i}", t) for i, t in enumerate(target_features)]
    floats += [(f"source_features.{i}", t) for i, t in enumerate(source_features)]
    for name, tensor in floats:
        if tensor is not None:
            tensor = tensor.detach() if name.startswith("source") else tensor
            # Half precision isn't enough for distances.
            half = tensor.dtype in (torch.float16, torch.bfloat16)
            tensors[name] = tensor.float() if half else tensor
    like = next(iter(tensors.values()), None)
    if like is not None:
        tensors = {name: tensor.to(like.dtype) for name, tensor in tensors.items()}
    for name, whole in (("labels", labels), ("ids", ids)):
        if whole is not None:
            device = like.device if like is not None else None
            tensors[name] = torch.as_tensor(whole, dtype=torch.int64, device=device)
    classes_of: List[int] = tensors["labels"].tolist() if "labels" in tensors else []
    positive = sum(n * (n - 1) // 2 for n in Counter(classes_of).values())
    facts = {
        "positive_pairs": positive,
        "negative_pairs": len(classes_of) * (len(classes_of) - 1) // 2 - positive,
        "classes": classes,
        "samples": samples,
        "views": views,
        "epoch": epoch,
        "progress": progress,
        "target_features": len(target_features),
        "source_features": len(source_features),
    }
    known = torch.as_tensor(sample_labels).tolist() if sample_labels is not None else None
    return Inputs(tensors, facts, known, draws)


_INPUTS = inspect.signature(_inputs).parameters.keys()
