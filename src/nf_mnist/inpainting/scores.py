"""How good completions are, image by image."""

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import Completions, log_prob_of_logits, to_logits

INTERVAL = (0.05, 0.95)


class Measured(NamedTuple):
    """A method measured on many images.

    Attributes:
        figures: Of each image, shape (n_images,); see :func:`scores`.
        first: The completions of the first batch.
        report: What the method says, the mean over batches, but the sum of what was ``stopped``.
        seconds: For all images.
    """

    figures: dict[str, Tensor]
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
) -> Measured:
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
        Figures as :func:`scores` has them, and ``log_prob_of_truth``; completions, report and time.
    """
    batches, reports, first, seconds = [], [], None, 0.0
    for x in progress(truth.split(batch_size)):
        begin = time.monotonic()
        found = method(flow, x, observed, n_samples=n_samples, generator=generator)
        seconds += time.monotonic() - begin
        first = found if first is None else first
        with torch.no_grad():
            of_truth = log_prob_of_logits(flow, to_logits(x))[1]
        batches.append({**scores(found, x, observed), "log_prob_of_truth": of_truth})
        reports.append(found.report)
    assert first is not None, "torch splits even an empty tensor into one batch"
    report = {name: sum(part[name] for part in reports) for name in reports[0]}
    report = {name: total if name == "stopped" else total / len(reports) for name, total in report.items()}
    figures = {name: torch.cat([part[name] for part in batches]).cpu() for name in batches[0]}
    return Measured(figures, first, report, seconds)


def scores(found: Completions, truth: Tensor, observed: Tensor) -> dict[str, Tensor]:
    """Return figures per image, each of shape (batch,).

    Args:
        found: Completions of the images.
        truth: The images themselves, in [0, 1], shape (batch, 1, height, width).
        observed: Which pixels were given, shape (1, height, width).

    Returns:
        ``squared_error`` of the first completion, summed over pixels in [0, 1] (CP3's protocol), and its ``log_prob``
        in logit space, in nats. With several completions also ``squared_error_of_mean``; ``diversity``, the mean
        standard deviation of a hidden pixel; and ``coverage``, the share of hidden pixels within the 90% interval.
    """
    figures = {
        "squared_error": (found.x[0] - truth).square().flatten(1).sum(1),
        "log_prob": found.log_prob[0],
    }
    if len(found.x) > 1:
        hidden, true_hidden = found.x[..., ~observed], truth[..., ~observed]
        low, high = torch.quantile(hidden, torch.tensor(INTERVAL).to(hidden), dim=0)
        figures |= {
            "squared_error_of_mean": (found.x.mean(0) - truth).square().flatten(1).sum(1),
            "diversity": hidden.std(0).mean(-1),
            "coverage": ((true_hidden >= low) & (true_hidden <= high)).to(truth).mean(-1),
        }
    return figures
