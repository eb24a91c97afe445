"""Out-of-distribution (OOD) detection by log p, by its typicality, and by the norm of z."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

# OOD images made from in-distribution levels, shape (n, 1, height, width), and a generator; they need no download.
SYNTHETIC_OOD: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "inverted": lambda levels, _: 255 - levels,
    "transposed": lambda levels, _: levels.transpose(-1, -2).contiguous(),
    "shuffled": lambda levels, generator: _shuffled(levels, generator),
    "noise": lambda levels, generator: torch.randint(256, levels.shape, generator=generator, dtype=torch.uint8),
}


class OutOfDistribution(NamedTuple):
    """AUROC of three scores that detect OOD images: 1/2 is chance, 1 is perfect.

    Attributes:
        log_prob: AUROC of the negative log-likelihood. It can be far below 1/2: simple images often have a higher
            log-likelihood than the data that a flow was trained on (Nalisnick et al. 2019, "Do deep generative models
            know what they don't know?").
        typicality: AUROC of the distance of the log-likelihood from its mean over training images (Nalisnick et al.
            2019, "Detecting out-of-distribution inputs to deep generative models using typicality", here for single
            images).
        radius: AUROC of the distance of the norm of z from its mean over training images.
    """

    log_prob: float
    typicality: float
    radius: float


def ood_auroc(
    in_distribution: Mapping[str, Tensor], ood: Mapping[str, Tensor], training: Mapping[str, Tensor]
) -> OutOfDistribution:
    """Return the AUROC of each score that detects OOD images.

    Args:
        in_distribution: ``log_likelihood`` and ``radius`` of images like those that the flow was trained on, shape (n,)
            each.
        ood: The same of OOD images.
        training: The same of training images. Their means are the typical values.
    """

    def far_from_typical(key: str) -> float:
        typical = training[key].double().mean()
        return auroc(*((scores[key].double() - typical).abs() for scores in (ood, in_distribution)))

    by_log_prob = auroc(-ood["log_likelihood"], -in_distribution["log_likelihood"])
    return OutOfDistribution(by_log_prob, far_from_typical("log_likelihood"), far_from_typical("radius"))


def _shuffled(levels: Tensor, generator: torch.Generator) -> Tensor:
    """Return images whose pixels are permuted, by the same permutation in all images."""
    order = torch.randperm(levels[0].numel(), generator=generator)
    return levels.flatten(1)[:, order].reshape(levels.shape)


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Return the area under the ROC curve: how often a positive score exceeds a negative one; a tie counts as half.

    This is the statistic of Mann and Whitney (1947), divided by the number of pairs. For normals of variance 1 whose
    means are ``d`` apart it is ``Phi(d / sqrt 2)``. NaN counts as the largest score. ``torchmetrics`` has an AUROC, but
    it maps scores outside [0, 1] through a sigmoid, which makes log-likelihoods of hundreds of nats equal.

    Args:
        positive: Scores of the positive class, shape (n,).
        negative: Scores of the negative class, shape (m,).
    """
    positive, negative = (
        scores.double().nan_to_num(torch.inf, torch.inf, -torch.inf) for scores in (positive, negative)
    )
    ordered = negative.sort().values
    below, up_to = (torch.searchsorted(ordered, positive, right=right) for right in (False, True))
    return ((below + up_to).double().mean() / (2 * len(ordered))).item()
