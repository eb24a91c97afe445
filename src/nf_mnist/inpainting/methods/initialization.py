"""Where climbs and chains begin: noise, or a guess that costs no gradient."""

import torch
from torch import Tensor

from nf_mnist.bijectors.quantile_map import N_LEVELS, level_and_fraction
from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import check_task
from nf_mnist.inpainting.masks import corrupt

N_GUESSES = 256


def noise(flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Return n_samples copies of the batch, one after another, with CP3's noise in the hidden places."""
    check_task(flow, x, observed, n_samples)
    return corrupt(x.repeat(n_samples, 1, 1, 1), observed, "gaussian_noise", generator)


def weighted_prior_mean(flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Return n_samples copies of the batch, with a mean of prior samples in the hidden places.

    A sample counts the more the better its observed pixels agree with the image's. That is a rough mean of hidden
    pixels given observed ones (kernel regression: Nadaraya 1964, Watson 1964). Each copy has samples of its own.
    """
    check_task(flow, x, observed, n_samples)
    starts = []
    for _ in range(n_samples):
        guesses, weights = _guesses(flow, x, observed, generator)
        starts.append(torch.where(observed, x, (weights @ guesses.flatten(1)).reshape(x.shape)))
    return torch.cat(starts)


def weighted_prior_sample(
    flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator
) -> Tensor:
    """Return n_samples copies of the batch, each with the hidden pixels of a prior sample, and fresh dither in them.

    A sample is drawn the more often the better its observed pixels agree with the image's, in each copy from samples of
    its own (sampling importance resampling: Rubin 1987, but by agreement instead of a likelihood). Starts of chains
    are as apart as digits are, and of about the density of images, unlike noise or a blur.
    """
    check_task(flow, x, observed, n_samples)
    starts = []
    for _ in range(n_samples):
        guesses, weights = _guesses(flow, x, observed, generator)
        chosen = torch.multinomial(weights.cpu(), 1, generator=generator)[:, 0]
        level, _ = level_and_fraction(guesses[chosen.to(x.device)])
        dither = torch.rand(x.shape, generator=generator).to(x)  # clamped samples lie at 0 and 1, where images never do
        starts.append(torch.where(observed, x, (level + dither) / N_LEVELS))
    return torch.cat(starts)


@torch.no_grad()
def _guesses(flow: Flow, x: Tensor, observed: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return prior samples, and weights of them for each image, shape (batch, n_guesses), which add up to 1.

    A weight falls with the squared distance of observed pixels, by a factor of e for each half of a standard deviation
    over the samples.
    """
    guesses = flow.decode(flow.base.sample(N_GUESSES, generator).to(x)).nan_to_num(0.5).clamp(0, 1)
    seen, guessed = (part.masked_fill(~observed, 0.0).flatten(1) for part in (x, guesses))
    distances = torch.cdist(seen, guessed).square()
    spread = distances.std(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)  # 0 if all samples are the same
    return guesses, (-distances / (0.5 * spread)).softmax(1)
