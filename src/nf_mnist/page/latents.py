"""What the tab Latents shows: paths between two latents, and what becomes of an image off the shell of its prior."""

from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import evaluation_noise
from nf_mnist.errors import check_range
from nf_mnist.metrics import chi_moments
from nf_mnist.page.fragments import Mark, chart, figures, grey
from nf_mnist.page.subject import Subject

N_STEPS = 7  # images of a path, with both ends
MAX_NOISE, MAX_SCALE = 2.0, 2.0
SHOWN_DEVIATIONS = 12  # of the chart of chi, on each side of its mean


class Moved(NamedTuple):
    """A latent that has been moved, decoded.

    Attributes:
        x: The image in [0, 1], shape (1, height, width).
        norm: The norm of the moved latent.
    """

    x: Tensor
    norm: float


@torch.no_grad()
def latent_of(subject: Subject, number: float | None) -> tuple[Tensor, Tensor | None]:
    """Return the latent of a test image, shape (1, dims), and its label as context, if the flow takes labels."""
    levels = subject.test_image(number)[None].to(subject.device)
    index = torch.tensor([int(number or 0)], device=subject.device)
    x, _ = subject.dequantizer(levels, evaluation_noise(index, subject.flow.event_shape, 0, 0))
    context = subject.flow.context(subject.test.labels[index.cpu()].to(subject.device))
    return subject.flow.encode(x, context), context


def straight_line(start: Tensor, end: Tensor, n: int) -> Tensor:
    """Return n latents on the straight line between two, shape (n, dims); both are of shape (1, dims)."""
    share = torch.linspace(0, 1, n)[:, None].to(start)
    return (1 - share) * start + share * end


def great_circle(start: Tensor, end: Tensor, n: int) -> Tensor:
    """Return n latents on the great circle between two, shape (n, dims); both are of shape (1, dims).

    The direction turns at a constant rate (Shoemake 1985, spherical linear interpolation), and the norm changes
    linearly. Opposite directions have no unique circle, and equal ones no circle: the straight line stands for it.
    """
    share = torch.linspace(0, 1, n)[:, None].to(start)
    norms = (1 - share) * start.norm() + share * end.norm()
    one, other = start / start.norm(), end / end.norm()
    angle = torch.acos((one * other).sum().clamp(-1, 1))
    if angle.sin() < 1e-4:
        return straight_line(start, end, n)
    return norms * (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()


@torch.no_grad()
def path_figures(subject: Subject, first: float | None, second: float | None) -> tuple[str, str]:
    """Return the straight line and the great circle between the latents of two test images, decoded, as HTML.

    Images along the path have the label of the first, if the flow takes labels.

    Raises:
        ConfigError: If there is no test image of a number.
    """
    (start, context), (end, _) = latent_of(subject, first), latent_of(subject, second)
    shown = []
    for name, path in (("straight line", straight_line), ("great circle", great_circle)):
        z = path(start, end, N_STEPS)
        x = subject.flow.decode(z, None if context is None else context.expand(N_STEPS))
        norms = z.norm(dim=1).tolist()
        pictures = {f"{number}: |z| = {norms[number - 1]:.1f}": grey(image) for number, image in enumerate(x, 1)}
        middle = norms[N_STEPS // 2]
        shown.append(figures(name, pictures, [f"The {name}: in the middle the norm of z is {middle:.2f}."]))
    return shown[0], shown[1]


@torch.no_grad()
def move(subject: Subject, number: float | None, noise: float, scale: float, seed: int) -> Moved:
    """Return ``scale * (z + noise * e)``, decoded, for the latent z of a test image and standard normal e.

    Args:
        subject: The flow.
        number: Number of the test image.
        noise: Standard deviation of the noise.
        scale: Factor of the latent.
        seed: Seed of the noise.

    Raises:
        ConfigError: If there is no such test image, or a number is out of range.
    """
    check_range(0, MAX_NOISE, noise=noise)
    check_range(0, MAX_SCALE, scale=scale)
    z, context = latent_of(subject, number)
    moved = scale * (z + noise * subject.flow.base.sample(1, torch.Generator().manual_seed(seed)).to(z))
    return Moved(subject.flow.decode(moved, context)[0], moved.norm().item())


def moved_figures(subject: Subject, number: float | None, noise: float, scale: float, seed: int) -> tuple[str, str]:
    """Return the moved image beside its test image, and the norm of z against that of the prior, as HTML."""
    from nf_mnist.plots import chi_density  # imports matplotlib and torchvision

    moved, dims = move(subject, number, noise, scale, seed), subject.flow.dims
    at_rest = move(subject, number, 0.0, 1.0, seed)
    mean, deviation = chi_moments(dims)
    reach = SHOWN_DEVIATIONS * deviation
    radii = torch.linspace(max(mean - reach, 1e-3), mean + reach, 200, dtype=torch.float64)
    pictures = {"decoded without a move": grey(at_rest.x), "decoded after it": grey(moved.x)}
    away = (moved.norm - mean) / deviation
    sentence = f"The norm of z was {at_rest.norm:.2f} and is {moved.norm:.2f}, {away:+.1f} standard deviations of chi."
    marks = [Mark(moved.norm, f"|z| = {moved.norm:.2f}")]
    curve = chart(
        f"density of chi({dims}), the norm of a latent of the prior", radii, chi_density(radii, dims), marks, "|z|"
    )
    return figures("the moved latent", pictures, [sentence]), curve
