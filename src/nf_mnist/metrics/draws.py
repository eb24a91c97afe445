"""Samples as grey levels, batch by batch."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import to_levels
from nf_mnist.flows import Flow


class Drawn(NamedTuple):
    """Samples.

    Attributes:
        levels: Shape (n, 1, height, width) and dtype uint8, on the CPU.
        n_nan: How many images have pixels that are no number; such pixels are black.
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
    progress: Any = iter,
) -> Drawn:
    """Draw images as levels; the same whatever the batch size.

    A warning counts the images that have pixels which are no number.

    Args:
        flow: In evaluation mode.
        n: How many.
        temperature: Standard deviation of the latents.
        batch_size: Images in a pass.
        seed: Of the latents.
        label: Of all images, if the flow has labels; None takes each in turn.
        progress: Wraps the sizes of the passes, to show a bar.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(batch_size, n - done) for done in range(0, n, batch_size)]
    drawn, n_nan = [], 0
    for size, labels in zip(progress(sizes), _labels(label, sizes, flow), strict=True):
        x = flow.sample(size, temperature, labels, generator)
        n_nan += int(x.isnan().flatten(1).any(1).sum())
        drawn.append(to_levels(x.nan_to_num()).cpu())
    if n_nan:
        warnings.warn(
            f"{n_nan} of {n} samples have pixels that are no number, which are drawn black; "
            "python -m nf_mnist.diagnose says why",
            stacklevel=2,
        )
    return Drawn(torch.cat(drawn), n_nan)


def _labels(label: int | None, sizes: list[int], flow: Flow) -> Sequence[Tensor | None]:
    """Return the labels of each pass, on the device of the flow; None if it has none."""
    n, device = sum(sizes), next(flow.parameters()).device
    labels = flow.cycled_labels(n) if label is None else torch.full((n,), label, device=device)
    return [None] * len(sizes) if labels is None else labels.split(sizes)
