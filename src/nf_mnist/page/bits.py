"""What the tab Bits shows: what an image costs, where, and whether it looks like the training data."""

from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import evaluation_noise, random_subset
from nf_mnist.metrics import bits_of_pixels, bits_per_dim, has_bits, has_pixel_bits, likelihood_unit
from nf_mnist.page.fragments import Mark, chart, figures, heat_map, png
from nf_mnist.page.subject import Subject

N_DRAWS = 4  # of dequantization noise for the image of a user
BATCH = 50
BRIGHTEST = 8.0  # bits of the brightest pixels of the heat map; a level that is not predicted at all costs 8
UNUSUAL, UNLIKE = 0.05, 0.01  # shares of test images as far from typical, below which an image is called so
N_BINS = 40


class Reference(NamedTuple):
    """Log-likelihoods of data that the flow knows, in nats.

    Attributes:
        test: Those of test images, shape (n,).
        typical: Their mean over as many training images.
    """

    test: Tensor
    typical: float


@torch.no_grad()
def log_likelihoods(subject: Subject, levels: Tensor, n_draws: int) -> Tensor:
    """Return log p(x) - log q(x | levels) in nats, the mean over draws, shape (n,), in float64 on the CPU.

    With class labels it is that of an unknown one: the mean of the likelihoods under all classes.

    Args:
        subject: The flow.
        levels: Images, shape (n, 1, height, width) and dtype uint8.
        n_draws: Number of draws of dequantization noise for each image; image i has the noise of index i.
    """
    flow, found = subject.flow, []
    for rows in torch.arange(len(levels)).split(BATCH):
        batch, draws = levels[rows].to(subject.device), []
        for draw in range(n_draws):
            noise = evaluation_noise(rows.to(subject.device), flow.event_shape, draw, 0)
            x, log_q = subject.dequantizer(batch, noise)
            labels = torch.arange(max(flow.n_classes, 1), device=x.device)
            by_class = torch.stack([flow.log_prob(x, flow.context(label.expand(len(x)))).double() for label in labels])
            draws.append(by_class.logsumexp(0) - torch.tensor(float(len(labels))).log() - log_q)
        found.append(torch.stack(draws).mean(0).cpu())
    return torch.cat(found)


def measure_reference(subject: Subject, n_images: int) -> Reference:
    """Measure seeded random samples of test and training images, of one draw each."""
    test, train = (random_subset(images, n_images, 0)[0].levels for images in (subject.test, subject.train))
    return Reference(log_likelihoods(subject, test, 1), log_likelihoods(subject, train, 1).mean().item())


def share_as_far(log_likelihood: float, reference: Reference) -> float:
    """Return the share of test images whose log-likelihood is at least as far from the typical one."""
    far = (reference.test - reference.typical).abs() >= abs(log_likelihood - reference.typical)
    return far.double().mean().item()


def typicality(log_likelihood: float, reference: Reference) -> str:
    """Return a sentence about whether an image is typical (Nalisnick et al. 2019, here for single images)."""
    share = share_as_far(log_likelihood, reference)
    kind = "Unlike the training data" if share < UNLIKE else "Unusual" if share < UNUSUAL else "Typical"
    side = "likelier" if log_likelihood > reference.typical else "less likely"
    return (
        f"{kind}: it is {side} than the mean training image, and {share:.0%} of {len(reference.test)} test images "
        "are as far from that mean."
    )


def bits_figures(subject: Subject, levels: Tensor, reference: Reference) -> tuple[str, str]:
    """Return what an image costs and where, and its place among test images, as HTML.

    Args:
        subject: The flow.
        levels: The image, shape (1, height, width) and dtype uint8.
        reference: Log-likelihoods of test and training images.
    """
    log_likelihood = log_likelihoods(subject, levels[None], N_DRAWS).item()
    pictures, sentences = {"image": png(levels)}, [typicality(log_likelihood, reference)]
    if has_pixel_bits(subject.flow):
        bits = bits_of_pixels(subject.flow, levels[None])[0]
        pictures[f"bits per pixel, black 0, yellow {BRIGHTEST:g} and above"] = heat_map(bits, BRIGHTEST)
        most, total = bits.max().item(), bits.sum().item()
        sentences.append(f"The most expensive pixel costs {most:.1f} bits, the image {total:.0f}.")
    else:
        sentences.append("This flow predicts all pixels at once, so that no pixel has bits of its own.")
    sentences.append(_value(subject, log_likelihood) + ".")
    return figures("bits of the image", pictures, sentences), _histogram(subject, log_likelihood, reference)


def _value(subject: Subject, log_likelihood: float) -> str:
    """Return a log-likelihood in the unit of the flow, in words."""
    if has_bits(subject.flow, subject.dequantizer):
        return f"{_shown(subject, torch.tensor(log_likelihood)).item():.3f} bits per dimension"
    return f"{log_likelihood:.1f} nats ({likelihood_unit(subject.flow, subject.dequantizer)})"


def _shown(subject: Subject, log_likelihood: Tensor) -> Tensor:
    """Return log-likelihoods as bits per dimension where these are defined, else in nats."""
    if has_bits(subject.flow, subject.dequantizer):
        return bits_per_dim(log_likelihood, 0.0, subject.flow.dims)
    return log_likelihood


def _histogram(subject: Subject, log_likelihood: float, reference: Reference) -> str:
    values, own = _shown(subject, reference.test).double(), _shown(subject, torch.tensor(log_likelihood)).item()
    low, high = values.min().item(), values.max().item()
    margin = 0.1 * (high - low) or 1.0
    edges = torch.linspace(low - margin, high + margin, N_BINS + 1, dtype=torch.float64)
    counts = torch.histogram(values, edges).hist
    unit = "bits per dimension" if has_bits(subject.flow, subject.dequantizer) else "nats"
    middles = (edges[1:] + edges[:-1]) / 2
    return chart(f"{len(values)} test images", middles, counts, [Mark(own, _value(subject, log_likelihood))], unit)
