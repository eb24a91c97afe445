"""How the riddles measure samples and completions."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nf_mnist.app.trained import load_classifier
from nf_mnist.diagnostics import make_batch
from nf_mnist.inpainting import Completions, corrupt, make_observed, measure
from nf_mnist.metrics import confident_share, draw_levels, frechet_distance
from riddles.runs import SEED, Run

N_SAMPLES = 500
N_COMPLETED = 25
Method = Callable[..., Completions]


def sample_quality(run: Run) -> dict[str, float]:
    """Return the share of samples that the classifier is confident in, and their Frechet distance from images."""
    classifier = load_classifier()
    samples = draw_levels(run.flow, N_SAMPLES, batch_size=100, seed=SEED).levels
    features, probabilities = classifier.features_and_probabilities(samples)
    of_images, _ = classifier.features_and_probabilities(run.validation.levels[:N_SAMPLES])
    return {
        "confident_share": confident_share(probabilities),
        "frechet_distance": frechet_distance(features, of_images),
    }


def inpaint(run: Run, method: Method, n_images: int = N_COMPLETED, **settings: Any) -> dict[str, float]:
    """Complete the lower half of validation images.

    Returns:
        Means over images: ``squared_error``, summed over pixels; ``log_prob`` and ``log_prob_of_truth`` in logit space,
        in nats; ``more_probable``, the share of completions whose density exceeds the truth's.
    """
    truth, observed = task(run, n_images)
    complete = functools.partial(method, **settings)
    generator = torch.Generator().manual_seed(SEED)
    found = measure(complete, run.flow, truth, observed, n_samples=1, batch_size=n_images, generator=generator)
    metrics = {name: values.double().mean().item() for name, values in found.per_image.items()}
    is_denser = found.per_image["log_prob"] > found.per_image["log_prob_of_truth"]
    return {**metrics, "more_probable": is_denser.double().mean().item()}


def errors_without_flow(run: Run, n_images: int = N_COMPLETED) -> dict[str, float]:
    """Return the squared errors of the corrupted images, and of the mean training image in the hidden half."""
    truth, observed = task(run, n_images)
    noise = corrupt(truth, observed, "gaussian_noise", torch.Generator().manual_seed(SEED))
    mean = (run.train.levels.double().mean(0) + 0.5).to(truth) / 256
    guesses = {"corrupted": noise, "mean_image": torch.where(observed, truth, mean)}
    return {name: (guess - truth).square().flatten(1).sum(1).mean().item() for name, guess in guesses.items()}


def task(run: Run, n_images: int = N_COMPLETED) -> tuple[Tensor, Tensor]:
    """Return validation images, and a mask of their observed pixels: the upper half."""
    truth = make_batch(run.flow, run.dequantizer, run.validation, n_images, SEED).x
    return truth, make_observed("lower", run.flow.event_shape)
