"""Whether a state out of a file has the kinds and shapes of one that this program made."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch import Tensor

from nf_mnist.checkpoints.reading import is_dense

MAX_COUNT = 2**53


class WrongStateError(Exception):
    """The name of a state that is missing, or of another kind or shape."""


def require(condition: bool, name: str) -> None:
    """Raise :class:`WrongStateError` with a name unless a condition holds."""
    if not condition:
        raise WrongStateError(name)


def mapping(value: Any, name: str) -> Mapping[Any, Any]:
    """Return a value that must be a mapping."""
    if not isinstance(value, Mapping):
        raise WrongStateError(name)
    return value


def check_like(state: Any, expected: Any, name: str) -> None:
    """Check that a state has what is expected, down to numbers and tensors; it may have more.

    Args:
        state: The state.
        expected: A state of the same object: mappings, tensors and plain values. A whole number stands for a count, and
            None for anything.
        name: What to call the state.

    Raises:
        WrongStateError: Naming the first part that is missing, or of another kind or shape.
    """
    if not isinstance(expected, Mapping):
        require(is_like(state, expected), name)
        return
    found = mapping(state, name)
    for key, value in expected.items():
        require(key in found, f"{name}, which lacks {key},")
        check_like(found[key], value, f"{name}.{key}")


def is_like(value: Any, expected: Any) -> bool:
    """Return whether a value has the kind, and a tensor the shape, of the one expected."""
    if expected is None:
        return True
    if isinstance(expected, Tensor):
        return isinstance(value, Tensor) and _is_tensor_like(value, expected)
    if isinstance(expected, bool) or isinstance(value, bool):
        return isinstance(expected, bool) and isinstance(value, bool)
    if isinstance(expected, int):
        return isinstance(value, int) and 0 <= value <= MAX_COUNT
    if isinstance(expected, float):
        return isinstance(value, Real) and math.isfinite(value)
    return isinstance(value, type(expected))


def _is_tensor_like(value: Tensor, expected: Tensor) -> bool:
    is_same_kind = value.is_floating_point() == expected.is_floating_point() and not value.is_complex()
    return is_dense(value) and value.shape == expected.shape and is_same_kind
