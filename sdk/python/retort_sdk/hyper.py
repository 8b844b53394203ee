"""Hyperparameters: fields of a class, each with its documentation, default and range; and the list of losses."""

from __future__ import annotations

import enum
import inspect
import struct
import sys
from dataclasses import MISSING, dataclass, fields
from math import isfinite
from typing import (
    Annotated,
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from .step import Step
from .tensor import Tensor

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        """What newer Pythons have, for type checkers."""
        return lambda decorator: decorator


__all__ = ["Loss", "above", "at_least", "between", "loss", "single"]


class Range(NamedTuple):
    """An interval; an absent end is open."""

    min: Optional[float] = None
    max: Optional[float] = None
    above: bool = False

    def contains(self, x: float) -> bool:
        """Whether `x` lies in the interval. NaN and infinities never do."""
        low = self.min is None or (x > self.min if self.above else x >= self.min)
        return isfinite(x) and low and (self.max is None or x <= self.max)

    def as_json(self) -> Dict[str, Any]:
        """As the pack's description has it."""
        ends = {"min": self.min, "max": self.max}
        return {**{k: v for k, v in ends.items() if v is not None}, **({"above": True} if self.above else {})}

    def __str__(self) -> str:
        if self.min is not None and self.max is not None:
            return f"above {self.min}, at most {self.max}" if self.above else f"{self.min} to {self.max}"
        if self.min is not None:
            return f"{'above' if self.above else 'at least'} {self.min}"
        return "any" if self.max is None else f"at most {self.max}"


def above(least: float) -> Range:
    """Numbers greater than `least`."""
    return Range(min=least, above=True)


def at_least(least: float) -> Range:
    """Numbers from `least` on."""
    return Range(min=least)


def between(least: float, most: float) -> Range:
    """Numbers from `least` to `most`, both among them."""
    return Range(min=least, max=most)


def single(x: float) -> float:
    """`x` rounded to 32 bits, where a formula's authors keep a number so."""
    return float(struct.unpack("f", struct.pack("f", x))[0])


class Loss:
    """A loss: hyperparameters, and a formula. State lives in the host, so it is a pure function of the step."""

    def loss(self, step: Step) -> Tensor:
        """The scalar to minimise."""
        raise NotImplementedError(f"{type(self).__name__} has no method loss(self, step)")


class Field(NamedTuple):
    """One hyperparameter."""

    name: str
    doc: str
    kind: str
    many: bool
    words: Optional[Type[enum.Enum]]
    default: Any
    range: Range

    def as_json(self) -> Dict[str, Any]:
        """As the pack's description has it."""
        out: Dict[str, Any] = {"name": self.name, "doc": self.doc, "kind": self.kind + ("s" if self.many else "")}
        out["default"] = [_plain(x) for x in self.default] if self.many else _plain(self.default)
        out["range"] = self.range.as_json()
        if self.words is not None:
            out["choices"] = [word.value for word in self.words]
        return out

    def read(self, value: Any) -> Any:
        """A value of a configuration in the field's own type."""
        if not self.many:
            return self._one(value)
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{self.name} must be a list, not {value!r}")
        return tuple(self._one(x) for x in value)

    def _one(self, value: Any) -> Any:
        if self.words is not None:
            words = [word.value for word in self.words]
            if value not in words:
                raise ValueError(f"{self.name} must be one of {', '.join(words)}, not {value!r}")
            return self.words(value)
        if self.kind == "boolean":
            if not isinstance(value, bool):
                raise ValueError(f"{self.name} must be true or false, not {value!r}")
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{self.name} must be a number, not {value!r}")
        if self.kind == "integer" and value != int(value):
            raise ValueError(f"{self.name} must be a whole number, not {value!r}")
        if not self.range.contains(value):
            raise ValueError(f"{self.name} = {value!r} is out of range: {self.range}")
        return int(value) if self.kind == "integer" else float(value)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, enum.Enum) else value


_KINDS = {float: "float", int: "integer", bool: "boolean"}


