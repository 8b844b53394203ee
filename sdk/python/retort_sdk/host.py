"""The way to the host: three functions, in a component those of the WIT interface ``retort:loss/host``."""

from __future__ import annotations

import re
import sys
from typing import List, Optional, Protocol, Sequence

from . import op as ops

__all__ = ["Host", "blame", "call", "fail", "read", "shape", "use"]


class Host(Protocol):
    """What a step's operations are asked of. Handles are numbers; 0 is no tensor: the step has failed."""

    def call(self, op: int, args: List[int], attrs: List[float], name: str) -> int:
        """Runs an operation (see ``op.py``) and returns its result."""
        ...

    def shape(self, tensor: int) -> List[int]:
        """A tensor's dimensions; ones where the step has failed."""
        ...

    def read(self, tensor: int) -> List[float]:
        """A tensor's values, row-major; none where the step has failed."""
        ...


_host: Optional[Host] = None


def use(host: Optional[Host]) -> None:
    """Sets the host that all that follows asks. A component has one; a test brings its own."""
    global _host
    _host = host


def _current() -> Host:
    if _host is None:
        raise RuntimeError(
            "there is no step outside a training: build the pack (retort plugin build), and run the loss with "
            "`retort loss eval`"
        )
    return _host


def call(op: int, args: Sequence[int] = (), attrs: Sequence[float] = (), name: str = "") -> int:
    """Runs an operation. If the step has failed, tells the host the author's line; it keeps the first."""
    host = _current()
    handle = host.call(op, list(args), [float(x) for x in attrs], name)
    if handle == 0:
        host.call(ops.BLAME, [], [], blame())
    return handle


def shape(tensor: int) -> List[int]:
    """A tensor's dimensions."""
    return [int(size) for size in _current().shape(tensor)]


def read(tensor: int) -> List[float]:
    """A tensor's values; waits for the device."""
    return list(_current().read(tensor))


def fail(message: str) -> None:
    """Fails the step with a message of the loss's own."""
    _current().call(ops.FAIL, [], [], message)


def place(file: str, line: int) -> str:
    """``file:line``, the file as its author knows it: a component's lie in folders that are numbers."""
    return f"{re.sub(r'^/[0-9]+/', '', file)}:{line}"


def blame() -> str:
    """The innermost line that isn't the SDK's own."""
    frame = sys._getframe(1)
    package = __name__.rpartition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back
    return place(frame.f_code.co_filename, frame.f_lineno)
