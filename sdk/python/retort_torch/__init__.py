"""Retort's metric-learning losses, which are WASM components, in PyTorch."""

from .errors import LossError, PackError, UndefinedError
from .host import Limits, Pack
from .loss import Loss
from .pins import check, pin
from .traced import Traced

__all__ = ["Limits", "Loss", "LossError", "Pack", "PackError", "Traced", "UndefinedError", "check", "pin"]
