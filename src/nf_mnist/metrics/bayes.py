"""A flow with class labels as a classifier, by Bayes' rule."""

import math
from typing import Any

import torch
from torch import Tensor

from nf_mnist.data import Dequantizer, Images, evaluation_noise
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.hardware import seeded
from nf_mnist.metrics.likelihood import log_mean_exp

N_BINS = 15


@torch.no_grad()
def log_likelihood_by_class(
    flow: Flow,
    dequantizer: Dequantizer,
    images: Images,
    index: Tensor,
    *,
    n_draws: int,
    batch_size: int,
    seed: int,
    progress: Any = iter,
) -> Tensor:
    """Return log p(v | c) in nats for each image v and class c, shape (n_images, n_classes), in float64 on the CPU.

    It is estimated by the log of the mean of ``p(x | c) / q(x | v)`` over draws of x. All classes see the same draws.
    By Bayes' rule with equally likely classes, its softmax over classes is p(c | v).

    Args:
        flow: Flow with class labels, in evaluation mode.
        dequantizer: Maps levels to the data of the flow.
        images: Images to classify.
        index: Index of each image in its split, shape (n_images,); its noise depends on it.
        n_draws: Number of draws of dequantization noise for each image.
        batch_size: Number of images in a forward pass, which is repeated for each class.
        seed: Seed for the noise.
        progress: Function that wraps the batches to show a progress bar.

    Raises:
        ConfigError: If the flow has no labels.
    """
    check_classes(flow)
    device = next(flow.parameters()).device
    found = []
    for rows in progress(torch.arange(len(index)).split(batch_size)):
        levels, draws = images.levels[rows].to(device), []
        for draw in range(n_draws):
            noise = evaluation_noise(index[rows], flow.event_shape, draw, seed).to(device)
            x, log_q = dequantizer(levels, noise)
            labels = torch.zeros(len(rows), dtype=torch.int64, device=device)
            by_class = []
            for label in range(flow.n_classes):
                with seeded(seed + draw):  # estimates of log p share their noise, so that it hardly changes the choice
                    by_class.append(flow.log_prob(x, labels + label).double() - log_q)
            draws.append(torch.stack(by_class, 1))
        found.append(log_mean_exp(torch.stack(draws)).cpu())
    return torch.cat(found)


def log_likelihood_without_label(log_likelihood: Tensor) -> Tensor:
    """Return log p(v) in nats of images whose class is unknown, shape (n_images,): all classes are equally likely.

    Args:
        log_likelihood: log p(v | c), shape (n_images, n_classes).
    """
    return log_mean_exp(log_likelihood.T)


def check_classes(flow: Flow) -> None:
    """Check that a flow can classify.

    Raises:
        ConfigError: If it has no class labels.
    """
    if not flow.n_classes:
        raise ConfigError("this flow has no class labels to choose from; train with model.flow.n_classes=10")


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Return the share of images whose most probable class is their label.

    Args:
        probabilities: Shape (n_images, n_classes).
        labels: Shape (n_images,).
    """
    return (probabilities.argmax(1) == labels).double().mean().item()


def expected_calibration_error(probabilities: Tensor, labels: Tensor, n_bins: int = N_BINS) -> float:
    """Return the mean gap between confidence and accuracy in bins of confidence (Guo et al. 2017, equation 3).

    Args:
        probabilities: Shape (n_images, n_classes).
        labels: Shape (n_images,).
        n_bins: Number of bins of equal width in [0, 1].
    """
    confidence, predicted = probabilities.double().max(1)
    is_correct = (predicted == labels).double()
    number = (confidence * n_bins).long().clamp(max=n_bins - 1)
    gaps = torch.zeros(n_bins, dtype=torch.float64).index_add(0, number, is_correct - confidence)
    return gaps.abs().sum().item() / len(labels)


def label_nats(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean of ``-log p(label | image)`` in nats.

    Args:
        probabilities: Shape (n_images, n_classes).
        labels: Shape (n_images,).
    """
    chosen = probabilities.double().gather(1, labels[:, None])
    return -chosen.clamp(min=math.ulp(0.0)).log().mean().item()
