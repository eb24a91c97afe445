"""Samples as grey levels, batch by batch."""

from typing import Any

import torch
from torch import Tensor

from nf_mnist.data import to_levels
from nf_mnist.flows import Flow


def draw_levels(
    flow: Flow,
    n: int,
    temperature: float = 1.0,
    *,
    batch_size: int,
    seed: int,
    label: int | None = None,
    progress: Any = iter,
) -> Tensor:
    """Draw images as levels, shape (n, 1, height, width) and dtype uint8, on the CPU.

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
    return torch.cat(
        [
            to_levels(flow.sample(size, temperature, _labels(label, size, flow), generator)).cpu()
            for size in progress(sizes)
        ]
    )


def _labels(label: int | None, n: int, flow: Flow) -> Tensor | None:
    """Return n times a label, on the device of the flow; None if there is no label."""
    return None if label is None else torch.full((n,), label, device=next(flow.parameters()).device)
