"""The metrics of a trained flow on one split."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import Dequantizer, Images, evaluation_noise, random_subset
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.hardware import seeded
from nf_mnist.metrics.invertibility import round_trip_error
from nf_mnist.metrics.latents import chi_moments, radius
from nf_mnist.metrics.likelihood import bits_per_dim, count_parameters, has_bits, log_mean_exp

N_ROUND_TRIP = 500  # images
N_SYNTHETIC = 100  # prior samples, and images of uniform noise


class Evaluation(NamedTuple):
    """Result of :func:`evaluate_flow`.

    Attributes:
        metrics: Metrics of the flow by name.
        per_image: Metrics of each image by name, shape (n_images,).
        latents: Latents of the first draw, shape (n_images, dims).
    """

    metrics: dict[str, float | int]
    per_image: dict[str, Tensor]
    latents: Tensor


@torch.no_grad()
def evaluate_flow(
    flow: Flow,
    dequantizer: Dequantizer,
    images: Images,
    *,
    n_images: int | None,
    n_draws: int,
    batch_size: int,
    seed: int,
    progress: Any = iter,
) -> Evaluation:
    """Measure a flow on images, in the precision of its weights. The metrics depend only on weights, images and seed.

    Of a flow that estimates its log-determinants, likelihoods are unbiased estimates, whose noise also depends on the
    batch size. The standard error includes it.

    Args:
        flow: Flow in evaluation mode.
        dequantizer: Maps levels to the data of the flow.
        images: Images of one split.
        n_images: Size of a seeded random sample of the images; None for all of them.
        n_draws: Number of draws of dequantization noise for each image.
        batch_size: Number of images in a forward pass; it changes the metrics by rounding only.
        seed: Seed for the sample of images and the noise.
        progress: Function that wraps the forward passes to show a progress bar.

    Returns:
        These metrics: ``log_likelihood``, the mean over images and draws in nats, in the unit that
        :func:`~nf_mnist.metrics.likelihood_unit` names; ``bpd`` and ``bpd_log_mean_exp`` (over the draws; not of
        estimates), with ``bpd_standard_error`` of the mean over images, only if bits per dimension are defined;
        ``log_density``, the mean log p(x) in nats; ``radius_mean`` and ``radius_std`` of z, with ``radius_expected``
        and ``radius_std_expected``; ``round_trip_error``, the largest over up to 500 images, and
        ``round_trip_error_samples`` and ``round_trip_error_noise``, over 100 prior samples and 100 images of uniform
        noise; ``parameters``, ``n_images``, ``n_draws`` and ``seed``; and those of
        :meth:`~nf_mnist.flows.Flow.solver_metrics`. For each image: its ``index`` in the split, ``log_likelihood`` and,
        if defined, ``bpd`` (means over draws), and the ``radius`` of its latent.

    Raises:
        ConfigError: If a number is below 1, or a label is not a class of the flow.
        ShapeError: If the images have another shape than the flow's data.
    """
    _check(flow, images, n_images, n_draws, batch_size)
    chosen, index = random_subset(images, n_images, seed)
    with seeded(seed):  # for flows whose log-determinants are estimates
        passes = _passes(flow, dequantizer, chosen, index, n_draws, batch_size, seed, progress)
    metrics: dict[str, float | int] = {
        "log_likelihood": passes.log_ratio.mean().item(),
        "log_density": passes.log_p.mean().item(),
        **_radii(passes.latents),
        "round_trip_error": passes.round_trip_errors.max().item(),
        **_synthetic_round_trips(flow, seed),
        "parameters": count_parameters(flow, dequantizer),
        "n_images": len(index),
        "n_draws": n_draws,
        "seed": seed,
        **flow.solver_metrics(),
    }
    per_image = {
        "index": index,
        "log_likelihood": passes.log_ratio.mean(0),
        "radius": passes.latents.norm(dim=1),
    }
    if has_bits(flow, dequantizer):
        per_image["bpd"] = bits_per_dim(per_image["log_likelihood"], 0.0, flow.dims)
        metrics["bpd_standard_error"] = _standard_error(per_image["bpd"])
        metrics["bpd"] = bits_per_dim(passes.log_ratio, 0.0, flow.dims).mean().item()
        if not flow.bijector.estimates_log_det:  # whose log-mean-exp is biased by their noise
            metrics["bpd_log_mean_exp"] = bits_per_dim(log_mean_exp(passes.log_ratio), 0.0, flow.dims).mean().item()
    return Evaluation(metrics, per_image, passes.latents)


class _Passes(NamedTuple):
    """What the forward passes over all images and draws compute.

    Attributes:
        log_p: log p(x) in nats, shape (n_draws, n_images).
        log_ratio: log p(x) - log q(x | levels) in nats, shape (n_draws, n_images).
        latents: Latents of the first draw, shape (n_images, dims).
        round_trip_errors: Errors of the first images of the first draw, shape (at most 500,).
    """

    log_p: Tensor
    log_ratio: Tensor
    latents: Tensor
    round_trip_errors: Tensor


def _check(flow: Flow, images: Images, n_images: int | None, n_draws: int, batch_size: int) -> None:
    if n_draws < 1 or batch_size < 1 or (n_images is not None and n_images < 1):
        raise ConfigError(
            f"n_draws, batch_size and n_images must be at least 1, got {n_draws}, {batch_size} and {n_images}"
        )
    if images.levels.shape[1:] != flow.event_shape:
        raise ShapeError(f"this flow takes {flow.event_shape}, the images are {tuple(images.levels.shape[1:])}")
    flow.check_labels(images.labels, images.labels_source)


def _passes(
    flow: Flow,
    dequantizer: Dequantizer,
    images: Images,
    index: Tensor,
    n_draws: int,
    batch_size: int,
    seed: int,
    progress: Any,
) -> _Passes:
    """Run all images through the flow, once for each draw. The noise of an image depends on its ``index`` alone.

    Everything stays on the device until the last pass, so that a GPU never waits.
    """
    device = next(flow.parameters(), torch.empty(0)).device
    levels, labels, index = images.levels.to(device), images.labels.to(device), index.to(device)
    log_p = torch.empty(n_draws, len(index), dtype=torch.float64, device=device)
    log_ratio = torch.empty_like(log_p)
    latents, errors = [], []
    starts = [(draw, first) for draw in range(n_draws) for first in range(0, len(index), batch_size)]
    for draw, first in progress(starts):
        rows = slice(first, first + batch_size)
        x, log_q = dequantizer(levels[rows], evaluation_noise(index[rows], flow.event_shape, draw, seed))
        context = flow.context(labels[rows])
        z, log_prob = flow(x, context)
        log_p[draw, rows] = log_prob
        log_ratio[draw, rows] = log_prob.double() - log_q
        if draw == 0:
            latents.append(z)
            n_left = N_ROUND_TRIP - first
            if n_left > 0:
                errors.append(round_trip_error(flow, x[:n_left], None if context is None else context[:n_left]))
    return _Passes(log_p.cpu(), log_ratio.cpu(), torch.cat(latents).cpu(), torch.cat(errors).cpu())


def _standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of values, shape (n,); NaN for a single one."""
    return (values.std() / len(values) ** 0.5).item() if len(values) > 1 else math.nan


def _radii(latents: Tensor) -> dict[str, float | int]:
    """Return the moments of the norms of latents, and those of a standard normal."""
    norms, (expected, std_expected) = radius(latents), chi_moments(latents.shape[1])
    return {
        "radius_mean": norms.mean,
        "radius_std": norms.std,
        "radius_expected": expected,
        "radius_std_expected": std_expected,
    }


def _synthetic_round_trips(flow: Flow, seed: int) -> dict[str, float | int]:
    """Return the largest round-trip errors over prior samples and over uniform noise."""
    generator = torch.Generator().manual_seed(seed)
    samples = flow.sample(N_SYNTHETIC, generator=generator)
    noise = torch.rand(N_SYNTHETIC, *flow.event_shape, generator=generator).to(samples)
    labels = flow.cycled_labels(N_SYNTHETIC)
    return {
        "round_trip_error_samples": round_trip_error(flow, samples, labels).max().item(),
        "round_trip_error_noise": round_trip_error(flow, noise, labels).max().item(),
    }
