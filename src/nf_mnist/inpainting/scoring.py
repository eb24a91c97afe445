"""Metrics of completions, image by image."""

import statistics
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.flows import Flow
from nf_mnist.hardware import time_when_done
from nf_mnist.inpainting.logits import Completions, log_prob_of_logits, to_logits

INTERVAL = (0.05, 0.95)  # quantiles at the ends of the 90% interval
MIN_DRAWS_FOR_INTERVAL = 19  # with fewer, the ends of the interval lie beyond all draws
# How the reports of batches are combined, by name; all others by their mean.
COMBINE_REPORTS: dict[str, Callable[[list[float]], float]] = {"stopped": sum, "r_hat": max}


class ScoredCompletions(NamedTuple):
    """Metrics of one method on many images.

    Attributes:
        per_image: Metrics of each image by name, shape (n_images,); see :func:`scores`.
        first: Completions of the first batch.
        report: Report of the method over all batches: the sum of ``stopped``, the largest ``r_hat``, and the mean of
            every other number.
        seconds: Time that all completions took.
    """

    per_image: dict[str, Tensor]
    first: Completions
    report: dict[str, float]
    seconds: float


def measure(
    method: Callable[..., Completions],
    flow: Flow,
    truth: Tensor,
    observed: Tensor,
    *,
    n_samples: int,
    batch_size: int,
    generator: torch.Generator,
    progress: Callable[[Any], Iterable[Any]] = iter,
) -> ScoredCompletions:
    """Complete images batch by batch and score each.

    Args:
        method: An inpainting method of this package, with its settings bound.
        flow: The flow that completes the images.
        truth: Images in [0, 1], shape (n_images, 1, height, width).
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        n_samples: Number of completions of each image.
        batch_size: Number of images in a batch.
        generator: CPU generator for the method.
        progress: Function that wraps the batches to show a progress bar.

    Returns:
        The metrics of :func:`scores` and ``log_prob_of_truth``, and the completions, report and time.
    """
    batches, reports, first, seconds = [], [], None, 0.0
    for x in progress(truth.split(batch_size)):
        begin = time_when_done(x.device)
        completions = method(flow, x, observed, n_samples=n_samples, generator=generator)
        seconds += time_when_done(x.device) - begin
        first = completions if first is None else first
        with torch.no_grad():
            of_truth = log_prob_of_logits(flow, to_logits(x))[1]
        batches.append({**scores(completions, x, observed), "log_prob_of_truth": of_truth})
        reports.append(completions.report)
    assert first is not None, "torch splits even an empty tensor into one batch"
    report = {
        name: COMBINE_REPORTS.get(name, statistics.fmean)([each[name] for each in reports]) for name in reports[0]
    }
    per_image = {name: torch.cat([batch[name] for batch in batches]).cpu() for name in batches[0]}
    return ScoredCompletions(per_image, first, report, seconds)


def scores(completions: Completions, truth: Tensor, observed: Tensor) -> dict[str, Tensor]:
    """Return metrics of each image by name, shape (batch,).

    Args:
        completions: Completions of the images.
        truth: The true images in [0, 1], shape (batch, 1, height, width).
        observed: Boolean mask of the observed pixels, shape (1, height, width).

    Returns:
        Means over the completions of an image: ``squared_error``, summed over pixels in [0, 1] (the protocol of CP3, a
        simplified Real NVP known to us only from its authors' report), and ``log_prob`` in logit space, in nats. With
        several completions also ``squared_error_of_mean``, and ``diversity``, the mean standard deviation of a hidden
        pixel. With 19 or more also ``coverage_90``, the share of hidden pixels inside the 90% interval. Its mean is 0.9
        if draws and truth have the same distribution, whatever the number of draws (quantiles of type 6 in Hyndman &
        Fan 1996: the k-th of n draws lies at k / (n + 1)).
    """
    metrics = {
        "squared_error": (completions.x - truth).square().flatten(2).sum(2).mean(0),
        "log_prob": completions.log_prob.mean(0),
    }
    hidden, true_hidden = completions.x[..., ~observed], truth[..., ~observed]
    if len(hidden) > 1:
        metrics["squared_error_of_mean"] = (completions.x.mean(0) - truth).square().flatten(1).sum(1)
        metrics["diversity"] = hidden.std(0).mean(-1)
    if len(hidden) >= MIN_DRAWS_FOR_INTERVAL:
        metrics["coverage_90"] = _is_inside(hidden, true_hidden).to(truth).mean(-1)
    return metrics


def _is_inside(draws: Tensor, truth: Tensor) -> Tensor:
    """Return where ``truth`` lies inside the central interval of ``draws``, whose first axis is the draws."""
    n = len(draws)
    positions = ((n + 1) * torch.tensor(INTERVAL).to(draws) - 1) / (n - 1)  # torch puts the k-th at (k - 1) / (n - 1)
    low, high = torch.quantile(draws, positions.clamp(0, 1), dim=0)
    return (truth >= low) & (truth <= high)
