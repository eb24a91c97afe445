"""Split a hierarchy's bits by kind of pixel and by m: ``python -m benchmarks.density.bits_by_kind CKPT``.

A pixel is black (level 0), white (252 and above) or grey. Its bits are those of which of the three it is, and those of
its level given that. Images are told apart by the side m of their bilevel source, as the level prior estimates it from
all their pixels. The row in ``results/bits_by_kind.json`` has the name of the weights, or of the run, and of the prior.
"""

import argparse
import math
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from benchmarks.density.level_prior import SPLITS, levels_of, priors_of, with_prior
from benchmarks.measuring import add_row, machine
from nf_mnist.bijectors import DiscretizedMixture, GroupedMixture
from nf_mnist.bijectors.level_prior import WHOLE_IMAGE, LevelPrior
from nf_mnist.bijectors.quantile_map import level_and_fraction
from nf_mnist.bijectors.tilted import TiltedMixture
from nf_mnist.data.resampling import N_INKS, SIDES
from nf_mnist.flows import Flow
from nf_mnist.flows.hierarchy import level_prior

RESULT = Path(__file__).parents[2] / "results" / "bits_by_kind.json"
WHITE = 252
BATCH = 100
SHOWN_SIDES = (40, 60)


class PixelBits(NamedTuple):
    """Levels and bits of the pixels of images, in the order of the couplings, shape (n, 784) each.

    Attributes:
        level: Levels.
        kind: Bits of which of black, grey and white a pixel is.
        rest: Bits of the level, given its kind.
    """

    level: Tensor
    kind: Tensor
    rest: Tensor


@torch.no_grad()
def pixel_bits(flow: Flow, levels: Tensor) -> PixelBits:
    """Return the bits of each pixel of images, shape (n, 1, 28, 28)."""
    parts: list[PixelBits] = []

    def take(coupling: DiscretizedMixture | GroupedMixture, inputs: tuple[Any, ...], _: Any) -> None:
        level, _ = level_and_fraction(inputs[0][:, coupling.channel])
        mixture = coupling.predict_mixture(inputs[0], None)
        known = mixture.table(torch.ones_like(level) > 0) if isinstance(mixture, TiltedMixture) else mixture
        black, white = known.edges(torch.ones_like(level))[0], known.edges(torch.full_like(level, WHITE))[1]
        kind = torch.where(level == 0, black, torch.where(level >= WHITE, white, 1 - black - white))
        total = known.probability(level)
        bits = [-part.double().log2().flatten(1) for part in (kind, total / kind)]
        parts.append(PixelBits(level.flatten(1), *bits))

    couplings = [module for module in flow.modules() if isinstance(module, DiscretizedMixture | GroupedMixture)]
    handles = [coupling.register_forward_hook(take) for coupling in couplings]
    batches = []
    for batch in levels.split(BATCH):
        flow((batch.float() + 0.5) / 256)
        batches.append(PixelBits(*(torch.cat(field, 1) for field in zip(*parts, strict=True))))
        parts.clear()
    for handle in handles:
        handle.remove()
    return PixelBits(*(torch.cat(field) for field in zip(*batches, strict=True)))


def sides_of(levels: Tensor) -> Tensor:
    """Return the most likely m of each image, shape (n,); 0 where none fits."""
    prior = cast(LevelPrior, level_prior("resampled", levels.shape[1:]))
    state = prior.believe(levels[:, 0].float(), WHOLE_IMAGE, n_states=1).state[:, 0]
    sides = torch.tensor([side for side in SIDES for _ in range(N_INKS)] + [0])
    return sides[state]


def summary(bits: PixelBits, sides: Tensor) -> dict[str, Any]:
    """Return bits per dimension by kind of pixel, and by m."""
    total = bits.kind + bits.rest
    kinds = {"black": bits.level == 0, "white": bits.level >= WHITE}
    kinds["grey"] = ~(kinds["black"] | kinds["white"])
    groups = {f"m = {side}": sides == side for side in SHOWN_SIDES}
    groups["other m"] = ~torch.stack(list(groups.values())).any(0)
    return {
        "bpd": total.mean().item(),
        "which_kind": bits.kind.mean().item(),
        "which_level": bits.rest.mean().item(),
        "by_kind": {name: torch.where(is_kind, total, 0.0).mean().item() for name, is_kind in kinds.items()},
        "share_of_pixels": {name: is_kind.double().mean().item() for name, is_kind in kinds.items()},
        "by_side": {name: total[is_in].mean().item() for name, is_in in groups.items()},
        "share_of_images": {name: is_in.double().mean().item() for name, is_in in groups.items()},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--split", choices=SPLITS, default="test")
    options = parser.parse_args()
    for name in priors_of(options.checkpoint):
        flow, cfg = with_prior(options.checkpoint, name)
        levels = levels_of(cfg, options.split, options.images)
        row = summary(pixel_bits(flow, levels), sides_of(levels))
        print(f"level_prior={name}: {math.fsum(row['by_kind'].values()):.4f} bpd, {row}")
        add_row(RESULT, f"{options.checkpoint} {name}", {"n_images": options.images, **row, **machine()})


if __name__ == "__main__":
    main()
