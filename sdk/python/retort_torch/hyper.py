"""Hyperparameters, checked as the Rust host does (`sdk/src/schema.rs`)."""

from __future__ import annotations

import json
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Dict, List

from .errors import PackError


def named(word: str, names: List[str]) -> str:
    """`; did you mean …? It has: …`"""
    near = get_close_matches(word, names, 1)
    return (f"; did you mean {near[0]}? It has: " if near else "; it has: ") + ", ".join(names)


def resolve(loss: str, fields: List[Dict[str, Any]], given: Dict[str, Any]) -> Dict[str, Any]:
    """One value a field: the given one, or its default."""
    names = [field["name"] for field in fields]
    for key in given:
        if key not in names:
            has = named(key, names) if names else "s, it has none"
            raise PackError(f"{loss} has no hyperparameter {key}{has}")
    for field in fields:
        if field["kind"] not in _KINDS:
            name = field["name"]
            raise PackError(f"{loss} has a hyperparameter of a kind that this version doesn't know, {name}: update retort-torch")
    return {f["name"]: _check(loss, f, given.get(f["name"], f["default"])) for f in fields}


#: Kinds, and what a list's elements are.
_KINDS = {
    "float": None, "integer": None, "boolean": None, "choice": None,
    "floats": "float", "integers": "integer", "choices": "choice",
}  # fmt: skip
_ELEMENTS = 64


def _check(loss: str, field: Dict[str, Any], value: Any) -> Any:
    element = _KINDS[field["kind"]]
    if element is None:
        return _one(loss, field, field["kind"], value)
    if not isinstance(value, (list, tuple)):
        raise PackError(f"{loss}: {field['name']} must be a list, not {json.dumps(value, default=str)}")
    if len(value) > _ELEMENTS:
        raise PackError(f"{loss}: {field['name']} has {len(value)} elements, more than {_ELEMENTS}")
    return [_one(loss, field, element, one) for one in value]


def _one(loss: str, field: Dict[str, Any], kind: str, value: Any) -> Any:
    name = field["name"]
    shown = json.dumps(value, default=str)

    def wrong(wants: str) -> PackError:
        return PackError(f"{loss}: {name} must be {wants}, not {shown}")

    if kind == "boolean":
        if not isinstance(value, bool):
            raise wrong("true or false")
        return value
    if kind == "choice":
        if value not in field["choices"]:
            raise wrong(f"one of {', '.join(field['choices'])}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong("a number")
    if kind == "integer" and (value != value or value < 0 or value > 2**53 or value != int(value)):
        raise wrong("a whole number")
    limits = field.get("range") or {}
    low, high, above = limits.get("min"), limits.get("max"), limits.get("above", False)
    inside = abs(value) < float("inf")
    inside = inside and (low is None or (value > low if above else value >= low)) and (high is None or value <= high)
    if not inside:
        raise PackError(f"{loss}: {name} = {shown} is out of range: {range_in_words(field)}")
    return int(value) if kind == "integer" else float(value)


def range_in_words(field: Dict[str, Any]) -> str:
    """As the Rust SDK has it."""
    limits = field.get("range") or {}
    low, high, above = limits.get("min"), limits.get("max"), limits.get("above", False)

    def shown(x: float) -> str:
        return str(int(x)) if x == int(x) else format(Decimal(repr(float(x))), "f")

    if low is not None and high is not None:
        return f"above {shown(low)}, at most {shown(high)}" if above else f"{shown(low)} to {shown(high)}"
    if low is not None:
        return f"{'above' if above else 'at least'} {shown(low)}"
    return f"at most {shown(high)}" if high is not None else "any"
