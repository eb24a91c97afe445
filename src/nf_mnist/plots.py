"""Figures and grids of images from tensors."""

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.io import encode_png
from torchvision.utils import make_grid

DPI = 100
CELL, SHEET_WIDTH, GAP, LINE = 84, 1600, 8, 14  # of a contact sheet, in pixels
CAPTION_WIDTH = 56  # narrower images have no captions


def image_grid(x: Tensor, columns: int | None = None) -> Tensor:
    """Lay out images, shape (n, 1 or 3, height, width), clipped to [0, 1], on a grid. Returns shape (3, height, width).

    Pixels that are NaN are red.
    """
    columns = columns or math.ceil(math.sqrt(len(x)))
    x = x.detach().float().cpu().clamp(0, 1)
    x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    x = torch.where(x.isnan().any(1, keepdim=True), red, x)
    return make_grid(x, nrow=columns, padding=2, pad_value=0.5)


def contact_sheet(
    images: Tensor, columns: int, heading: str, titles: Sequence[str] = (), captions: Sequence[str] = ()
) -> Figure:
    """Draw images, each pixel as a square of whole pixels, under titles of their columns and over their captions.

    Args:
        images: Shape (n, 1, height, width), clipped to [0, 1].
        columns: Number of images in a row.
        heading: A line above everything.
        titles: Title of each column.
        captions: Caption of each image, of one or two lines; the next row begins below the longest.
    """
    height, width = images.shape[2:]
    scale = max(1, min(math.ceil(CELL / width), SHEET_WIDTH // (columns * width)))
    captions = captions if scale * width >= CAPTION_WIDTH else ()
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    right, down = scale * width + GAP, scale * height + GAP + LINE * lines
    top = GAP + LINE * (3 if titles else 2)
    rows, width_of_sheet = top + down * math.ceil(len(images) / columns), max(columns * right + GAP, 7 * len(heading))
    sheet = torch.full((rows, width_of_sheet, 1), 255, dtype=torch.uint8)
    levels = (255 * images.detach().float().cpu().clamp(0, 1)).round().to(torch.uint8).permute(0, 2, 3, 1)
    enlarged = levels.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    # Half a pixel more than whole ones, as matplotlib rounds down what a product of floats may have lowered.
    figure = Figure(((width_of_sheet + 0.5) / DPI, (rows + 0.5) / DPI), DPI)

    def write(text: str, x: float, y: float, size: int = 8) -> None:
        figure.text(x / width_of_sheet, 1 - y / rows, text, ha="center", va="top", fontsize=size)

    write(heading, width_of_sheet / 2, GAP, size=10)
    for column, title in enumerate(titles):
        write(title, GAP + column * right + scale * width / 2, GAP + 2 * LINE)
    for i, image in enumerate(enlarged):
        y, x = top + i // columns * down, GAP + i % columns * right
        sheet[y : y + scale * height, x : x + scale * width] = image
        if captions:
            write(captions[i], x + scale * width / 2, y + scale * height + 1)
    figure.figimage(sheet.expand(-1, -1, 3).numpy())
    return figure


def radius_histogram(z: Tensor, title: str = "") -> Figure:
    """Draw a histogram of the norms of latents, shape (n, dims), and the density of chi(dims) over it."""
    figure, axes = _axes(title or "norm of z")
    dims = z.shape[1]
    norms = z.detach().float().cpu().norm(dim=1)
    norms = norms[norms.isfinite()]
    centre = math.sqrt(dims)
    low = min(centre - 4, norms.min().item() if len(norms) else centre)
    high = max(centre + 4, norms.max().item() if len(norms) else centre)
    axes.hist(norms.numpy(), bins=60, range=(low, high), density=True, alpha=0.6, label=f"{len(norms)} images")
    # Around the shell only: spread over the range of far latents, the points would miss a peak of width 0.7.
    radii = torch.linspace(max(centre - 4, 1e-3), centre + 4, 500, dtype=torch.float64)
    axes.plot(radii.numpy(), chi_density(radii, dims).numpy(), color="black", label=f"chi({dims})")
    axes.set(xlabel="norm of z", ylabel="density")
    axes.legend()
    return figure


def moment_maps(mean: Tensor, std: Tensor) -> Figure:
    """Draw mean and standard deviation of each latent dimension, shape (dims,), as two images; 0 and 1 are expected."""
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
    """Draw projected latents, shape (n, 2), and the circles that hold 50%, 90% and 99% of a standard normal."""
    figure, axes = _axes("random projection of z", size=(4.5, 4.5))
    points = points.detach().float().cpu()
    points = points[points.isfinite().all(1)]
    limit = max(5.0, points.abs().max().item() if len(points) else 0.0)
    horizontal, vertical = points.T.numpy()
    axes.scatter(horizontal, vertical, s=4, alpha=0.5)
    for share in (0.5, 0.9, 0.99):
        circle_radius = math.sqrt(-2 * math.log(1 - share))
        axes.add_patch(plt.Circle((0, 0), circle_radius, fill=False, color="black", linewidth=0.8))
        axes.annotate(f"{share:.0%}", (0, circle_radius), ha="center", va="bottom", fontsize=7)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    return figure


def temperature_figure(
    temperatures: Sequence[float], curves: Mapping[str, Sequence[float]], floor: Mapping[str, float], images: Tensor
) -> Figure:
    """Draw samples of each temperature, and metrics against temperature.

    Args:
        temperatures: Temperatures in any order.
        curves: Value of each metric at each temperature, by name.
        floor: Value of each metric for real images, by name, drawn as a dashed line.
        images: Samples of each temperature, shape (n_temperatures, n, 1, height, width), drawn in one row each.
    """
    figure, panels = plt.subplots(
        1,
        1 + len(curves),
        figsize=(5 + 2.4 * len(curves), 2.8),
        layout="constrained",
        width_ratios=(2, *[1] * len(curves)),
    )
    plt.close(figure)
    grid = image_grid(images.flatten(0, 1), columns=images.shape[1]).permute(1, 2, 0)
    panels[0].imshow(grid.numpy())
    rows = [(0.5 + row) * len(grid) / len(temperatures) for row in range(len(temperatures))]
    panels[0].set(title="samples", xticks=[], yticks=rows, yticklabels=[f"{value:g}" for value in temperatures])
    order = sorted(range(len(temperatures)), key=lambda index: temperatures[index])
    for axes, (name, values) in zip(panels[1:], curves.items(), strict=True):
        axes.plot([temperatures[index] for index in order], [values[index] for index in order], marker="o")
        axes.axhline(floor[name], color="black", linestyle="--", linewidth=0.8, label="real images")
        axes.set(title=name.replace("_", " "), xlabel="temperature", ylim=(0, 1.1 * max(*values, floor[name])))
    panels[1].legend()
    return figure


def curve(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str) -> Figure:
    """Draw y against x, with x on a logarithmic axis."""
    figure, axes = _axes(y_label)
    axes.plot(x, y, marker="o")
    axes.set(xscale="log", xlabel=x_label)
    return figure


def learning_curve(train: Sequence[tuple[int, float]], validation: Sequence[tuple[int, float]], y_label: str) -> Figure:
    """Draw losses against steps; the scale leaves out the first tenth of training, where they fall steeply.

    Args:
        train: Step and loss of training batches.
        validation: Step and loss of validation.
        y_label: What the losses are.
    """
    figure, axes = _axes("learning curve")
    for points, label, style in ((train, "training batches", "-"), (validation, "validation", "o-")):
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, alpha=0.5 if points is train else 1.0)
    points = [*train, *validation]
    last = max((step for step, _ in points), default=0)
    shown = [loss for step, loss in points if step >= last / 10 and math.isfinite(loss)]
    if shown:
        margin = 0.05 * (max(shown) - min(shown)) or 1.0
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
    axes.set(xlabel="steps", ylabel=y_label)
    axes.legend()
    return figure


def png(picture: Tensor | Figure) -> bytes:
    """Return a figure, or a grid of images in [0, 1], shape (3, height, width), as the content of a PNG file."""
    if isinstance(picture, Tensor):
        return bytes(encode_png((picture * 255).to(torch.uint8)).numpy())
    content = io.BytesIO()
    picture.savefig(content, dpi=DPI, format="png")
    return content.getvalue()


def _axes(title: str, size: tuple[float, float] = (6, 3.5)) -> tuple[Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    axes.set_title(title)
    plt.close(figure)  # pyplot releases the figure; the caller keeps the object
    return figure, axes


def chi_density(radius: Tensor, dims: int) -> Tensor:
    """Return the density of the norm of ``dims`` independent standard normals at each (positive) radius."""
    log_density = (dims - 1) * radius.log() - radius**2 / 2 - (dims / 2 - 1) * math.log(2) - math.lgamma(dims / 2)
    return log_density.exp()
