"""Checks of how layers are put together: flows that are valid, and weaker than they were meant to be."""

import math
from collections import defaultdict

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.access.layers import innermost_layers
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.checks.map import inverse_undoes_forward
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.flows import Flow

N_ROWS, CHUNK = 196, 49  # rows of the Jacobian that are looked at, and at a time
LARGEST_SHARE = 0.3  # of the dimensions that may depend on one pixel
MOST_OF_A_MASK = 0.8  # of the dimensions; a mask for all layers leaves 1/2 out, or 3/4 if it is one of four
N_HALVES = 16  # of the pixels; they are replaced by noise
ROUNDING = 1e-9  # of a latent in float64
EDGE = 1e-6  # distance of a sample from 0 and 1, where a logit is infinite


@check(
    "dimensions of z depend on each other's pixels",
    unit="of the dimensions depend on one pixel only",
    warn=LARGEST_SHARE,
    fail=math.inf,
    cause="these dimensions are never transformed by a coupling: masks do not alternate, or nothing permutes between",
    remedy="exchange the mask and its complement from coupling to coupling, or permute between couplings",
    needs=(*SOUND, inverse_undoes_forward),
)
def dimensions_depend_on_others(task: DiagnosisTask) -> Measurement:
    """The share of dimensions of z that depend on one pixel only, of up to 196 that are looked at.

    The first dimension of an autoregression is one. Couplings that transform a random half leave 1/4 out if there are
    two, and 1/8 if there are three; one mask for all leaves 1/2 out. A dimension counts if its gradient has one pixel
    at an image and at a sample, since splines leave values beyond their bounds as they are, and if noise in the place
    of other pixels does not change it: networks that see grey levels have no gradient. The weights of an untrained
    flow are moved off their initial values, of which couplings may be the identity. If nearly all dimensions are alone,
    masks are not the reason, which leave only a part out: the networks do nothing yet.
    """
    flow, few = copied(task.variants[-1]), task.precise[1].first(1)
    dims, rows = task.flow.dims, torch.randperm(task.flow.dims, generator=torch.Generator().manual_seed(0))[:N_ROWS]
    gradients = _gradients(flow, few.x, few.context, rows)
    alone = _has_one_pixel(gradients)
    if alone.double().mean() > LARGEST_SHARE:
        sample = task.samples.x[:1].to(few.x).clamp(EDGE, 1 - EDGE)
        alone &= _has_one_pixel(_gradients(flow, sample, few.context, rows))
        alone &= ~_follows_others(flow, few.x, few.context, rows, gradients.abs().argmax(1))
    share = alone.double().mean().item()
    if share > MOST_OF_A_MASK:
        raise NotMeasured(f"{share:.0%} of the dimensions depend on one pixel each: the networks do nothing yet")
    return Measurement(share, f"{round(share * dims)} of {dims} dimensions of z depend on one pixel each")


@check(
    "couplings have networks of their own",
    unit="shared modules",
    warn=0.0,
    fail=math.inf,
    cause="several layers hold the same network, as if it was built once and passed to all, or a layer was repeated by "
    "[layer] * n. If that is on purpose, nothing is wrong",
    remedy="build a network for each layer, within the loop",
    needs=SOUND,
)
def couplings_have_their_own_networks(task: DiagnosisTask) -> Measurement:
    """The number of parameters that belong to more than one of the innermost layers that data pass through."""
    few = task.batch.first(2)
    layers = innermost_layers(task.flow, few)
    if len(layers) < 2:
        raise NotMeasured("there are no layers to compare")
    owners: dict[Tensor, dict[int, str]] = defaultdict(dict)
    for reached in layers:
        for name, value in reached.layer.named_parameters():
            owners[value][id(reached.layer)] = f"{reached.name}.{name}"
    shared = [[*names.values()] for names in owners.values() if len(names) > 1]
    if not shared:
        return Measurement(0.0, "each layer has its own")
    text = f"{len(shared)} parameters belong to several layers: {shared[0][0]} is {shared[0][1]}, and so on"
    return Measurement(float(len(shared)), text)


def _has_one_pixel(gradients: Tensor) -> Tensor:
    """Return which rows of gradients, shape (n_rows, dims), have exactly one element."""
    return (gradients != 0).sum(1).eq(1)


def _gradients(flow: Flow, x: Tensor, context: Tensor | None, rows: Tensor) -> Tensor:
    """Return the gradients of dimensions of z by the pixels of one event, shape (n_rows, dims)."""
    return torch.cat([_gradient_of_rows(flow, x, context, part).flatten(1) for part in rows.split(CHUNK)])


@torch.no_grad()
def _follows_others(flow: Flow, x: Tensor, context: Tensor | None, rows: Tensor, own: Tensor) -> Tensor:
    """Return which dimensions of z change when pixels besides their own are replaced by noise, shape (n_rows,).

    Random halves of the pixels are replaced, so that a pixel is almost surely among the kept ones several times. Those
    of another image would not do: around a pixel both may be black.
    """
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(N_HALVES, x[0].numel(), generator=generator).to(x.device) < 0.5
    noise = torch.rand(N_HALVES, x[0].numel(), generator=generator).to(x)
    mixed = torch.where(kept, x.flatten(1), noise).reshape(-1, *x.shape[1:])
    events = torch.cat([x, mixed])
    given = None if context is None else context.expand(len(events), *context.shape[1:])
    latents = flow.bijector.forward_and_log_det(events, given)[0].flatten(1)[:, rows.to(x.device)]
    return ((latents[1:] - latents[:1]).abs().gt(ROUNDING) & kept[:, own]).any(0)


def _gradient_of_rows(flow: Flow, x: Tensor, context: Tensor | None, rows: Tensor) -> Tensor:
    """Return the gradients of some dimensions of z by the pixels of one event, shape (n, *event)."""
    n = len(rows)
    copies = x.expand(n, *x.shape[1:]).clone().requires_grad_()
    given = None if context is None else context.expand(n, *context.shape[1:])
    with torch.enable_grad():
        z, _ = flow.bijector.forward_and_log_det(copies, given)
        chosen = z.flatten(1)[torch.arange(n), rows.to(z.device)].sum()
    if not chosen.requires_grad:
        raise NotMeasured("autograd sees nothing of this map")
    (gradient,) = torch.autograd.grad(chosen, copies)
    return gradient


STRUCTURE = (dimensions_depend_on_others, couplings_have_their_own_networks)
