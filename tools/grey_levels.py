"""Draw the pictures of ``docs/grey_levels.md``: ``python -m tools.grey_levels``, ten seconds on one core.

They show validation images and what the level prior believes of them, and ``results/level_prior.json``, which
``python -m benchmarks.density.level_prior`` writes.
"""

from collections.abc import Iterator

import torch
from matplotlib.figure import Figure
from torch import Tensor

from nf_mnist.bijectors.level_prior import ANY_PART, WHOLE_IMAGE, LevelPrior
from nf_mnist.data import mnist, split
from nf_mnist.data.resampling import N_INKS, SIDE, SIDES
from nf_mnist.flows.hierarchy import level_prior
from nf_mnist.training.rerendering import Rerendering
from tools.from_results import ROOT, read_result

IMAGES = ROOT / "docs" / "images"
N_IMAGES, N_VALIDATION, SPLIT_SEED = 300, 10_000, 0
N_DRAWN = 16  # images that are drawn anew
SHARES = (0.02, 0.06, 0.15, 1.0)  # of the pixels that are known


def main() -> None:
    """Draw all pictures."""
    prior = level_prior("resampled", (1, 28, 28))
    assert prior is not None
    levels = split(mnist().train, N_VALIDATION, SPLIT_SEED)[0].levels[:N_IMAGES, 0]
    posteriors = of_sides(prior, levels, WHOLE_IMAGE)
    chosen = [certain(posteriors, levels, m) for m in (40, 61)]
    figures = {
        "grey_levels": digits(levels[chosen]),
        "grey_posterior": sharpening(prior, levels[chosen[1]]),
        "grey_rerender": drawn_anew(levels[:N_DRAWN]),
        "grey_bits": bits(read_result("level_prior")["rows"]["pretrained:hierarchical-base test"]),
    }
    for name, figure in figures.items():
        figure.savefig(IMAGES / f"{name}.png", dpi=100)


def of_sides(prior: LevelPrior, known: Tensor, stage: int) -> Tensor:
    """Return the probability of each m, and of none of them, given known pixels; shape (batch, sides + 1)."""
    belief = prior.believe(known.float(), stage)
    return torch.zeros(len(known), len(SIDES) + 1).scatter_add_(1, belief.state // N_INKS, belief.weight)


def certain(posteriors: Tensor, levels: Tensor, m: int) -> int:
    """Return which of the images that are certainly of this m has most pixels above 0."""
    return int(((levels > 0).sum((1, 2)) * (posteriors[:, SIDES.index(m)] > 0.99)).argmax())


def digits(images: Tensor) -> Figure:
    """Draw each image enlarged, with the histogram of its levels above 0 beside it."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, 2, width_ratios=(1, 1.6))
    for (left, right), image, m in zip(panels, images, (40, 61), strict=True):
        left.imshow(image, cmap="gray", interpolation="nearest")
        left.set(title=f"m = {m}", xticks=[], yticks=[])
        counts = torch.bincount(image.flatten().long(), minlength=256)[1:]
        right.bar(range(1, 256), counts, width=1.5)
        n_levels = int((counts > 0).sum())
        right.set(title=f"{n_levels} grey levels in {int(counts.sum())} pixels", xlim=(0, 257), ylabel="pixels")
    panels[1][1].set_xlabel("grey level")
    return figure


def known_parts(image: Tensor) -> Iterator[tuple[float, Tensor]]:
    """Yield shares of pixels and the image with only so many pixels known, in a fixed random order, 0 elsewhere."""
    order = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    for share in SHARES:
        yield share, image * (order < share)


def sharpening(prior: LevelPrior, image: Tensor) -> Figure:
    """Draw the posterior of m, given more and more pixels of an image."""
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    panels = figure.subplots(2, len(SHARES), height_ratios=(1, 1))
    for (upper, lower), (share, known) in zip(panels.T, known_parts(image), strict=True):
        upper.imshow(known, cmap="gray", interpolation="nearest")
        upper.set(title=f"{share:.0%} known", xticks=[], yticks=[])
        stage = WHOLE_IMAGE if share == 1 else ANY_PART
        lower.bar(SIDES, of_sides(prior, known[None], stage)[0, :-1], width=1)
        lower.set(xlabel="m", ylim=(0, 1.02))
    panels[1][0].set_ylabel("probability")
    return figure


def drawn_anew(images: Tensor) -> Figure:
    """Draw rows of images, and under each the same digits drawn anew."""
    rerendering = Rerendering(0.15, (1, SIDE, SIDE))
    torch.manual_seed(0)
    new = rerendering(images.repeat(2, 1, 1)[:, None])[: len(images), 0]
    figure = Figure(figsize=(10, 5), layout="constrained")
    panels = figure.subplots(4, N_DRAWN // 2)
    pairs = zip(images.split(N_DRAWN // 2), new.split(N_DRAWN // 2), strict=True)
    for row, part in zip(panels, (part for pair in pairs for part in pair), strict=True):
        for axes, image in zip(row, part, strict=True):
            axes.imshow(image, cmap="gray", interpolation="nearest")
            axes.set(xticks=[], yticks=[])
    return figure


def bits(row: dict) -> Figure:
    """Draw the bits of each coupling without and with the prior."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    names = [f"scale {i // 3 + 1},\nchannel {3 - i % 3}" for i in range(6)] + ["last 7x7"]
    for offset, name in ((-0.2, "none"), (0.2, "resampled")):
        places = [place + offset for place in range(len(names))]
        axes.bar(places, row[name]["by_coupling"], 0.4, label=f"level_prior={name}, {row[name]['bpd']:.3f} in all")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("bits per dimension")
    axes.legend()
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
