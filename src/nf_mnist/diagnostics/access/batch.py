"""Dequantized images with all that a flow needs to score them."""

from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import Dequantizer, Images, evaluation_noise, random_subset
from nf_mnist.flows import Flow


class Batch(NamedTuple):
    """Dequantized images.

    Attributes:
        x: Dequantized images, shape (n, *event).
        log_q: log q(x | levels) of the dequantizer in nats, shape (n,).
        levels: Grey levels, shape (n, *event).
        context: Context of the flow, n entries; None if the flow takes none.
    """

    x: Tensor
    log_q: Tensor
    levels: Tensor
    context: Tensor | None

    def first(self, n: int) -> "Batch":
        """Return the first n images."""
        return self.rows(slice(n))

    def rows(self, chosen: Tensor | slice) -> "Batch":
        """Return the images at some indices."""
        context = None if self.context is None else self.context[chosen]
        return Batch(self.x[chosen], self.log_q[chosen], self.levels[chosen], context)

    def split(self, n: int) -> list["Batch"]:
        """Return batches of n images, of which the last one may have fewer."""
        contexts = repeat(None) if self.context is None else self.context.split(n)
        parts = zip(self.x.split(n), self.log_q.split(n), self.levels.split(n), contexts, strict=False)
        return [Batch(*part) for part in parts]

    def double(self) -> "Batch":
        """Return the batch with images in float64, and the context too unless it holds integer labels."""
        context = self.context
        if context is not None and context.is_floating_point():
            context = context.double()
        return self._replace(x=self.x.double(), context=context)


@torch.no_grad()
def make_batch(flow: Flow, dequantizer: Dequantizer, images: Images, n: int, seed: int) -> Batch:
    """Dequantize a random sample of images on the device of the flow.

    The context holds the labels of the images if the flow takes labels. If it takes observed pixels, none are observed.

    Args:
        flow: The flow that will score the images.
        dequantizer: Dequantizer of the flow.
        images: Images to sample from.
        n: Number of images to sample.
        seed: Seed of the sample and of the dequantization noise.

    Raises:
        ConfigError: If the flow takes labels and an image has none of its classes.
    """
    device = next(flow.parameters(), torch.empty(0)).device
    flow.check_labels(images.labels, images.labels_source)
    chosen, index = random_subset(images, n, seed)
    levels = chosen.levels.to(device)
    x, log_q = dequantizer(levels, evaluation_noise(index, tuple(levels.shape[1:]), 0, seed).to(device))
    context = flow.context(chosen.labels.to(device))
    if flow.takes_observed_pixels:
        context = x.new_zeros(len(x), 2, *flow.event_shape[1:])
    return Batch(x, log_q, levels, context)
