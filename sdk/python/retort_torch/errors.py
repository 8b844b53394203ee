"""What can go wrong."""


class PackError(ValueError):
    """A pack that can't be loaded, a loss it doesn't have, or a hyperparameter that is wrong."""


class LossError(RuntimeError):
    """A loss that failed: its name, the operation with its operands' shapes, and the source line."""


class UndefinedError(LossError):
    """A loss that isn't defined on this batch; on another it may be."""


class Refused(Exception):
    """Why one operation can't be; becomes a `LossError` with the operation and the line."""
