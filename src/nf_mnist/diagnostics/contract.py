"""The rules that every bijector must keep. Each rule returns how a map violates it, in words, or None.

A rule takes any object with ``forward_and_log_det(x)`` and ``inverse_and_log_det(z)``, and events x of shape
(batch, *event).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.isolation import copied, seeded
from nf_mnist.diagnostics.messages import raised

CACHED = 1e-5  # relative change that a healthy cache of float32 may make, at most


class Invertible(Protocol):
    """What every rule needs of a map."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; return also log|det dz/dx|, shape (batch,)."""

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; return also log|det dx/dz|, shape (batch,)."""


@torch.no_grad()
def wrong_shapes(bijector: Invertible, x: Tensor) -> str | None:
    """Latents have as many elements as the data, and each event has one log-determinant."""
    z, log_det = bijector.forward_and_log_det(x)
    if z.shape[:1] != x.shape[:1] or z[0].numel() != x[0].numel():
        return f"data {tuple(x.shape)} became latents {tuple(z.shape)}: another number of dimensions"
    if log_det.shape != (len(x),):
        return f"the log-determinant has shape {tuple(log_det.shape)}, not ({len(x)},): sum it over the event"
    back, log_det = bijector.inverse_and_log_det(z)
    if back.shape != x.shape:
        return f"the inverse returns {tuple(back.shape)} for data {tuple(x.shape)}"
    if log_det.shape != (len(x),):
        return f"the inverse's log-determinant has shape {tuple(log_det.shape)}, not ({len(x)},)"
    return None


@torch.no_grad()
def not_finite(bijector: Invertible, x: Tensor) -> str | None:
    """Latents of data, what they decode to, and both log-determinants are finite."""
    z, log_det = bijector.forward_and_log_det(x)
    wrong = _shares_not_finite({"latents": z, "log-determinants": log_det})
    if wrong is not None:
        return wrong
    back, log_det = bijector.inverse_and_log_det(z)
    return _shares_not_finite({"values that the inverse returns": back, "log-determinants of the inverse": log_det})


@torch.no_grad()
def wrong_dtypes(bijector: Invertible, x: Tensor) -> str | None:
    """Outputs for float64 inputs are float64."""
    z, log_det = bijector.forward_and_log_det(x)
    dtypes = {"latents": z.dtype, "log-determinants": log_det.dtype}
    wrong = [f"{name} are {dtype}" for name, dtype in dtypes.items() if dtype != x.dtype]
    return f"data are {x.dtype}, but {' and '.join(wrong)}" if wrong else None


@torch.no_grad()
def written_inputs(bijector: Invertible, x: Tensor) -> str | None:
    """A call does not change its input."""
    passed = x.clone()
    z, _ = bijector.forward_and_log_det(passed)
    if not torch.equal(passed, x):
        return "forward writes to its input"
    kept = z.clone()
    bijector.inverse_and_log_det(z)
    return None if torch.allclose(z, kept, rtol=0, atol=0, equal_nan=True) else "the inverse writes to its input"


@torch.no_grad()
def changed_state(bijector: Invertible, x: Tensor) -> str | None:
    """In evaluation mode, a call changes neither parameters nor statistics, nor anything else that later calls use.

    Random numbers are the same in each call, so that they are not taken for something that is kept.
    """
    fresh, used = copied(bijector), copied(bijector)
    before, attributes = _state(used), _attributes(used)
    try:
        z, log_det = _seeded_forward(used, x)
    except Exception:  # the rule of shapes reports it
        return None
    with contextlib.suppress(Exception):
        used.inverse_and_log_det(z.clone())
    after = _state(used)
    changed = [name for name, value in before.items() if not _same(value, after[name])]
    if changed:
        return f"a call in evaluation mode changes {', '.join(changed[:3])}"
    kept = [name for name, value in _attributes(used).items() if not _is_kept(value, attributes.get(name))]
    holder = f", which {' and '.join(kept[:3])} may hold" if kept else ""
    fails_afterwards = _fails_after_another_call(fresh, used, x)
    if fails_afterwards:
        return f"a second call {fails_afterwards}, a first one does not: something is kept from call to call{holder}"
    again, later = _seeded_forward(used, x)
    if not _same(z, again):
        return f"a second call returns other latents than the first: something is kept from call to call{holder}"
    if log_det.shape == later.shape and not _same(log_det, later):
        return f"log-determinants of a second call {_growth(log_det, later)}: something is kept{holder}"
    return None


@torch.no_grad()
def random_output(bijector: Invertible, x: Tensor) -> str | None:
    """The same input always gives the same latents, and the same latents the same data.

    A log-determinant may be an estimate. Other checks then compare its mean.
    """
    z, other_z = (bijector.forward_and_log_det(x)[0] for _ in range(2))
    if not _same(z, other_z):
        return "two calls with the same data differ: something is drawn at random"
    back, other = (bijector.inverse_and_log_det(z)[0] for _ in range(2))
    return None if _same(back, other) else "two inverses of the same latents differ: latents are drawn anew"


@torch.no_grad()
def kept_values(bijector: Invertible, x: Tensor) -> str | None:
    """A call does not depend on earlier calls: it uses no cache of another input."""
    other = x.flip(0)
    z, log_det = bijector.forward_and_log_det(x)
    back, back_log_det = bijector.inverse_and_log_det(z)
    other_z, _ = bijector.forward_and_log_det(other)
    after, after_log_det = bijector.inverse_and_log_det(z)
    if not _same(back, after) or not _same(back_log_det, after_log_det):
        return "the inverse depends on which data were last mapped forward: it uses what that call left in a cache"
    bijector.inverse_and_log_det(other_z)
    after, after_log_det = bijector.forward_and_log_det(x)
    if not _same(z, after) or not _same(log_det, after_log_det):
        return "forward depends on the call before it: it uses what that call left in a cache"
    return None


@torch.no_grad()
def mixed_batch(bijector: Invertible, x: Tensor, tolerance: float | None = None) -> str | None:
    """An event is mapped in the same way alone and in a batch, up to the error of a solver."""
    z, log_det = copied(bijector).forward_and_log_det(x)
    try:
        alone, its_log_det = copied(bijector).forward_and_log_det(x[:1])
    except Exception as error:  # a user's flow may fail in any way
        return f"one event alone {raised(error)}, while {len(x)} events do not: batch statistics in evaluation mode"
    tolerance = tolerance or 1e3 * torch.finfo(x.dtype).eps
    if (z[:1] - alone).abs().max() > tolerance * (1 + z[:1].abs().max()):
        return "latents depend on the rest of the batch: batch statistics in evaluation mode"
    if (log_det[:1] - its_log_det).abs().max() > tolerance * (1 + log_det[:1].abs().max()):
        return "log-determinants depend on the rest of the batch: averaged over it, or of batch statistics"
    return None


@torch.no_grad()
def unequal_log_dets(bijector: Invertible, x: Tensor) -> str | None:
    """The log-determinants of the two directions are negatives of each other."""
    z, log_det = bijector.forward_and_log_det(x)
    _, back = bijector.inverse_and_log_det(z)
    difference = (log_det + back).abs().max().item()
    scale = 1 + log_det.abs().max().item()
    if difference > 1e4 * torch.finfo(x.dtype).eps * scale:
        return f"forward and inverse log-determinants add up to {difference:.3g}, not 0"
    return None


Rule = Callable[[Any, Tensor], str | None]

RULES: dict[str, Rule] = {
    "state is left alone": changed_state,
    "shapes": wrong_shapes,
    "values are finite": not_finite,
    "dtypes": wrong_dtypes,
    "inputs are left alone": written_inputs,
    "same input, same output": random_output,
    "calls are independent": kept_values,
    "events do not mix": mixed_batch,
    "log-determinants of both directions": unequal_log_dets,
}


def violations(bijector: Invertible, x: Tensor) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each rule and how the map violates it, or None. An exception is a violation, too.

    Args:
        bijector: The map, in evaluation mode and in the precision of x.
        x: Two or more events, shape (batch, *event).
    """
    for name, violation in RULES.items():
        try:
            yield name, violation(bijector, x)
        except Exception as error:  # a user's flow may fail in any way, and the other rules must still be tried
            yield name, raised(error)


