"""Where climbs begin: noise, or a guess that costs no gradient."""

import torch
from torch import Tensor

from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import check_task
from nf_mnist.inpainting.masks import corrupt

N_GUESSES = 256


def noise(flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Return n_samples copies of the batch, one after another, with CP3's noise in the hidden places."""
    check_task(flow, x, observed, n_samples)
    return corrupt(x.repeat(n_samples, 1, 1, 1), observed, "cp3", generator)


@torch.no_grad()
def agreeing_mean(flow: Flow, x: Tensor, observed: Tensor, n_samples: int, generator: torch.Generator) -> Tensor:
    """Return n_samples copies of the batch, with a mean of prior samples in the hidden places.

    A sample counts the more the better its observed pixels agree with the image's: its weight falls with their squared
    distance, by a factor of e for each half of a standard deviation over the samples. That is a rough mean of hidden
    pixels given observed ones (kernel regression: Nadaraya 1964, Watson 1964). Each copy has samples of its own.
    """
    check_task(flow, x, observed, n_samples)
    starts = []
    for _ in range(n_samples):
        guesses = flow.decode(flow.base.sample(N_GUESSES, generator).to(x)).nan_to_num(0.5).clamp(0, 1)
        seen, guessed = (part.masked_fill(~observed, 0.0).flatten(1) for part in (x, guesses))
        distances = torch.cdist(seen, guessed).square()
        weights = (-distances / (0.5 * distances.std(1, keepdim=True))).softmax(1)
        mean = (weights @ guesses.flatten(1)).reshape(x.shape)
        starts.append(torch.where(observed, x, mean))
    return torch.cat(starts)
