"""A pack's component: compiled, linked to an interpreter, kept within its limits."""

from __future__ import annotations

import json
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Union

from wasmtime import Config, Engine, Store, Trap, WasmtimeError
from wasmtime import component as wasm

from . import installed
from .errors import LossError, PackError

_IMPORT = "retort:loss/host@1"
_TICK = 0.05


@dataclass(frozen=True)
class Limits:
    """What one step may use, so that a plugin can't take the machine down."""

    handles: int = 5_000  #: tensors that a step may make
    tensor_bytes: int = 4 << 30  #: bytes of one tensor
    held_bytes: int = 16 << 30  #: bytes of all tensors of a step together
    memory_bytes: int = 256 << 20  #: bytes of the component's linear memory
    table_elements: int = 1 << 20
    instances: int = 64  #: core instances, memories and tables, each
    seconds: float = 60.0  #: that a step may take, the host's operations included
    component_bytes: int = 64 << 20  #: bytes of the file


class Step(Protocol):
    """What the component's calls work on."""

    def call(self, op: int, args: List[int], attrs: List[float], name: str) -> int: ...
    def shape(self, tensor: int) -> List[int]: ...
    def read(self, tensor: int) -> List[float]: ...


def _tick(reference: "weakref.ref[Engine]") -> None:
    while True:
        time.sleep(_TICK)
        engine = reference()
        if engine is None:
            return
        engine.increment_epoch()
        del engine


class Pack:
    """A compiled component, and what it says about its losses: a file, or `author/pack` as `retort add` installed it."""

    def __init__(self, path: Union[str, Path], limits: Limits = Limits()) -> None:
        self.path, self.limits = Path(path), limits
        config = Config()
        config.epoch_interruption = True
        self.engine = Engine(config)
        try:
            if installed.is_name(str(path)):
                self.path, data = installed.find(str(path), limits.component_bytes)
            else:
                data = installed.read_regular(self.path, limits.component_bytes)
            if not data.startswith(b"\0asm"):
                raise PackError(f"{path} isn't WebAssembly")
            self.component = wasm.Component(self.engine, data)
        except (OSError, WasmtimeError) as error:
            raise PackError(f"{path} isn't a pack that can be loaded: {error}") from error
        self.imports = list(self.component.type.imports(self.engine))
        if any(not name.startswith(_IMPORT) for name in self.imports):
            raise PackError(f"{path} imports {', '.join(self.imports)}; a pack imports {_IMPORT} only")
        threading.Thread(target=_tick, args=(weakref.ref(self.engine),), daemon=True).start()
        try:
            about = json.loads(Instance(self, "describe").run("describe"))
            self.losses: Dict[str, Dict[str, Any]] = {loss["name"]: loss for loss in about["losses"]}
        except (LossError, ValueError, KeyError, TypeError) as error:
            raise PackError(f"{path} doesn't describe its losses: {error}") from error


class Instance:
    """A component's instance. After a trap it is of no more use."""

    def __init__(self, pack: Pack, name: str) -> None:
        self.name, self.limits, self.step = name, pack.limits, None  # type: str, Limits, Optional[Step]
        self.store = Store(pack.engine)
        limits = pack.limits
        self.store.set_limits(
            limits.memory_bytes, limits.table_elements, limits.instances, limits.instances, limits.instances
        )
        self._restart_clock()
        linker = wasm.Linker(pack.engine)
        with linker.root() as root:
            for interface in pack.imports:
                with root.add_instance(interface) as host:
                    host.add_func("call", lambda _, *a: self.step.call(*a) if self.step else 0)
                    host.add_func("shape", lambda _, a: self.step.shape(a) if self.step else [1] * 4)
                    host.add_func("read", lambda _, a: self.step.read(a) if self.step else [])
        try:
            self.instance = linker.instantiate(self.store, pack.component)
        except (WasmtimeError, Trap) as error:
            raise LossError(f"{name}: the plugin can't start: {error}") from error
        self._functions: Dict[str, wasm.Func] = {}

    def _restart_clock(self) -> None:
        self.store.set_epoch_deadline(int(self.limits.seconds / _TICK) + 2)

    def run(self, function: str, *args: Any, step: Optional[Step] = None) -> Any:
        """Calls an export under the deadline."""
        found = self._functions.get(function) or self.instance.get_func(self.store, function)
        if found is None:
            raise LossError(f"{self.name}: the plugin has no {function}")
        self._functions[function] = found
        self.step = step
        self._restart_clock()
        try:
            result = found(self.store, *args)
            found.post_return(self.store)
            return result
        except (WasmtimeError, Trap) as error:
            raise LossError(f"{self.name}: the plugin trapped: {error}") from error
        finally:
            self.step = None
