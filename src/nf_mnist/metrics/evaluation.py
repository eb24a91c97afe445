"""The metrics of a trained flow on one split."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import Dequantizer, Images, evaluation_noise, random_subset
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.metrics.latents import chi_moments, radius
from nf_mnist.metrics.likelihood import bits_per_dim, count_parameters, has_bits, log_mean_exp
from nf_mnist.metrics.round_trip import round_trip_error

N_ROUND_TRIP = 500  # images
N_SYNTHETIC = 100  # prior samples, and images of uniform noise


class Evaluation(NamedTuple):
    """Metrics by name; those of each image, shape (n_images,); latents of the first draw, shape (n_images, dims)."""

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
    """Score a flow in the precision of its weights; every figure is a function of weights, images and seed alone.

    Args:
        flow: In evaluation mode.
        dequantizer: From levels to the flow's data.
        images: One split.
        n_images: Size of a seeded random sample of it; None for all.
        n_draws: Draws of dequantization noise per image.
        batch_size: Images in a pass; does not change the metrics beyond rounding.
        seed: Of sample and noise.
        progress: Wraps the iterable of passes, to show a bar.

    Returns:
        These metrics: ``log_likelihood``, mean over images and draws in nats, in the unit that :func:`likelihood_unit`
        names; ``bpd`` and ``bpd_log_mean_exp`` (over the draws), only if there are bits; ``log_density``, mean log p(x)
        in nats; ``radius_mean`` and ``radius_std`` of z beside ``radius_expected`` and ``radius_std_expected``;
        ``round_trip_error``, the largest over up to 500 images, and ``_samples`` and ``_noise``, over 100 prior samples
        and 100 images of uniform noise; ``parameters``, ``n_images``, ``n_draws`` and ``seed``. Of each image its
        ``index`` in the split, ``log_likelihood`` and, if defined, ``bpd`` (means over draws), and the ``radius`` of
        its latent. And the latents.

    Raises:
        ConfigError: If a count is below 1, or a label none of the flow's classes.
        ShapeError: If the images have another shape than the flow's data.
    """
    if n_draws < 1 or batch_size < 1 or (n_images is not None and n_images < 1):
        raise ConfigError(
            f"n_draws, batch_size and n_images must be at least 1, got {n_draws}, {batch_size} and {n_images}"
        )
    if images.levels.shape[1:] != flow.event_shape:
        raise ShapeError(f"this flow takes {flow.event_shape}, the images are {tuple(images.levels.shape[1:])}")
    flow.check_labels(images.labels)
    chosen, index = random_subset(images, n_images, seed)
    device = next(flow.parameters(), torch.empty(0)).device
    log_p = torch.empty(n_draws, len(index), dtype=torch.float64)
    log_ratio = torch.empty_like(log_p)
    latents, errors = [], []
    passes = [(draw, rows) for draw in range(n_draws) for rows in torch.arange(len(index)).split(batch_size)]
    for draw, rows in progress(passes):
        noise = evaluation_noise(index[rows], flow.event_shape, draw, seed)
        x, log_q = dequantizer(chosen.levels[rows].to(device), noise.to(device))
        context = flow.context(chosen.labels[rows].to(device))
        z, log_prob = flow(x, context)
        log_p[draw, rows] = log_prob.double().cpu()
        log_ratio[draw, rows] = (log_prob.double() - log_q).cpu()
        if draw == 0:
            latents.append(z.cpu())
            n_left = N_ROUND_TRIP - int(rows[0])
            if n_left > 0:
                errors.append(round_trip_error(flow, x[:n_left], None if context is None else context[:n_left]).cpu())

    generator = torch.Generator().manual_seed(seed)
    samples = flow.sample(N_SYNTHETIC, generator=generator)
    noise = torch.rand(N_SYNTHETIC, *flow.event_shape, generator=generator).to(samples)
    some_labels = flow.cycled_labels(N_SYNTHETIC)
    z = torch.cat(latents)
    z_radius, expected = radius(z), chi_moments(flow.dims)
    metrics: dict[str, float | int] = {
        "log_likelihood": log_ratio.mean().item(),
        "log_density": log_p.mean().item(),
        "radius_mean": z_radius.mean,
        "radius_std": z_radius.std,
        "radius_expected": expected[0],
        "radius_std_expected": expected[1],
        "round_trip_error": torch.cat(errors).max().item(),
        "round_trip_error_samples": round_trip_error(flow, samples, some_labels).max().item(),
        "round_trip_error_noise": round_trip_error(flow, noise, some_labels).max().item(),
        "parameters": count_parameters(flow, dequantizer),
        "n_images": len(index),
        "n_draws": n_draws,
        "seed": seed,
    }
    per_image = {"index": index, "log_likelihood": log_ratio.mean(0), "radius": z.norm(dim=1)}
    if has_bits(flow, dequantizer):
        per_image["bpd"] = bits_per_dim(per_image["log_likelihood"], 0.0, flow.dims)
        metrics["bpd"] = bits_per_dim(log_ratio, 0.0, flow.dims).mean().item()
        metrics["bpd_log_mean_exp"] = bits_per_dim(log_mean_exp(log_ratio), 0.0, flow.dims).mean().item()
    return Evaluation(metrics, per_image, z)
