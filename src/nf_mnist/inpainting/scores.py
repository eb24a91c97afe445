"""How good completions are, image by image."""

import torch
from torch import Tensor

from nf_mnist.inpainting.logits import Completions

INTERVAL = (0.05, 0.95)


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
