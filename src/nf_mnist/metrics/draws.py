"""Samples as grey levels, batch by batch."""

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import to_levels
from nf_mnist.flows import Flow


class Sampling(NamedTuple):
    """What is done to samples beyond drawing latents of some temperature.

    Attributes:
        guidance: Weight of the guidance; see :meth:`~nf_mnist.flows.Flow.guided`. 0 for none.
        attention_temperature: Temperature of the attentions that guidance moves away from; None for 1, with labels.
        noise_std: Standard deviation of the noise to remove; see :meth:`~nf_mnist.flows.Flow.denoise`. 0 for none.
    """

    guidance: float = 0.0
    attention_temperature: float | None = None
    noise_std: float = 0.0


PLAIN = Sampling()


class Drawn(NamedTuple):
    """Samples as grey levels.

    Attributes:
        levels: Images, shape (n, 1, height, width), dtype uint8, on the CPU.
        n_nan: Number of images with NaN pixels. These pixels are drawn black.
    """

    levels: Tensor
    n_nan: int


def draw_levels(
    flow: Flow,
    n: int,
    temperature: float = 1.0,
    *,
    batch_size: int,
    seed: int,
    label: int | None = None,
    sampling: Sampling = PLAIN,
    progress: Any = iter,
) -> Drawn:
    """Draw images as levels. They do not depend on the batch size. A warning reports images with NaN pixels.

    Args:
        flow: Flow in evaluation mode.
        n: Number of images.
        temperature: Standard deviation of the latents.
        batch_size: Number of images in a forward pass.
        seed: Seed for the latents.
        label: Label of all images, if the flow takes labels. None cycles through the classes.
        sampling: Guidance and denoising.
        progress: Function that wraps the sizes of the passes to show a progress bar.
    """
    generator = torch.Generator().manual_seed(seed)
    guided = flow.guided(sampling.guidance, sampling.attention_temperature) if sampling.guidance else flow
    sizes = [min(batch_size, n - done) for done in range(0, n, batch_size)]
    labels_of_all = sample_labels(flow, n, label)
    labels_of_passes = [None] * len(sizes) if labels_of_all is None else labels_of_all.split(sizes)
    drawn, n_nan = [], 0
    for size, labels in zip(progress(sizes), labels_of_passes, strict=True):
        x = guided.sample(size, temperature, labels, generator)
        if sampling.noise_std:
            x = flow.denoise(x, sampling.noise_std, labels)  # the score is that of the flow itself
        n_nan += int(x.isnan().flatten(1).any(1).sum())
        drawn.append(to_levels(x.nan_to_num()).cpu())
    if n_nan:
        warnings.warn(
            f"{n_nan} of {n} samples have NaN pixels, which are drawn black; python -m nf_mnist.diagnose says why",
            stacklevel=2,
        )
    return Drawn(torch.cat(drawn), n_nan)


def sample_labels(flow: Flow, n: int, label: int | None) -> Tensor | None:
    """Return the labels of n samples, on the device of the flow; None for a flow without labels.

    Args:
        flow: The flow.
        n: Number of samples.
        label: Label of all samples. None cycles through the classes.
    """
    return flow.cycled_labels(n) if label is None else torch.full((n,), label, device=next(flow.parameters()).device)
