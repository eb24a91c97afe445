"""Why values are not finite or far too large: the first cause that an experiment shows."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.access.layers import ReachedLayer, WithContext
from nf_mnist.diagnostics.causes.experiments import first_operation_not_finite
from nf_mnist.diagnostics.measures.contract import not_finite
from nf_mnist.diagnostics.measures.moved_weights import tamed
from nf_mnist.diagnostics.task import DiagnosisTask


class Cause(NamedTuple):
    """A cause that an experiment has shown, and what to do about it."""

    text: str
    remedy: str


SHARE = 0.01  # of the latents of dithered images that those of bare levels reach if a flow was trained on these
N_LOOKED_AT = 32  # images
BACK = "go back to an earlier checkpoint, then a lower learning rate, gradients that are clipped, and bounded scales"


def cause_of_values_not_finite(task: DiagnosisTask, reached: ReachedLayer | None) -> Cause | None:
    """Return why latents, decoded images or log-determinants are not finite; None if no experiment shows it.

    Args:
        task: The flow and its images.
        reached: The first layer that returns such values, and what reaches it; None if no single one does.
    """
    wrong = [name for name, value in task.flow.named_parameters() if not value.isfinite().all()]
    if wrong:
        return Cause(f"the training diverged: {len(wrong)} parameters are NaN or infinite, such as {wrong[0]}", BACK)
    flow, few = task.precise
    whole = WithContext(copied(flow.bijector), few.context)
    operation = first_operation_not_finite(*((whole, few.x) if reached is None else (reached.map, reached.x)))
    if operation is not None and operation.name in ("log", "log2", "log10", "sqrt") and operation.least <= 0:
        what = {"sqrt": "a square root"}.get(operation.name, "a logarithm")
        if operation.least == 0:
            return Cause(f"{what} is taken of 0", "keep its argument away from 0")
        if _is_finite_forwards(whole, few.x):
            return Cause(
                f"the inverse does not undo forward: {what} is taken of a negative number, {operation.least:.3g}, "
                "where it decodes latents of images, and forward is fine",
                "let both directions call one function for their parameters, and compare them step by step",
            )
        return Cause(
            f"{what} is taken of a negative number, {operation.least:.3g}. If it is a determinant, the map turns space "
            "over, which is allowed, and the log-determinant is that of the absolute value",
            "torch.linalg.slogdet(matrix).logabsdet, or log(abs(det))",
        )
    if operation is not None and operation.name == "div" and operation.least <= 0 <= operation.largest:
        return Cause("a number is divided by 0", "bound the divisor away from 0")
    how = "" if operation is None else f" in {operation.name} of numbers up to {operation.largest:.3g}"
    if is_fine_when_tamed(task):
        return Cause(
            f"numbers overflow{how}, as after divergence: {_largest(task)}. With small weights all is finite", BACK
        )
    return Cause(f"numbers overflow{how}, with small weights, too", "look at this operation") if how else None


@torch.no_grad()
def _is_finite_forwards(bijector: WithContext, x: Tensor) -> bool:
    z, log_det = bijector.forward_and_log_det(x)
    return bool(z.isfinite().all() and log_det.isfinite().all())


def cause_of_large_values(task: DiagnosisTask, largest: float) -> Cause | None:
    """Return why latents are huge; None if they are huge with small weights, too.

    Args:
        task: The flow and its images.
        largest: What :func:`largest_latent` returns for the images as they are.
    """
    if bare := cause_in_bare_levels(task, largest):
        return bare
    if task.weights.is_empty or not is_fine_when_tamed(task):
        return None
    return Cause(f"the training diverged, or scales ran away: {_largest(task)}. With small weights z is small", BACK)


def cause_in_bare_levels(task: DiagnosisTask, largest: float) -> Cause | None:
    """Return that the flow was trained on levels without noise, if latents of such are far smaller; None otherwise.

    Args:
        task: The flow and its images.
        largest: What :func:`largest_latent` returns for the images as they are.
    """
    levels = task.batch.first(N_LOOKED_AT).levels
    undithered = min(largest_latent(task, x) for x in (levels / 255, levels / 256, (levels + 0.5) / 256))
    if undithered >= SHARE * largest:
        return None
    return Cause(
        "the flow was trained on grey levels without noise, and its density sits on them: without dither latents "
        f"reach {undithered:.3g} only, with it {largest:.3g}",
        "train on dithered images, x = (v + u) / 256 with u in (0, 1)",
    )


@torch.no_grad()
def is_fine_when_tamed(task: DiagnosisTask) -> bool:
    """Return whether the same flow with small weights keeps all values finite and of ordinary size."""
    flow, few = task.precise
    bijector = WithContext(tamed(flow.bijector), few.context)
    try:
        if not_finite(bijector, few.x) is not None:
            return False
        return bool(bijector.forward_and_log_det(few.x)[0].abs().max() < 1e4)
    except Exception:  # a user's flow may fail in any way
        return False


@torch.no_grad()
def largest_latent(task: DiagnosisTask, x: Tensor | None = None) -> float:
    """Return the largest latent of an image, the median over some images; infinite if it is not finite.

    Args:
        task: The flow and its images.
        x: Other data in place of the same images, or None.
    """
    few = task.batch.first(N_LOOKED_AT)
    z, _ = copied(task.flow).bijector.forward_and_log_det(few.x if x is None else x.to(few.x), few.context)
    largest = z.flatten(1).abs().amax(1).double().median().item()
    return largest if math.isfinite(largest) else math.inf


def _largest(task: DiagnosisTask) -> str:
    name, value = max(task.flow.named_parameters(), key=lambda pair: pair[1].abs().max().item())
    return f"the largest weight is {value.abs().max().item():.3g}, in {name.removeprefix('bijector.')}"
