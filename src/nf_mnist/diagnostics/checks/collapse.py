"""Checks of the latents that come back: none if they have collapsed, or if the inverse clips or saturates."""

import torch

from nf_mnist.diagnostics.access.layers import WithContext, innermost_layers
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.causes.experiments import is_integral
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.checks.log_det import log_det_is_that_of_the_jacobian
from nf_mnist.diagnostics.checks.map import inverse_undoes_forward
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics.latents import radius

NARROW = 0.3  # of the norm of the prior
CONTRACTED = 1.0  # nats per dimension by which layers contract


@check(
    "latents have not collapsed",
    unit="nats per dimension too narrow",
    warn=0.0,
    fail=0.0,
    cause="latents have collapsed towards the mean of the prior: training counted the log-determinant too little or "
    "not at all, so that it paid to shrink them",
    remedy="minimise -(base.log_prob(z) + log_det), both summed over the event, and train anew",
    needs=(*SOUND, log_det_is_that_of_the_jacobian),
)
def latents_have_not_collapsed(task: DiagnosisTask) -> Measurement:
    """By how much layers contract, if that leaves latents with less than 0.3 of the norm of the prior.

    No training that counts the log-determinant contracts latents below the prior. Latents of a flow that does not
    contract may be narrow, since training has not stretched them yet.
    """
    if task.is_untrained:
        raise NotMeasured("the flow is not trained")
    few = task.batch.first(task.batch_size)
    ratio = radius(task.prior.standardized(task.flow.encode(few.x, few.context).detach())).mean / task.prior.norm.mean
    text = f"the norm of z is {ratio:.3g} of that of the prior"
    if not ratio < NARROW:
        return Measurement(0.0, text)
    contraction = 0.0
    with torch.no_grad():
        for layer in innermost_layers(task.flow, few):
            log_det = layer.map.forward_and_log_det(layer.x)[1]
            contraction += max(-log_det.mean().item() / task.flow.dims, 0.0)
    text += f", after layers that contract by {contraction:.3g} nats per dimension"
    return Measurement(contraction if contraction > CONTRACTED else 0.0, text)


@check(
    "forward undoes inverse",
    unit="of the latents do not come back",
    warn=0.01,
    fail=0.1,
    cause="different latents become one image: the inverse clips or rounds what it decodes, or samples lie so far out "
    "that a sigmoid of them is 0 or 1, as early in training",
    remedy="return what the formula gives from the inverse, and clip images only when they are shown; or train longer",
    needs=(*SOUND, inverse_undoes_forward, latents_have_not_collapsed),
)
def forward_undoes_inverse(task: DiagnosisTask) -> Measurement:
    """The share of latents, drawn from the prior, that come back with an error above 0.01 in float64; 0.1 by a solver.

    It is not exactly 0 even for healthy flows: near 1, the grid of float64 is too coarse for a few saturated pixels.
    """
    flow, few = task.precise
    z = flow.base.sample(len(few.x), torch.Generator().manual_seed(task.seed)).to(few.x)
    x, _ = flow.bijector.inverse_and_log_det(z, few.context)
    back, _ = flow.bijector.forward_and_log_det(x, few.context)
    tolerance = 0.1 if is_integral(WithContext(flow.bijector, few.context), few.x) else 0.01
    size = (~((back - z).abs() <= tolerance)).double().mean().item()
    text = f"{size:.3g} of the latents do not come back"
    ends = [end.item() for end in (x.min(), x.max())]
    piled = sum(((x - end).abs() <= 1e-9).double().mean().item() for end in ends)
    if size <= 0.01 or piled * x.numel() < 3:
        return Measurement(size, text)
    text += f"; {piled:.2g} of the decoded values are {ends[0]:.4g} or {ends[1]:.4g}"
    if 0.0 in ends:
        cause = "the inverse clips what it decodes, so that different latents become one image"
        return Measurement(size, text, cause, "clip images when they are shown, and not in the inverse")
    cause = "samples lie so far out that a sigmoid of them is 0 or 1, as early in training or after divergence"
    return Measurement(size, text, cause, "train longer")


COLLAPSE = (latents_have_not_collapsed, forward_undoes_inverse)