def _same(one: Tensor, other: Tensor) -> bool:
    """Return whether tensors are equal but for what a cache in float32 may change; NaN equals NaN."""
    if one.shape != other.shape or not (one.is_floating_point() and other.is_floating_point()):
        return one.shape == other.shape and torch.equal(one, other)
    finite = one[one.isfinite()].abs()
    tolerance = CACHED * (finite.max().item() if finite.numel() else 0.0)
    return torch.allclose(one.double(), other.double(), rtol=0, atol=tolerance, equal_nan=True)


def _seeded_forward(bijector: Invertible, x: Tensor) -> tuple[Tensor, Tensor]:
    with seeded(0):
        return bijector.forward_and_log_det(x.clone())


def _state(bijector: Invertible) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in bijector.state_dict().items()} if _is_module(bijector) else {}


def _attributes(bijector: Invertible) -> dict[str, Any]:
    """Return tensors and numbers that modules hold beside parameters and buffers, by name; tensors are copied."""
    found: dict[str, Any] = {}
    for name, module in bijector.named_modules() if _is_module(bijector) else [("", bijector)]:
        for key, value in vars(module).items() if hasattr(module, "__dict__") else ():
            if isinstance(value, Tensor | int | float):
                full_name = f"{name}.{key}".removeprefix(".").removeprefix("bijector.").removeprefix("inner.")
                found[full_name] = value.detach().clone() if isinstance(value, Tensor) else value
    return found


def _is_kept(value: Any, earlier: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(earlier, Tensor):
        return _same(value, earlier)
    return type(value) is type(earlier) and value == earlier


def _is_module(bijector: Any) -> TypeGuard[nn.Module]:
    return isinstance(bijector, nn.Module)


def _fails_after_another_call(fresh: Invertible, used: Invertible, x: Tensor) -> str:
    """Say how a call on one event fails after a call on several; empty if it does not, or fails anyway."""
    try:
        _seeded_forward(fresh, x[:1])
    except Exception:  # the rule of shapes reports it
        return ""
    try:
        _seeded_forward(copied(used), x[:1])
    except Exception as error:  # a user's flow may fail in any way
        return raised(error)
    return ""


def _growth(first: Tensor, second: Tensor) -> str:
    if torch.allclose(second, 2 * first, rtol=1e-3):
        return "are twice those of the first, so they add up from call to call"
    return "differ from those of the first"


def _shares_not_finite(values: dict[str, Tensor]) -> str | None:
    """Say which share of the named values is not finite; None if all are finite."""
    shares = {name: 1 - part.isfinite().double().mean().item() for name, part in values.items()}
    wrong = [f"{share:.2g} of the {name}" for name, share in shares.items() if share]
    return f"{' and '.join(wrong)} are not finite" if wrong else None
