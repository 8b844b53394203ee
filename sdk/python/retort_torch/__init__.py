"""Retort's metric-learning losses, which are WASM components, in PyTorch."""

from .errors import LossError, PackError, UndefinedError
from .host import Limits, Pack
from .loss import Loss

__all__ = ["Limits", "Loss", "LossError", "Pack", "PackError", "UndefinedError"]
