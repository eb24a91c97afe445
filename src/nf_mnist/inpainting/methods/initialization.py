"""Initial values of hidden pixels: noise, or a guess from prior samples that needs no gradient."""

import torch
from torch import Tensor

from nf_mnist.bijectors.quantile_map import N_LEVELS, level_and_fraction
from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import check_task
from nf_mnist.inpainting.masks import corrupt

N_GUESSES = 256


def noise(flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Return n_samples copies of the batch, one after another, with CP3's noise in the hidden pixels."""
    check_task(flow, x, observed, n_samples)
    return corrupt(x.repeat(n_samples, 1, 1, 1), observed, "gaussian_noise", generator)


def weighted_prior_mean(flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Return n_samples copies of the batch, with a weighted mean of prior samples in the hidden pixels.

    The closer the observed pixels of a sample are to those of the image, the larger its weight. The result is a rough
    mean of the hidden pixels given the observed ones (kernel regression: Nadaraya 1964, Watson 1964). Each copy uses
    samples of its own.
    """
    check_task(flow, x, observed, n_samples)
    initial = []
    for _ in range(n_samples):
        guesses, weights = _guesses(flow, x, observed, generator)
        initial.append(torch.where(observed, x, (weights @ guesses.flatten(1)).reshape(x.shape)))
    return torch.cat(initial)


def weighted_prior_sample(
    flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator
) -> Tensor:
    """Return n_samples copies of the batch, each with the hidden pixels of one prior sample, dithered anew.

    The closer the observed pixels of a sample are to those of the image, the likelier it is chosen (sampling importance
    resampling: Rubin 1987, with this similarity in place of a likelihood). Each copy uses samples of its own. The
    initial states of chains then differ as digits do and have about the density of images, unlike noise or a blur.
    """
    check_task(flow, x, observed, n_samples)
    initial = []
    for _ in range(n_samples):
        guesses, weights = _guesses(flow, x, observed, generator)
        chosen = torch.multinomial(weights.cpu(), 1, generator=generator)[:, 0]
        level, _ = level_and_fraction(guesses[chosen.to(x.device)])
        # Clamped samples lie at 0 and 1, where dithered images never do.
        dither = torch.rand(x.shape, generator=generator).to(x)
        initial.append(torch.where(observed, x, (level + dither) / N_LEVELS))
    return torch.cat(initial)


@torch.no_grad()
def _guesses(flow: Flow, x: Tensor, observed: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return prior samples, and their weights for each image, shape (batch, n_guesses), which sum to 1.

    A weight decays exponentially with the squared distance of the observed pixels: by a factor of e for each half of a
    standard deviation of that distance over the samples.
    """
    guesses = flow.decode(flow.base.sample(N_GUESSES, generator).to(x)).nan_to_num(0.5).clamp(0, 1)
    seen, guessed = (images.masked_fill(~observed, 0.0).flatten(1) for images in (x, guesses))
    distances = torch.cdist(seen, guessed).square()
    spread = distances.std(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)  # 0 if all samples are the same
    return guesses, (-distances / (0.5 * spread)).softmax(1)
