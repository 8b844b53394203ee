"""What a loss may look at, and keep, in one training step."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from math import sqrt
from typing import List, Optional, Sequence, Tuple

from . import host
from . import op as ops
from .tensor import Index, Number, Tensor

__all__ = ["Buffer", "Init", "Negatives", "Step"]


@dataclass(frozen=True)
class Init:
    """How a parameter or a buffer starts: `Init.zeros()`, `Init.constant(1)`, `Init.normal(0.1)`, `Init.uniform(0.1)`."""

    code: int
    scale: float = 0.0

    @staticmethod
    def zeros() -> Init:
        """All zeros."""
        return Init(0)

    @staticmethod
    def constant(value: float) -> Init:
        """All the same value."""
        return Init(1, value)

    @staticmethod
    def normal(deviation: float) -> Init:
        """Normal distribution with mean 0 and this standard deviation."""
        return Init(2, deviation)

    @staticmethod
    def uniform(bound: float) -> Init:
        """Uniform between minus and plus this bound."""
        return Init(3, bound)


class Negatives(enum.Enum):
    """Where random negatives come from."""

    OTHER_CLASSES = "other-classes"
    """Samples of other classes than the row's."""
    UNIFORM = "uniform"
    """All samples, each as likely."""


@dataclass(frozen=True)
class Step:
    """One batch, and the state that the host keeps for this loss."""

    _target: Optional[Tensor] = None
    _source: Optional[Tensor] = None
    #: What the names of parameters, buffers and logged numbers begin with: empty, or ends in a dot.
    _scope: str = ""

    def with_target(self, target: Tensor) -> Step:
        """The same step with other embeddings of the target, `[n, d]`: what a loss that wraps another one shows it.
        Feature maps, labels and ids stay."""
        return replace(self, _target=target)

    def with_source(self, source: Tensor) -> Step:
        """The same step with other embeddings of the source, `[n, d']`."""
        return replace(self, _source=source)

    def scoped(self, name: str) -> Step:
        """The same step, in which names of parameters, buffers and logged numbers begin with `name` and a dot: what a
        loss that wraps another one twice gives each."""
        return replace(self, _scope=f"{self._scope}{name}.")

    def _fact(self, name: str) -> float:
        values = host.read(host.call(ops.FACT, name=name))
        return values[0] if values else 1.0

    def has(self, name: str) -> bool:
        """Whether this step has an input or a fact: `source`, `labels`, `ids`, `target_features`, `classes`, … It asks
        without failing, so a loss may do with less, and may know more than today's hosts offer."""
        replaced = (name == "target" and self._target is not None) or (name == "source" and self._source is not None)
        values = host.read(host.call(ops.HAS, name=name))
        return replaced or bool(values and values[0] != 0.0)

    def target(self) -> Tensor:
        """The target's embeddings, `[n, d]`, as the network gives them."""
        return Tensor(host.call(ops.INPUT, name="target")) if self._target is None else self._target

    def source(self) -> Tensor:
        """The source's embeddings, `[n, d']`, without gradient."""
        return Tensor(host.call(ops.INPUT, name="source")) if self._source is None else self._source

    def target_features(self) -> List[Tensor]:
        """The target's feature maps `[n, c, h, w]`, early ones first; the last is its pooled vector `[n, c]`."""
        return self._features("target_features")

    def source_features(self) -> List[Tensor]:
        """The source's feature maps, as the target's, without gradient."""
        return self._features("source_features")

    def _features(self, name: str) -> List[Tensor]:
        count = int(self._fact(name))
        return [Tensor(host.call(ops.INPUT, attrs=[level], name=name)) for level in range(count)]

    def labels(self) -> Index:
        """Class of each row, `[n]`, from 0."""
        return Index(host.call(ops.INPUT, name="labels"))

    def ids(self) -> Index:
        """Position of each row's sample in the training set, `[n]`; views of one sample share it."""
        return Index(host.call(ops.INPUT, name="ids"))

    def classes(self) -> int:
        """Classes in the training set."""
        return int(self._fact("classes"))

    def samples(self) -> int:
        """Samples in the training set."""
        return int(self._fact("samples"))

    def views(self) -> int:
        """Views of each sample in the batch: rows `i` and `i + n / views` show the same sample."""
        return int(self._fact("views"))

    def shown_samples(self, n: int) -> Index:
        """Number of each row's sample within the batch, `[n]`: views of one sample share it."""
        views = self.views()
        samples = max(n // views, 1)
        # Rows beyond the last whole view show samples of their own.
        whole = samples * views
        return self.constant_index([n], [row % samples if row < whole else row for row in range(n)])

    def pairs(self) -> Tuple[Tensor, Tensor]:
        """Masks of the pairs `i ≠ j` of one class, and of the pairs of two classes: `[n, n]` each."""
        same = self.labels().same()
        return same.off_diagonal(), 1.0 - same

    def positive_pairs(self) -> Optional[Tuple[Index, Index]]:
        """Every ordered pair `i ≠ j` of one class, by `i`, then by `j`: its place in a flattened `[n, n]` matrix, and
        `i`; `[m]` each, none if no two samples share a class. Far fewer than all pairs, as a rule."""
        labels = self.labels()
        n, m = labels.len(), 2 * int(self._fact("positive_pairs"))
        if m == 0:
            return None
        other = 1.0 - labels.same().off_diagonal()
        # Distinct keys: the order of the pairs is no matter of how a device sorts equal ones.
        key = other.reshape([n * n]) * (n * n) + self.range(0, n * n).float()
        place = key.argsort(0).slice(0, 0, m)
        zeros = self.range(0, n).modulo(1).reshape([1, n])
        row = self.range(0, n).column().plus(zeros).reshape([n * n])  # 0, 0, …, 1, 1, …
        return place, row.gather(0, place)

    def pairs_where(self, mask: Tensor) -> Optional[Tuple[Index, Index]]:
        """The pairs for which a mask `[n, m]` isn't 0, by row, then by column: `[p]` each, none if there is no such
        pair. Waits for the device; `positive_pairs` doesn't."""
        columns = max(mask.dim(1), 1)
        places = [place for place, value in enumerate(mask.to_list()) if value != 0.0]
        if not places:
            return None
        rows = self.constant_index([len(places)], [place // columns for place in places])
        return rows, self.constant_index([len(places)], [place % columns for place in places])

    def need_positive_pairs(self) -> None:
        """Declares the loss undefined on a batch in which no two samples share a class. A step without labels fails."""
        self.labels()
        if self._fact("positive_pairs") == 0.0:
            self.undefined("no two samples of the batch share a class: draw at least two of each")

    def need_negative_pairs(self) -> None:
        """Declares the loss undefined on a batch in which all samples share a class. A step without labels fails."""
        self.labels()
        if self._fact("negative_pairs") == 0.0:
            self.undefined("all samples of the batch are of one class: draw at least two classes")

    def need_two_classes(self) -> None:
        """Declares the loss undefined where the training set has one class."""
        if self.classes() < 2:
            self.undefined("the training set has one class: there is nothing to tell it from")

    def need_same_shape(self, target: Tensor, source: Tensor, else_: str) -> None:
        """Fails the step unless target and source have one shape: arithmetic would stretch a size of 1 without a word.
        `else_` says what to do about it."""
        t, s = target.dims(), source.dims()
        if t != s:
            self.fail(f"the target has shape {t} and the source {s}: {else_}")

    def epoch(self) -> int:
        """The epoch, from 0."""
        return int(self._fact("epoch"))

    def progress(self) -> float:
        """Share of the training that is done, from 0 to 1."""
        return self._fact("progress")

    def param(self, name: str, shape: Sequence[int], init: Init) -> Tensor:
        """A tensor that the optimiser trains, kept by the host under `name`."""
        return Tensor(host.call(ops.PARAM, attrs=[init.code, init.scale, *shape], name=self._scope + name))

    def buffer(self, name: str, shape: Sequence[int], init: Init) -> Buffer:
        """A tensor that the host keeps from step to step, without gradient."""
        full = self._scope + name
        return Buffer(full, Tensor(host.call(ops.BUFFER, attrs=[init.code, init.scale, *shape], name=full)))

    def once(self, name: str, x: Tensor) -> Tensor:
        """The value `x` had the first time this name was seen, without gradient."""
        return Tensor(host.call(ops.ONCE, [x._id], name=self._scope + name))

    def linear(self, name: str, x: Tensor, out: int) -> Tensor:
        """A learnable affine map `x Wᵀ + b`: `[n, d]` gives `[n, out]`. Parameters as in PyTorch: `name.weight`
        `[out, d]` and `name.bias` `[out]`, both uniform in ±1/√d."""
        d = x.dim(1)
        init = Init.uniform(1.0 / sqrt(d))
        weight = self.param(f"{name}.weight", [out, d], init)
        bias = self.param(f"{name}.bias", [out], init)
        return x.matmul(weight.t()) + bias

    def conv1x1(self, name: str, x: Tensor, out: int, init: Init) -> Tensor:
        """A learnable 1x1 convolution without bias, on maps `[n, c, h, w]` to `[n, out, h, w]`. Parameter as in
        PyTorch: `name.weight` `[out, c, 1, 1]`."""
        n, c, h, w = x.dim(0), x.dim(1), x.dim(2), x.dim(3)
        weight = self.param(f"{name}.weight", [out, c, 1, 1], init)
        y = weight.reshape([1, out, c]).matmul(x.reshape([n, c, h * w]))
        return y.reshape([n, out, h, w])

    def contrast(self, k: int, source: Negatives) -> Index:
        """Each row's own sample id, then those of `k` random samples: `[n, 1 + k]`. Views of a sample share the draw, as
        they share the id."""
        return Index(host.call(ops.CONTRAST, attrs=[k, 1.0 if source is Negatives.OTHER_CLASSES else 0.0]))

    def random_index(self, shape: Sequence[int], end: int) -> Index:
        """Random integers below `end`, the same on every device for one seed."""
        return Index(host.call(ops.RANDOM_INDEX, attrs=[end, *shape]))

    def random_uniform(self, shape: Sequence[int]) -> Tensor:
        """Random numbers in `[0, 1)`."""
        return Tensor(host.call(ops.RANDOM_UNIFORM, attrs=shape))

    def random_normal(self, shape: Sequence[int]) -> Tensor:
        """Random numbers from the standard normal distribution."""
        return Tensor(host.call(ops.RANDOM_NORMAL, attrs=shape))

    def constant(self, shape: Sequence[int], values: Sequence[Number]) -> Tensor:
        """Uploads values, row-major."""
        return Tensor(host.call(ops.CONSTANT, attrs=[len(shape), *shape, *values]))

    def constant_index(self, shape: Sequence[int], values: Sequence[int]) -> Index:
        """Uploads integers, row-major."""
        return Index(host.call(ops.CONSTANT_INDEX, attrs=[len(shape), *shape, *values]))

    def range(self, start: int, end: int) -> Index:
        """The integers from `start` to before `end`, `[end - start]`."""
        return Index(host.call(ops.RANGE, attrs=[start, end]))

    def log(self, name: str, x: Tensor) -> None:
        """Reports a scalar beside the loss, as `name`."""
        host.call(ops.LOG, [x._id], name=self._scope + name)

    def fail(self, why: str) -> Tensor:
        """Fails the step: something is wrong that no other batch would mend. Returns a tensor to return."""
        host.fail(why)
        return Tensor(host.call(ops.FAIL))

    def undefined(self, why: str) -> Tensor:
        """The loss isn't defined on this batch: `on_undefined` in the experiment says whether that ends the training,
        or skips the batch. Returns a tensor to return."""
        return Tensor(host.call(ops.UNDEFINED, name=why))


@dataclass(frozen=True)
class Buffer:
    """A tensor that the host keeps. Reads see its value at the start of the step; writes land when the step ends well."""

    _name: str
    _now: Tensor

    def get(self) -> Tensor:
        """The whole value."""
        return self._now

    def rows(self, index: Index) -> Tensor:
        """Rows by number: `[m]` gives `[m, …]`."""
        return self._now.rows(index)

    def set_rows(self, index: Index, rows: Tensor) -> None:
        """Sets rows when the step ends. Where a row is named twice, the later one wins."""
        host.call(ops.SET_ROWS, [index._id, rows._id], name=self._name)

    def set(self, value: Tensor) -> None:
        """Sets the whole value when the step ends."""
        host.call(ops.SET_BUFFER, [value._id], name=self._name)
