"""A pack's side of a component: the three functions that the WIT world exports."""

from __future__ import annotations

import importlib
import json
import traceback
from typing import Any, Dict, List, Sequence, Tuple, Type

from . import host
from .hyper import LOSSES, Entry, Loss
from .step import Step

__all__ = ["INTERFACE", "world"]

INTERFACE = 1
"""The interface's number, which this SDK makes packs for."""


def _paper(module: Any) -> str:
    """The first paragraph of a file's docstring."""
    lines = [line.strip() for line in (module.__doc__ or "").strip().splitlines()]
    return " ".join(lines[: lines.index("")] if "" in lines else lines)


def _load(name: str) -> Tuple[Entry, Dict[str, Any]]:
    """A module's one loss, which is called as the module, and what it says about itself."""
    module = importlib.import_module(name)
    found = LOSSES.get(name, [])
    if len(found) != 1:
        names = ", ".join(entry.type.__name__ for entry in found) or "none"
        raise TypeError(f"{name}.py must have one class with @loss, which is called {name}; it has: {names}")
    with open(module.__file__ or "", encoding="utf-8") as file:
        source = file.read()
    entry = found[0]
    about: Dict[str, Any] = {"name": name, "doc": entry.doc, "paper": _paper(module), "source": source}
    about["hyper"] = [field.as_json() for field in entry.fields]
    if entry.exempt:
        about["exempt"] = entry.exempt
    return entry, about


def told(error: BaseException) -> str:
    """An exception with the author's line."""
    lines = [frame for frame in traceback.extract_tb(error.__traceback__)]
    own = [line for line in lines if "/retort_sdk/" not in line.filename] or lines
    at = f" at {host.place(own[-1].filename, own[-1].lineno or 0)}" if own else ""
    return f"the plugin raised {type(error).__name__}{at}: {error}"


def world(modules: Sequence[str], sdk: str) -> Type[Any]:
    """The component's class for losses in these modules, in this order. Where a build makes it, the modules' files are
    read: a component has none."""
    losses = [_load(name) for name in modules]
    entries = {about["name"]: entry for entry, about in losses}
    description = json.dumps(
        {"interface": INTERFACE, "sdk": sdk, "losses": [about for _, about in losses]}, ensure_ascii=False
    )
    made: List[Loss] = []

    def create(name: str, hyper: str) -> int:
        if name not in entries:
            raise ValueError(f"this pack has no loss {name}; it has: {', '.join(entries)}")
        values = json.loads(hyper)
        if not isinstance(values, dict):
            raise ValueError(f"the hyperparameters of {name} aren't a JSON object")
        made.append(entries[name].make(values))
        return len(made) - 1

    class WitWorld:
        """See the world `plugin` in `plugin.wit`."""

        def describe(self) -> str:
            return description

        def create(self, name: str, hyper: str) -> int:
            from componentize_py_types import Err  # type: ignore[import-not-found]

            try:
                return create(name, hyper)
            except Exception as error:
                raise Err(str(error)) from None

        def loss(self, instance: int) -> int:
            # An exception that left here would end the instance, and say nothing.
            try:
                result = made[instance].loss(Step())
                if not hasattr(result, "_id"):
                    raise TypeError(f"loss() returned {type(result).__name__}, not a Tensor")
                return result._id
            except Exception as error:
                host.fail(told(error))
                return 0

    return WitWorld
