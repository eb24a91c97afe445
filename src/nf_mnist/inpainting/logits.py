"""The space in which completions are searched for: logits, where every real number is an image."""

import contextlib
from typing import NamedTuple

from torch import Tensor

from nf_mnist.bijectors import Logit
from nf_mnist.errors import ConfigError, DataError
from nf_mnist.flows import Flow
from nf_mnist.hardware import seeded
from nf_mnist.inpainting.masks import check_observed

ALPHA = 1e-5
LOGIT = Logit(ALPHA)


class Completions(NamedTuple):
    """Completions of a batch of images by one inpainting method.

    Attributes:
        x: Images, shape (n_samples, batch, 1, height, width). Observed pixels equal the given ones, bit for bit.
        log_prob: log p of each completion in logit space, in nats, shape (n_samples, batch).
        trace: log p at each step of the method, shape (steps, n_samples, batch); empty if the method has no steps.
        n_gradients: Number of gradient evaluations for each image, over all its completions.
        report: Other numbers of the method by name, such as acceptance, R-hat and the number of stopped chains.
    """

    x: Tensor
    log_prob: Tensor
    trace: Tensor
    n_gradients: int
    report: dict[str, float]


def to_logits(x: Tensor) -> Tensor:
    """Return y = logit(a + (1 - 2a) x)."""
    return LOGIT(x)[0]


def to_images(y: Tensor) -> Tensor:
    """Return the images, in [0, 1], of logits."""
    return LOGIT.inverse_and_log_det(y)[0].clamp(0, 1)


def log_prob_of_images(flow: Flow, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return latents, and log p(x) in nats per unit of x, shape (batch,), whatever space the flow was trained in.

    An estimate has the same noise in each call, which so decides no Metropolis test.
    """
    with seeded(0) if flow.bijector.estimates_log_det else contextlib.nullcontext():
        z, log_prob = flow(x)
    if flow.bijector.counts_log_det:
        return z, log_prob
    return z, log_prob + flow.bijector.uncounted_log_det(x)  # such a flow reports the density of its logits


def log_prob_of_logits(flow: Flow, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return latents, and log p(y) in nats per unit of y, shape (batch,)."""
    x, log_det = LOGIT.inverse_and_log_det(y)
    z, log_prob = log_prob_of_images(flow, x)
    return z, log_prob + log_det


def check_task(flow: Flow, x: Tensor, observed: Tensor, n_samples: int, needs_gradient: bool = True) -> None:
    """Check that a method can complete these images, before anything is computed.

    Raises:
        ConfigError: If ``n_samples`` is below 1, the flow takes class labels, or the method needs a gradient and the
            density has none.
        DataError: If a pixel is outside [0, 1].
        ShapeError: If the mask has another shape than the images, or hides everything or nothing.
    """
    if n_samples < 1:
        raise ConfigError(f"n_samples must be at least 1, got {n_samples}")
    if flow.n_classes:
        raise ConfigError(
            f"inpainting takes flows without class labels, and this one has {flow.n_classes}; flow.given_label(label) "
            "returns one"
        )
    if needs_gradient and not flow.bijector.is_continuous:
        raise ConfigError(
            "the density of this flow has no gradient in x that leads anywhere: it jumps from level to level; use "
            "method=crank_nicolson (model=hierarchical), method=amortized (model=conditional), or train with "
            "model.preprocess=logit"
        )
    check_observed(observed, flow.event_shape)
    if not (x.min() >= 0 and x.max() <= 1):
        raise DataError(f"images must lie in [0, 1], got {x.min():.3g} to {x.max():.3g}")
