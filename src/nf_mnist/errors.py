"""The errors that nf_mnist raises on purpose.

All derive from :class:`NFMnistError`; the commands print them as one line and exit with status 1.
"""

import math


class NFMnistError(Exception):
    """Base of every error whose message is meant for the user of a command."""


class ConfigError(NFMnistError, ValueError):
    """A setting is out of range, or two settings contradict each other."""


class SettingError(ConfigError):
    """An argument of a function has a value that it cannot take.

    Attributes:
        name: The name of the argument. A command puts the full name of its setting in front of ``text`` instead.
        value: The value that was given.
        text: What the value must be, and what it is.
    """

    def __init__(self, name: str, value: object, text: str) -> None:
        super().__init__(f"{name} {text}")
        self.name, self.value, self.text = name, value, text


class ShapeError(NFMnistError, ValueError):
    """A tensor, an image or a mask has a shape that the operation cannot take."""


class DataError(NFMnistError, RuntimeError):
    """A data file is missing, damaged or of the wrong kind."""


class CheckpointError(NFMnistError, RuntimeError):
    """A checkpoint is missing, damaged, foreign, or asks for code that it may not name."""


class NotInvertibleError(NFMnistError, RuntimeError):
    """A map was asked for an inverse that does not exist in its present mode."""


class ConvergenceError(NFMnistError, ArithmeticError):
    """An iteration or a solver did not reach its tolerance."""


class DivergenceError(NFMnistError, ArithmeticError):
    """The training loss is no longer a finite number."""


class RunError(NFMnistError, RuntimeError):
    """A run of a sweep ended without a result."""


class MachineError(NFMnistError, RuntimeError):
    """The machine lacks something that was asked for: a GPU, a matching library, a writable folder."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def check_range(low: float, high: float = math.inf, /, **arguments: float) -> None:
    """Check that numbers lie between ``low`` and ``high``, both included.

    Args:
        low: The smallest number.
        high: The largest number.
        arguments: The numbers, by the names of arguments.

    Raises:
        SettingError: Naming the first argument that is out of range.
    """
    for name, value in arguments.items():
        if not low <= value <= high:
            bounds = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
            raise SettingError(name, value, f"must be {bounds}, got {value!r}")
