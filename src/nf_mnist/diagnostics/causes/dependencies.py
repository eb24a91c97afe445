"""Which elements of a map depend on which others, and whether they do so in an order."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.causes.experiments import MANY, network_calls


def sees_itself(bijector: Invertible, x: Tensor, jacobian: Tensor) -> bool:
    """Return whether elements that are transformed see what they must not: themselves, or one another in a circle.

    The log-determinant of a coupling or of an autoregression is a sum over elements, which is right only if each one is
    transformed given others, and none by way of others given itself. Where the others form no circle, an element that
    sees itself makes both the log-determinant and the inverse wrong. The log-determinant is wrong in either case.

    Args:
        bijector: The map, which breaks a rule.
        x: One event, shape (1, *event).
        jacobian: Its Jacobian, shape (dims, dims).
    """
    depends = _dependencies(jacobian)
    passes = (jacobian.diagonal() == 1) & ~depends.any(1)
    if not depends.any() or passes.all():
        return False
    if not has_wrong_log_det(bijector, x, jacobian):
        return False
    if depend_in_a_circle(jacobian):  # a map without an element that passes and without an order may be of another kind
        return bool(passes.any()) or _is_mostly_ordered(depends)
    with torch.no_grad():
        back, _ = bijector.inverse_and_log_det(bijector.forward_and_log_det(x)[0])
    return bool((back.reshape(x.shape) - x).abs().max() > 1e-6)


@torch.no_grad()
def has_wrong_log_det(bijector: Invertible, x: Tensor, jacobian: Tensor) -> bool:
    """Return whether the log-determinant of an event is not that of its Jacobian; False for estimates.

    Args:
        bijector: The map.
        x: One event, shape (1, *event).
        jacobian: Its Jacobian, shape (dims, dims).
    """
    claimed, again = (bijector.forward_and_log_det(x)[1].sum().item() for _ in range(2))
    exact = torch.linalg.slogdet(jacobian).logabsdet.item()
    return claimed == again and abs(claimed - exact) > 1e-6


def _is_mostly_ordered(depends: Tensor) -> bool:
    """Return whether most elements that depend on another one do so in one direction only, as in an autoregression."""
    return bool((depends ^ depends.T).sum() > 0.5 * (depends | depends.T).sum())


def _dependencies(jacobian: Tensor) -> Tensor:
    """Return which other elements each one depends on, shape (dims, dims); row i is of element i."""
    size = jacobian.abs()
    return (size > 1e-12 * size.max()) & ~torch.eye(len(size), dtype=torch.bool, device=size.device)


def depend_in_a_circle(jacobian: Tensor) -> bool:
    """Return whether an element depends on itself by way of others. A map that computes in an order has none."""
    return passes_needed(jacobian) is None


@torch.no_grad()
def passes_that_are_right(bijector: Invertible, x: Tensor, jacobian: Tensor) -> int:
    """Return after how many passes the inverse of an autoregression stops, if that is too early; 0 otherwise.

    Elements that depend on no other one are known after one pass, those that depend on these after two, and so on. An
    inverse that stops too early returns what needs more passes than it takes wrongly. One that goes through the
    elements in another order may do so, too, but it takes many passes.

    Args:
        bijector: The map.
        x: One event, shape (1, *event), that does not come back.
        jacobian: Its Jacobian, shape (dims, dims).
    """
    needed = passes_needed(jacobian)
    if needed is None or needed.max() < MANY:
        return 0
    z, _ = bijector.forward_and_log_det(x)
    off = (bijector.inverse_and_log_det(z)[0].flatten() - x.flatten()).abs()
    is_wrong = off > 1e-9 * (1 + x.abs().max())
    n_right = int(needed[is_wrong].min()) - 1 if is_wrong.any() else 0
    n_calls = network_calls(bijector, z, is_inverse=True)
    is_early = n_right <= n_calls <= n_right + 1 and is_wrong[needed > n_right].double().mean() > 0.5
    return n_right if is_early else 0


def passes_needed(jacobian: Tensor) -> Tensor | None:
    """Return after how many passes each element of an autoregression is known, shape (dims,); None without an order."""
    depends = _dependencies(jacobian)
    needed = torch.zeros(len(depends), dtype=torch.long, device=depends.device)
    for n in range(1, len(depends) + 1):
        is_known = (needed == 0) & ~depends[:, needed == 0].any(1)
        if not is_known.any():
            break
        needed[is_known] = n
    return None if (needed == 0).any() else needed
