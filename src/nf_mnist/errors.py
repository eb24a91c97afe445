"""The errors that nf_mnist raises on purpose.

All derive from :class:`NFMnistError`; the commands print them as one line and exit with status 1.
"""


class NFMnistError(Exception):
    """Base of every error whose message is meant for the user of a command."""


class ConfigError(NFMnistError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class ShapeError(NFMnistError, ValueError):
    """A tensor, an image or a mask has a shape that the operation cannot take."""


class DataError(NFMnistError, RuntimeError):
    """A data file is missing, damaged or of the wrong kind."""


class CheckpointError(NFMnistError, RuntimeError):
    """A checkpoint is missing, damaged, foreign, or asks for code that it may not name."""


class NotInvertibleError(NFMnistError, RuntimeError):
    """A map was asked for an inverse that does not exist in its present mode."""


class DivergenceError(NFMnistError, ArithmeticError):
    """The training loss is no longer a finite number."""


class RunError(NFMnistError, RuntimeError):
    """A run of a sweep ended without a result."""


class MachineError(NFMnistError, RuntimeError):
    """The machine lacks something that was asked for: a GPU, a matching library, a writable folder."""
