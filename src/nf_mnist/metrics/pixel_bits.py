"""The bits of each pixel, for flows that predict the levels of pixels one after another."""

import copy
from typing import Any

import torch
from torch import Tensor

from nf_mnist.bijectors import DiscretizedMixture, GroupedMixture, ObservedPixels
from nf_mnist.bijectors.quantile_map import level_and_fraction
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow, teacher_forced


def has_pixel_bits(flow: Flow) -> bool:
    """Return whether :func:`bits_of_pixels` can say what each pixel costs.

    It can for ``model=hierarchical`` and ``model=conditional`` without class labels. In other flows pixels have no
    order, so that only the bits of whole images are defined.
    """
    return flow.bijector.is_autoregressive and not flow.n_classes


@torch.no_grad()
def bits_of_pixels(flow: Flow, levels: Tensor) -> Tensor:
    """Return the bits of each pixel given those that are predicted before it, shape (n, height, width).

    The sum over an image is ``-log2 P(image)``, and the mean is its bits per dimension.

    Args:
        flow: A flow for which :func:`has_pixel_bits` is true. It is left as it is.
        levels: Images, shape (n, 1, height, width) and dtype uint8.

    Raises:
        ConfigError: If the flow cannot say.
    """
    if not has_pixel_bits(flow):
        raise ConfigError("pixels of this flow have no order, so none has bits of its own; take model=hierarchical")
    reading = copy.deepcopy(flow) if flow.takes_observed_pixels else teacher_forced(flow)
    device = next(flow.parameters()).device
    bits = torch.zeros(len(levels), *levels.shape[2:], dtype=torch.float64, device=device)

    def take(part: DiscretizedMixture | GroupedMixture, inputs: tuple[Any, ...], _: Any) -> None:
        assert isinstance(part.observed_pixels, ObservedPixels), "a flow that reads observed images has them"
        level, _ = level_and_fraction(inputs[0][:, part.channel])
        probability = part.predict_mixture(*inputs).probability(level)
        stride = part.observed_pixels.stride
        row, column = divmod(part.observed_pixels.offset, stride)
        bits[:, row::stride, column::stride] = -probability.double().log2()

    for part in reading.modules():
        if isinstance(part, DiscretizedMixture | GroupedMixture):
            part.register_forward_hook(take)
    reading((levels.to(device).to(torch.get_default_dtype()) + 0.5) / 256)
    return bits.cpu()
