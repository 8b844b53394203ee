"""Packs that `retort add` installed, by their names (`host/src/share/install.rs`, `store.rs`)."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .errors import PackError

try:
    import tomllib
except ImportError:  # before Python 3.11
    import tomli as tomllib  # type: ignore

LOCK = "retort.lock"
_PART = re.compile(r"[a-z0-9][a-z0-9_-]{0,38}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
#: Bytes of a settings file that are read.
_LONGEST = 4 << 20


def folder(own: str, *places: Tuple[str, str]) -> Optional[Path]:
    """The folder that the variable `own` names, else one within the first of `places` that is set."""
    for variable, within in ((own, ""), *places):
        value = os.environ.get(variable)
        if value:
            return Path(value, within)
    return None


def home() -> Optional[Path]:
    """Where the user's own packs are noted."""
    return folder(
        "RETORT_HOME", ("XDG_CONFIG_HOME", "retort"), ("HOME", ".config/retort"), ("APPDATA", "retort")
    )


def cache() -> Optional[Path]:
    """Where packs and compiled components lie."""
    return folder(
        "RETORT_CACHE", ("XDG_CACHE_HOME", "retort"), ("HOME", ".cache/retort"), ("LOCALAPPDATA", "retort")
    )


def is_name(text: str) -> bool:
    """Whether a text is AUTHOR/PACK, and no file's path."""
    parts = text.split("/")
    return len(parts) == 2 and all(_PART.fullmatch(part) for part in parts)


def read_regular(path: Path, most: int) -> bytes:
    """At most so many bytes of a file; a pipe, which could block for ever, is refused."""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("it isn't a regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(f"it has more than {most} bytes")
    return data


def find(name: str, most: int) -> Tuple[Path, bytes]:
    """The pack that a name means here: that of the lock in this folder, else that which the user added. Its file, and
    its bytes, which are those of the digest that was noted."""
    added, source = _entry(Path(LOCK), name), LOCK
    if added is None:
        here = home()
        added, source = _entry(here / "packs.toml", name) if here else None, "the packs that you added"
    if added is None:
        raise PackError(f"{name} isn't added yet: `retort add {name}`")
    digest, version, store = added["digest"], added["version"], cache()
    if store is None:
        raise PackError("there is no folder for caches: name one for retort with RETORT_CACHE")
    path = store / "packs" / (digest[len("sha256:") :] + ".wasm")
    try:
        data = read_regular(path, most)
    except FileNotFoundError:
        raise PackError(
            f"{source} names {name} {version}, whose bytes aren't here: `retort add {name}@{version}`"
        ) from None
    except OSError as error:
        raise PackError(f"{name}: can't read {path}: {error}") from error
    found = "sha256:" + hashlib.sha256(data).hexdigest()
    if found != digest:
        raise PackError(
            f"{path} has changed since it was added: its digest is {found}, and {source} names {digest} for {name} "
            f"{version}; delete it, and add the pack again: `retort add {name}@{version}`"
        )
    return path, data


def _entry(file: Path, name: str) -> Optional[Dict[str, str]]:
    """A pack of a list, `packs.toml` or a lock."""
    try:
        packs: List[Any] = tomllib.loads(read_regular(file, _LONGEST).decode()).get("pack", [])
        entry = next((pack for pack in packs if pack["name"] == name), None)
        if entry is None:
            return None
        version, digest = entry["version"], entry["digest"]
        if not isinstance(version, str) or not _DIGEST.fullmatch(digest):
            raise ValueError(f"{name} has no digest of the form sha256: and 64 digits")
        return {"version": version, "digest": digest}
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PackError(f"can't read {file}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackError(f"can't understand {file}: {error}") from error
