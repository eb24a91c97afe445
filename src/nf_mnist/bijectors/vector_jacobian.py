"""Products of vectors with the Jacobian of a function, from one backward pass each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PullBack = Callable[[Tensor], tuple[Tensor]]


def vector_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, PullBack]:
    """Return f(x), and a function from a tensor u of its shape to the product of u with the Jacobian of f at x.

    Args:
        function: Maps events, shape (batch, *event), to events of the same shape.
        x: The events.
    """
    found: Any = torch.func.vjp(function, x)  # its type has three parts, of which one comes with has_aux only
    return found
