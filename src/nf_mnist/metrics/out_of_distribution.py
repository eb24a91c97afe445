"""Does a flow know its own data? Other images told from them by log p, by its typicality, by the norm of z."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

# Images that need no download, made of a flow's own: levels, shape (n, 1, height, width), and a generator.
SYNTHETIC_OOD: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "inverted": lambda levels, _: 255 - levels,
    "transposed": lambda levels, _: levels.transpose(-1, -2).contiguous(),
    "shuffled": lambda levels, generator: _shuffled(levels, generator),
    "noise": lambda levels, generator: torch.randint(256, levels.shape, generator=generator, dtype=torch.uint8),
}


class OutOfDistribution(NamedTuple):
    """Areas under the ROC curve of three scores that call an image strange: 1/2 by chance, 1 if none is mistaken.

    Attributes:
        log_prob: Of a low log-likelihood. It can be far below 1/2: simple images often have a higher one than the data
            that a flow was trained on (Nalisnick et al. 2019, "Do deep generative models know what they don't know?").
        typicality: Of a log-likelihood far from the mean over training images, above or below (Nalisnick et al. 2019,
            "Detecting out-of-distribution inputs to deep generative models using typicality", for single images).
        radius: Of a norm of z far from the mean over training images.
    """

    log_prob: float
    typicality: float
    radius: float


def ood_auroc(
    inside: Mapping[str, Tensor], outside: Mapping[str, Tensor], training: Mapping[str, Tensor]
) -> OutOfDistribution:
    """Measure how well a flow tells other images from its own.

    Args:
        inside: ``log_likelihood`` and ``radius`` of images like those that the flow was trained on, shape (n,) each.
        outside: The same of other images.
        training: The same of training images, whose means are taken for typical.
    """

    def far_from_typical(key: str) -> float:
        typical = training[key].double().mean()
        return auroc(*((scores[key].double() - typical).abs() for scores in (outside, inside)))

    by_log_prob = auroc(-outside["log_likelihood"], -inside["log_likelihood"])
    return OutOfDistribution(by_log_prob, far_from_typical("log_likelihood"), far_from_typical("radius"))


def _shuffled(levels: Tensor, generator: torch.Generator) -> Tensor:
    """Return images whose pixels change places, in all of them alike."""
    order = torch.randperm(levels[0].numel(), generator=generator)
    return levels.flatten(1)[:, order].reshape(levels.shape)


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve: how often a positive score exceeds a negative one, ties counted as half.

    That is the statistic of Mann and Whitney (1947), divided by the number of pairs. For normals of variance 1 that are
    ``d`` apart it is ``Phi(d / sqrt 2)``. What is no number counts as the largest score.

    Args:
        positive: Scores of what is to be found, shape (n,).
        negative: Scores of everything else, shape (m,).
    """
    positive, negative = (
        scores.double().nan_to_num(torch.inf, torch.inf, -torch.inf) for scores in (positive, negative)
    )
    ordered = negative.sort().values
    below, up_to = (torch.searchsorted(ordered, positive, right=right) for right in (False, True))
    return ((below + up_to).double().mean() / (2 * len(ordered))).item()
