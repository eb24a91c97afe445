"""Arrays in, figures out."""

import math

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from nf_mnist.metrics import chi_density


def image_grid(x: Tensor, columns: int | None = None) -> Tensor:
    """Lay images, shape (n, 1, height, width), out on a grid, clipped to [0, 1]; shape (3, height, width)."""
    columns = columns or math.ceil(math.sqrt(len(x)))
    return make_grid(x.detach().float().cpu().clamp(0, 1), nrow=columns, padding=2, pad_value=0.5)


def radius_histogram(z: Tensor, title: str = "") -> Figure:
    """Histogram of the norms of latents, shape (n, dims), with the density of chi(dims) drawn over it."""
    figure, axes = _axes(title or "norm of z")
    dims = z.shape[1]
    norms = z.detach().float().cpu().norm(dim=1)
    norms = norms[norms.isfinite()]
    centre = math.sqrt(dims)
    low = min(centre - 4, norms.min().item() if len(norms) else centre)
    high = max(centre + 4, norms.max().item() if len(norms) else centre)
    axes.hist(norms.numpy(), bins=60, range=(low, high), density=True, alpha=0.6, label=f"{len(norms)} images")
    radii = torch.linspace(max(low, 1e-3), high, 500, dtype=torch.float64)
    axes.plot(radii.numpy(), chi_density(radii, dims).numpy(), color="black", label=f"chi({dims})")
    axes.set(xlabel="norm of z", ylabel="density")
    axes.legend()
    return figure


def moment_maps(mean: Tensor, std: Tensor) -> Figure:
    """Mean and standard deviation of each latent dimension, shape (dims,), as two images; a normal has 0 and 1."""
    side = math.ceil(math.sqrt(len(mean)))
    figure, both = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
    for axes, values, title, centre in zip(both, (mean, std), ("mean of z", "std of z"), (0.0, 1.0), strict=True):
        padded = torch.full((side * side,), float("nan"))
        padded[: len(values)] = values.detach().float().cpu()
        shown = axes.imshow(padded.reshape(side, side), cmap="coolwarm", vmin=centre - 1, vmax=centre + 1)
        axes.set(title=f"{title} (expected {centre:g})", xticks=[], yticks=[])
        figure.colorbar(shown, ax=axes)
    plt.close(figure)
    return figure


def projection_scatter(points: Tensor) -> Figure:
    """Projected latents, shape (n, 2), with the circles that hold 50%, 90% and 99% of a standard normal."""
    figure, axes = _axes("random projection of z", size=(4.5, 4.5))
    horizontal, vertical = points.detach().float().cpu().T.numpy()
    axes.scatter(horizontal, vertical, s=4, alpha=0.5)
    for share in (0.5, 0.9, 0.99):
        circle_radius = math.sqrt(-2 * math.log(1 - share))
        axes.add_patch(plt.Circle((0, 0), circle_radius, fill=False, color="black", linewidth=0.8))
        axes.annotate(f"{share:.0%}", (0, circle_radius), ha="center", va="bottom", fontsize=7)
    axes.set(xlim=(-5, 5), ylim=(-5, 5), aspect="equal")
    return figure


def _axes(title: str, size: tuple[float, float] = (6, 3.5)) -> tuple[Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.set_title(title)
    plt.close(figure)  # pyplot forgets the figure; it lives on as an object
    return figure, axes
