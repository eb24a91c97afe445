"""The check that forward runs from data to latent, and not the other way round."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.access.layers import WithContext
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics import bits_per_dim
from nf_mnist.metrics.latents import radius

FAR = 3.0  # standard deviation of inputs that are no images
MARGIN = 0.1  # by which a decoder with a margin of its own may leave the unit interval
N_SCORED = 32


@check(
    "forward runs from data to latent",
    unit="",
    warn=0.0,
    fail=0.0,
    cause="the directions are swapped: forward decodes, and inverse encodes, as some libraries name them",
    remedy="exchange forward_and_log_det and inverse_and_log_det",
    needs=(),
)
def forward_runs_from_data_to_latent(task: DiagnosisTask) -> Measurement:
    """Forward must not map whatever it is given to the unit interval, nor inverse explain images where it does not.

    To explain means to map images to the norm of the prior within 20% and to possible bits.
    """
    flow, few = task.precise
    bijector = WithContext(copied(flow.bijector), few.context)
    try:
        z, _ = bijector.forward_and_log_det(few.x.clone())
        far = FAR * torch.randn(few.x.shape, generator=torch.Generator().manual_seed(0)).to(few.x)
        of_far, _ = bijector.forward_and_log_det(far)
        of_images, _ = bijector.inverse_and_log_det(few.x.reshape(z.shape))
    except Exception as error:  # the check of shapes reports it
        raise NotMeasured("a direction fails, as other checks say") from error
    if _is_in_unit_interval(of_far) and not _is_in_unit_interval(of_images):
        return Measurement(1.0, "forward maps numbers far outside of [0, 1] into it, and inverse maps images out of it")
    if _inverse_explains(task):
        return Measurement(1.0, "images have the norm of the prior and possible bits under inverse, not under forward")
    return Measurement(0.0, "holds")


def _is_in_unit_interval(values: Tensor) -> bool:
    return bool(((values > -MARGIN) & (values < 1 + MARGIN)).all())


@torch.no_grad()
def _inverse_explains(task: DiagnosisTask) -> bool:
    """Return whether images are likely under the inverse as the map from data to latent, and not under forward."""
    few, bijector = task.batch.first(N_SCORED), WithContext(copied(task.flow.bijector), task.batch.context)
    z, log_det = bijector.forward_and_log_det(few.x.clone())
    if _explains(task, few, z, log_det):
        return False
    return _explains(task, few, *bijector.inverse_and_log_det(few.x.reshape(z.shape)))


def _explains(task: DiagnosisTask, few: Batch, z: Tensor, log_det: Tensor) -> bool:
    z = z.flatten(1)
    if log_det.shape != (len(few.x),):  # the check of shapes reports it
        return False
    bits = bits_per_dim(task.flow.base.log_prob(z) + log_det, few.log_q, task.flow.dims).mean().item()
    ratio = radius(task.prior.standardized(z)).mean / task.prior.norm.mean
    return 0 < bits < 8 and 0.8 < ratio < 1.2


DIRECTIONS = (forward_runs_from_data_to_latent,)
