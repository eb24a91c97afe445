"""Train a hierarchy whose level prior lacks a part: ``python -m benchmarks.density.reduced_prior PART OVERRIDE ...``.

``window`` leaves out where the digit was pasted: its 20x20 cells always lie in the middle of the image, though this
explains few images. ``gamma`` leaves out how far each pixel trusts the prior: the exponent of the tilt is 1.
"""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest import mock

import torch
from torch import Tensor

from nf_mnist.bijectors import mixture_coupling
from nf_mnist.bijectors.level_prior import LevelPrior
from nf_mnist.train import main as train


def without_window() -> AbstractContextManager[object]:
    """Return a context in which every window is the one in the middle, whatever is known."""

    def windows(prior: LevelPrior, inked: Tensor, stage: int, n: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        n_offsets = prior.log_window.shape[3]
        middle = torch.full((len(inked), 1), n_offsets // 2, device=inked.device)
        return (middle, middle), torch.zeros(len(inked), 1, device=inked.device)

    return mock.patch.multiple(LevelPrior, _windows=windows, misfit=lambda *_: "")


def without_gamma() -> AbstractContextManager[object]:
    """Return a context in which the prior tilts every pixel's distribution in full."""
    return mock.patch.object(mixture_coupling, "tilt_exponent", torch.ones_like)


PARTS: dict[str, Callable[[], AbstractContextManager[object]]] = {"window": without_window, "gamma": without_gamma}


def main() -> None:
    """Take the part from the command line, and leave the rest to the command that trains."""
    part = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if part not in PARTS:
        raise SystemExit(f"say which part the level prior lacks, {' or '.join(PARTS)}, before the overrides")
    with PARTS[part]():
        train()


if __name__ == "__main__":
    main()
