"""How good completions are, image by image."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import Completions, log_prob_of_logits, to_logits

INTERVAL = (0.05, 0.95)
N_FOR_INTERVAL = 19  # draws that its ends lie within
OVERALL: dict[str, Callable[[list[float]], float]] = {"stopped": sum, "r_hat": max}  # of batches; of all else the mean


class ScoredCompletions(NamedTuple):
    """A method measured on many images.

    Attributes:
        metrics: Of each image, shape (n_images,); see :func:`scores`.
        first: The completions of the first batch.
        report: What the method says over all batches: the sum of what was ``stopped``, the largest ``r_hat``, and
            the mean of the rest.
        seconds: For all images.
    """

    metrics: dict[str, Tensor]
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
        method: One of this package, its settings given.
        flow: The density.
        truth: Images in [0, 1], shape (n_images, 1, height, width).
        observed: Which pixels are given, shape (1, height, width).
        n_samples: Completions of each image.
        batch_size: Images in a batch.
        generator: Of whatever the method draws, on the CPU.
        progress: Wraps the batches, to show a bar.

    Returns:
        Metrics as :func:`scores` has them, and ``log_prob_of_truth``; completions, report and time.
    """
    batches, reports, first, seconds = [], [], None, 0.0
    for x in progress(truth.split(batch_size)):
        begin = _time_when_done(x.device)
        found = method(flow, x, observed, n_samples=n_samples, generator=generator)
        seconds += _time_when_done(x.device) - begin
        first = found if first is None else first
        with torch.no_grad():
            of_truth = log_prob_of_logits(flow, to_logits(x))[1]
        batches.append({**scores(found, x, observed), "log_prob_of_truth": of_truth})
        reports.append(found.report)
    assert first is not None, "torch splits even an empty tensor into one batch"
    report = {name: OVERALL.get(name, statistics.fmean)([part[name] for part in reports]) for name in reports[0]}
    metrics = {name: torch.cat([part[name] for part in batches]).cpu() for name in batches[0]}
    return ScoredCompletions(metrics, first, report, seconds)


def scores(found: Completions, truth: Tensor, observed: Tensor) -> dict[str, Tensor]:
    """Return metrics per image, each of shape (batch,).

    Args:
        found: Completions of the images.
        truth: The images themselves, in [0, 1], shape (batch, 1, height, width).
        observed: Which pixels were given, shape (1, height, width).

    Returns:
        ``squared_error`` of one completion, summed over pixels in [0, 1] (CP3's protocol), and its ``log_prob`` in
        logit space, in nats; of several completions both are means over them. Of several also
        ``squared_error_of_mean``; ``diversity``, the mean standard deviation of a hidden pixel; and, of 19 or more,
        ``coverage_90``, the share of hidden pixels within the 90% interval: on average 0.9 if draws and truth are of
        one law, whatever their number (quantiles of type 6 in Hyndman & Fan 1996, whose k-th of n draws lies at
        k / (n + 1)).
    """
    metrics = {
        "squared_error": (found.x - truth).square().flatten(2).sum(2).mean(0),
        "log_prob": found.log_prob.mean(0),
    }
    hidden, true_hidden = found.x[..., ~observed], truth[..., ~observed]
    n = len(hidden)
    if n > 1:
        metrics["squared_error_of_mean"] = (found.x.mean(0) - truth).square().flatten(1).sum(1)
        metrics["diversity"] = hidden.std(0).mean(-1)
    if n >= N_FOR_INTERVAL:
        places = ((n + 1) * torch.tensor(INTERVAL).to(hidden) - 1) / (n - 1)  # torch puts the k-th at (k - 1) / (n - 1)
        low, high = torch.quantile(hidden, places.clamp(0, 1), dim=0)
        metrics["coverage_90"] = ((true_hidden >= low) & (true_hidden <= high)).to(truth).mean(-1)
    return metrics


def _time_when_done(device: torch.device) -> float:
    """Return the time in seconds when a GPU has done what it was given; a CPU has done it when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()
