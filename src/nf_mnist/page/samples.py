"""What the tab Sample shows: samples, and for one of them its nearest training image and the digits seen in it."""

import torch
from torch import Tensor

from nf_mnist.app.sampling import resolve_sampling
from nf_mnist.data import GaussianDequantizer
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows import Flow
from nf_mnist.metrics import draw_levels, nearest
from nf_mnist.page.fragments import choices, figures, png
from nf_mnist.page.subject import Subject

MAX_SAMPLES = 64
N_GUESSES = 3  # digits of which the probability is said


def can_be_guided(flow: Flow) -> bool:
    """Return whether a flow can be guided towards its labels."""
    try:
        flow.guided(1.0)
    except ConfigError:
        return False
    return True


def draw(subject: Subject, n: int, temperature: float, seed: int, label: int | None, guidance: float) -> Tensor:
    """Draw samples, shape (n, 1, height, width) and dtype uint8. Gaussian noise of the training is removed.

    Args:
        subject: The flow.
        n: Number of samples.
        temperature: Standard deviation of the latents.
        seed: Seed of the latents.
        label: Label of all samples; None for each in turn, or for a flow without labels.
        guidance: Weight of the guidance; 0 for none.

    Raises:
        ConfigError: If a number is out of range, or the flow cannot be guided.
    """
    check_range(1, MAX_SAMPLES, samples=n)
    check_range(0, 2, temperature=temperature)
    is_noisy = isinstance(subject.dequantizer, GaussianDequantizer)
    settings = {"guidance": guidance, "attention_temperature": None, "denoise": is_noisy}
    sampling = resolve_sampling(settings, subject.flow, subject.dequantizer)
    drawn = draw_levels(subject.flow, n, temperature, batch_size=n, seed=seed, label=label, sampling=sampling)
    return drawn.levels


def sample_choices(levels: Tensor) -> str:
    """Return samples as buttons in HTML."""
    return choices("samples", levels)


def nearest_training_image(subject: Subject, levels: Tensor) -> tuple[int, float]:
    """Return the number of the training image that is nearest to a sample, and its Euclidean distance in [0, 1]^dims.

    Args:
        subject: The flow whose training images are searched.
        levels: The sample, shape (1, height, width) and dtype uint8.
    """
    point = levels.flatten()[None].float() / 255
    number = int(nearest(point, subject.training_points))
    return number, (point[0] - subject.training_points[number]).norm().item()


def sample_figures(subject: Subject, levels: Tensor) -> str:
    """Return a sample beside its nearest training image, and what the released classifier sees in it, as HTML.

    Raises:
        ShapeError: If the flow's images are no digits of MNIST's size.
    """
    number, distance = nearest_training_image(subject, levels)
    image, label = subject.train.levels[number], int(subject.train.labels[number])
    seen = subject.classifier.probabilities(levels[None])[0]
    guesses = ", ".join(f"{digit} ({seen[digit]:.1%})" for digit in torch.topk(seen, N_GUESSES).indices.tolist())
    pictures = {"sample": png(levels), f"nearest training image, a {label}": png(image)}
    sentences = [f"The classifier sees {guesses}.", f"The nearest training image is {distance:.2f} away."]
    return figures("the chosen sample", pictures, sentences)
