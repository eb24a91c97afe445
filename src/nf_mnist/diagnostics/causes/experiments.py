"""Experiments on a map that does not keep a rule. Each finds out whether one cause explains it, and says nothing else.

All take a map with ``forward_and_log_det`` and ``inverse_and_log_det``, in float64 if it runs in it, and events that it
fails on, shape (batch, *event).
"""

import contextlib
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.access.isolation import copied, seeded_call

N_CORRECTIONS = 3
MANY = (
    3  # a solver calls a network at least as many times, or takes as many times the operations of the other direction
)
N_PARAMETERS = 40  # that are moved one by one


@torch.no_grad()
def rounding_error(bijector: Invertible, x: Tensor) -> float:
    """Return how far data move if each latent changes in its last digit: no round trip can be more exact than that.

    Random numbers are the same for both.
    """
    z, _ = bijector.forward_and_log_det(x)
    signs = torch.randint(2, z.shape, generator=torch.Generator().manual_seed(0)).to(z) * 2 - 1
    nearby = z * (1 + 2 * torch.finfo(z.dtype).eps * signs)
    (back, _), (other, _) = (seeded_call(bijector.inverse_and_log_det)(latent) for latent in (z, nearby))
    return (back - other).abs().max().item()


@torch.no_grad()
def errors_of_corrections(bijector: Invertible, x: Tensor) -> list[float]:
    """Return the error of the inverse in z, and that after each of some corrections.

    A correction adds the error to what the inverse is asked for. It shrinks the error of an inverse that is nearly
    right, such as a fixed-point iteration that stops too early.
    """
    z, _ = bijector.forward_and_log_det(x)
    asked, errors = z, []
    for _ in range(1 + N_CORRECTIONS):
        back, _ = bijector.inverse_and_log_det(asked)
        missing = z - bijector.forward_and_log_det(back.reshape(x.shape))[0]
        errors.append(missing.abs().max().item())
        asked = asked + missing
    return errors


def shrinks(errors: list[float]) -> bool:
    """Return whether each of the first two corrections at least halves the error, until it is rounding."""
    return errors[1] < 0.5 * errors[0] and errors[2] < max(0.5 * errors[1], 1e-9 * errors[0])


@torch.no_grad()
def is_solver(bijector: Invertible, x: Tensor, is_inverse: bool = True) -> bool:
    """Return whether a direction iterates: it calls one network again and again, or takes far more operations.

    Args:
        bijector: The map.
        x: Events, shape (batch, *event).
        is_inverse: Whether the inverse is asked about, and not forward.
    """
    z, _ = bijector.forward_and_log_det(x)
    if network_calls(bijector, z if is_inverse else x, is_inverse) >= MANY:
        return True
    with _Operations() as forward:
        bijector.forward_and_log_det(x)
    with _Operations() as inverse:
        bijector.inverse_and_log_det(z)
    asked, other = (inverse, forward) if is_inverse else (forward, inverse)
    return asked.n >= MANY * other.n


def is_integral(bijector: Invertible, x: Tensor) -> bool:
    """Return whether forward calls a network again and again, as the integral of an equation does."""
    return network_calls(bijector, x) >= MANY


@torch.no_grad()
def network_calls(bijector: Invertible, value: Tensor, is_inverse: bool = False) -> int:
    """Return how often the network that is called most often is called in one direction."""
    n_calls: Counter[int] = Counter()
    hooks = [
        module.register_forward_hook(lambda module, *_: n_calls.update([id(module)]))
        for module in (bijector.modules() if isinstance(bijector, nn.Module) else ())
        if any(True for _ in module.parameters())
    ]
    try:
        (bijector.inverse_and_log_det if is_inverse else bijector.forward_and_log_det)(value)
    finally:
        for hook in hooks:
            hook.remove()
    return max(n_calls.values(), default=0)


@torch.no_grad()
def one_sided_parameters(bijector: Invertible, x: Tensor) -> dict[str, str]:
    """Return the parameters that change one direction and not the other, each with the direction that it changes."""
    if not isinstance(bijector, nn.Module):
        return {}
    z, _ = bijector.forward_and_log_det(x)
    at_rest, found = _outputs(bijector, x, z), {}
    for name, _ in [*bijector.named_parameters()][:N_PARAMETERS]:
        moved = _with_moved(bijector, name).train().eval()  # which drops what layers keep of their weights on purpose
        try:
            changes = [_relative(new, old) > 1e-9 for new, old in zip(_outputs(moved, x, z), at_rest, strict=True)]
        except Exception:  # a user's layer may fail in any way
            continue
        if changes == [True, False]:
            found[name.removeprefix("owner.")] = "forward"
        elif changes == [False, True]:
            found[name.removeprefix("owner.")] = "inverse"
    return found


def first_operation_not_finite(bijector: Invertible, x: Tensor) -> "Operation | None":
    """Return the first operation that makes a number that is not finite of finite ones; None if there is none."""
    with torch.no_grad(), contextlib.suppress(Exception), _Domains() as found:
        z, _ = bijector.forward_and_log_det(x)
        bijector.inverse_and_log_det(z)
    return found.first


class Operation(NamedTuple):
    """An operation of torch, and the range of the numbers that it was given."""

    name: str
    least: float
    largest: float


class _Domains(TorchDispatchMode):
    """Remembers the first operation within its context whose result is not finite though its arguments are."""

    first: Operation | None = None

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if self.first is None and isinstance(result, Tensor) and result.is_floating_point():
            given = [value for value in args if isinstance(value, Tensor) and value.is_floating_point()]
            name = function.__name__.partition(".")[0]
            is_new = not name.startswith(("empty", "new_empty", "full", "new_full"))
            if given and is_new and not result.isfinite().all() and all(value.isfinite().all() for value in given):
                last = given[-1] if name == "div" else given[0]
                self.first = Operation(name, last.min().item(), last.max().item())
        return result


class _Operations(TorchDispatchMode):
    """Counts the operations of torch within its context."""

    n = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += 1
        return function(*args, **(kwargs or {}))


def _outputs(bijector: Invertible, x: Tensor, z: Tensor) -> list[Tensor]:
    return [seeded_call(bijector.forward_and_log_det)(x)[0], seeded_call(bijector.inverse_and_log_det)(z)[0]]


def _with_moved(bijector: nn.Module, name: str) -> Any:
    moved = copied(bijector)
    value = moved.get_parameter(name)
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(0)).to(value)
    value.add_(1e-3 * noise * (value.abs() + value.square().mean().sqrt() + 1e-3))
    return moved


def _relative(one: Tensor, other: Tensor) -> float:
    return ((one - other).abs().max() / (other.abs().max() + 1e-12)).item()