def _field(of: str, name: str, hint: Any, default: Any) -> Field:
    """A field of a class, from its annotation and its default."""
    what = f"{of}.{name}"
    if default is MISSING:
        raise TypeError(f"{what} has no default: write {name}: Annotated[float, \"what it means\"] = 1.0")
    doc, allowed = "", Range()
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        for note in notes:
            if isinstance(note, Range):
                allowed = note
            elif isinstance(note, str):
                doc = inspect.cleandoc(note)
    if not doc:
        raise TypeError(f'{what} has no doc: write {name}: Annotated[{_name(hint)}, "symbol, meaning, unit"]')
    many = get_origin(hint) is tuple
    if many:
        args = get_args(hint)
        if len(args) != 2 or args[1] is not Ellipsis:
            raise TypeError(f"{what} is a list of values, written Tuple[float, ...]")
        hint = args[0]
    words = hint if isinstance(hint, type) and issubclass(hint, enum.Enum) else None
    kind = "choice" if words is not None else _KINDS.get(hint)
    if kind is None or (many and kind == "boolean"):
        raise TypeError(
            f"{what} is a {_name(hint)}: a hyperparameter is a float, an int, a bool, an Enum whose values are words, or "
            "a Tuple[…, ...] of numbers or words"
        )
    if words is not None and not all(isinstance(word.value, str) for word in words):
        raise TypeError(f"{what}: the values of {_name(hint)} must be words, such as \"feature\"")
    if kind == "float" and not many and isinstance(default, int) and not isinstance(default, bool):
        default = float(default)
    field = Field(name, doc, kind, many, words, default, allowed)
    plain = [_plain(x) for x in default] if many and isinstance(default, tuple) else _plain(default)
    return field._replace(default=field.read(plain))


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))


class Entry(NamedTuple):
    """A loss of a module."""

    type: Type[Loss]
    doc: str
    fields: List[Field]
    exempt: Dict[str, str]

    def make(self, values: Mapping[str, Any]) -> Loss:
        """The loss with these hyperparameters, and the default of each that isn't among them."""
        names = [field.name for field in self.fields]
        strange = [name for name in values if name not in names]
        if strange:
            raise ValueError(f"there is no hyperparameter {strange[0]}; there are: {', '.join(names) or 'none'}")
        return self.type(**{f.name: f.read(values[f.name]) for f in self.fields if f.name in values})


LOSSES: Dict[str, List[Entry]] = {}
"""The losses of each module, by the module's name."""

L = TypeVar("L", bound=Type[Any])


@overload
def loss(cls: L) -> L: ...
@overload
def loss(*, exempt: Mapping[str, str]) -> Callable[[L], L]: ...
@dataclass_transform(frozen_default=True)
def loss(cls: Any = None, *, exempt: Optional[Mapping[str, str]] = None) -> Any:
    """Makes a class a loss: a frozen dataclass whose fields are hyperparameters.

    ```python
    @loss
    class Follow(Loss):
        \"\"\"Pulls the target's embeddings towards the source's.

        L = ω/n Σᵢ ‖tᵢ - sᵢ‖²
        \"\"\"

        omega: Annotated[float, "ω, weight.", above(0.0)] = 1.0

        def loss(self, step: Step) -> Tensor:
            t, s = step.target(), step.source()  # [n, d]
            return self.omega * (t - s).square().sum() / t.dim(0)
    ```

    A property of `retort loss check` that can't hold by definition is given up by name, with the reason:
    `@loss(exempt={"order": "the first sample of a class is its anchor"})`.
    """

    def declare(cls: Any) -> Any:
        doc = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        if not doc:
            raise TypeError(f"{cls.__name__} has no docstring: its first line says what the loss does, then the equation")
        if not callable(getattr(cls, "loss", None)) or cls.loss is Loss.loss:
            raise TypeError(f"{cls.__name__} has no method loss(self, step)")
        made = dataclass(frozen=True)(cls)
        hints = get_type_hints(made, include_extras=True)
        found = [_field(cls.__name__, f.name, hints[f.name], f.default) for f in fields(made)]
        LOSSES.setdefault(cls.__module__, []).append(Entry(made, doc, found, dict(exempt or {})))
        return made

    return declare if cls is None else declare(cls)
