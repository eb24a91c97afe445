"""The pictures of a report."""

from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from torch import Tensor

from nf_mnist.diagnostics.measures.behaviour import noise_drop
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics import moments, random_projection
from nf_mnist.plots import curve, image_grid, moment_maps, png, projection_scatter, radius_histogram

N_IMAGES = 16
NOISE_SCALES = (1e-5, 1e-4, 0.1 / 256, 1e-3, 1 / 256, 0.01, 0.03, 0.1)


def report_pictures(task: DiagnosisTask) -> dict[str, bytes]:
    """Return the pictures of a report as PNG files by title, without those for which the flow is too broken."""
    views: dict[str, Callable[[DiagnosisTask], Figure | Tensor]] = {
        "Norm of z against the prior's": _norms,
        "Mean and deviation of each dimension of z": _moments,
        "Samples": _samples,
        "Images, and what comes back of them": _round_trips,
        "How fast log p falls with noise": _sensitivity,
        "z on a random plane": _projection,
    }
    drawn = {}
    for title, draw in views.items():
        try:
            drawn[title] = png(draw(task))
        except Exception:  # a user's flow may fail in any way, which the results describe
            continue
    return drawn


def _norms(task: DiagnosisTask) -> Figure:
    return radius_histogram(task.scores.z)


def _moments(task: DiagnosisTask) -> Figure:
    return moment_maps(*moments(task.scores.z))


def _samples(task: DiagnosisTask) -> Tensor:
    return image_grid(task.samples.x)


@torch.no_grad()
def _round_trips(task: DiagnosisTask) -> Tensor:
    """Draw images above what they become in latent space and back."""
    few = task.batch.first(N_IMAGES)
    back = task.flow.decode(task.flow.encode(few.x, few.context), few.context)
    return image_grid(torch.cat([few.x, back]), columns=len(few.x))


def _sensitivity(task: DiagnosisTask) -> Figure:
    few = task.batch.first(N_IMAGES)
    drop = noise_drop(task.flow, few.x, NOISE_SCALES, task.seed, few.context)
    return curve(drop.scales, drop.nats_per_dim, "deviation of the noise in x", "fall of log p, nats per dimension")


def _projection(task: DiagnosisTask) -> Figure:
    return projection_scatter(random_projection(task.scores.z, task.seed))
