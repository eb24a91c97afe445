"""Checks that compare the likelihood of an image with that of the same image changed: its label, or how it lies."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.contract_checks import SOUND
from nf_mnist.diagnostics.number_checks import log_likelihoods_are_finite
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.flows import ConditionalFlow
from nf_mnist.metrics import bits_per_dim

N_PAIRED = 100
STANDARD_ERRORS = 4.0  # of a mean difference, within which labels are equally likely
MIN_GAIN = 0.005  # bits per dimension that a turned image must gain to count as one that lies better

TURNS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": lambda x: x.mT,
    "upside down": lambda x: x.flip(-2),
    "mirrored": lambda x: x.flip(-1),
    "turned by half": lambda x: x.flip(-1, -2),
    "turned to the left": lambda x: x.rot90(1, (-2, -1)),
    "turned to the right": lambda x: x.rot90(-1, (-2, -1)),
    "transposed along the other diagonal": lambda x: x.rot90(2, (-2, -1)).mT,
    "inverted, black for white": lambda x: 1 - x,
}


@check(
    "images fit their own labels best",
    unit="of the labels",
    warn=0.1,
    fail=0.3,
    cause="images fit other labels than their own better; why is not known",
    remedy="compare some images with the labels that the flow is given, in training and here",
    needs=(*SOUND, log_likelihoods_are_finite),
)
def images_fit_their_own_labels(task: DiagnosisTask) -> Measurement:
    """The share of labels whose images are likelier under another label, by more than four standard errors.

    The likelihoods of each image under all labels are compared, so that hard images count as much as easy ones.
    """
    flow, few = task.flow, task.batch.first(3 * N_PAIRED)
    if not flow.n_classes or few.context is None or isinstance(flow, ConditionalFlow):
        raise NotMeasured("the flow takes no labels")
    if task.is_untrained:
        raise NotMeasured("the flow is not trained")
    require_images(len(few.x))
    under = torch.stack([_log_prob(task, few.x, torch.full_like(few.context, k)) for k in range(flow.n_classes)], 1)
    if (under == under[:, :1]).all():
        cause = "the flow does not use its labels: nothing that it computes depends on them"
        return Measurement(1.0, "log p is the same under every label", cause, "pass the context to the networks")
    better = _better_labels(under, few.context)
    n_labels = len(few.context.unique())
    if not better:
        return Measurement(0.0, f"none of {n_labels} labels fits better than their own")
    text = ", ".join(f"images of {own} fit {other} best" for own, other in [*better.items()][:3])
    size = len(better) / n_labels
    if len(better) >= 2 and len(set(better.values())) == len(better):
        steps = {(other - own) % flow.n_classes for own, other in better.items()}
        how = f"by {min(steps)}" if len(steps) == 1 else "by a permutation"
        cause = f"labels are shifted {how} against those that the flow was trained with"
        return Measurement(size, text, cause, "number the classes in the same way in training and here")
    return Measurement(size, text)


@check(
    "images lie as those the flow learned",
    unit="of the images are likelier when changed",
    warn=0.6,
    fail=0.8,
    cause="images reach the flow otherwise than in training",
    remedy="read images in training and here by one function",
    needs=(*SOUND, log_likelihoods_are_finite),
)
def images_lie_as_learned(task: DiagnosisTask) -> Measurement:
    """The share of images that are likelier after a change: turned, mirrored, transposed, or black for white.

    Of a trained flow of MNIST some 5% are. The mean hardly moves, so each image is compared with itself. A change
    counts if the median image gains at least 0.005 bits per dimension.
    """
    few = task.batch.first(N_PAIRED)
    require_images(len(few.x))
    if task.is_untrained:
        raise NotMeasured("the flow is not trained")
    log_prob = _log_prob(task, few.x, few.context)
    if task.is_discrete and bits_per_dim(log_prob.double(), few.log_q, task.flow.dims).median() > 8:
        raise NotMeasured("the flow knows nothing of images: they need more bits than under the uniform model")
    found = {"as they are": 0.0}
    for name, turn in TURNS.items():
        if turn(few.x).shape == few.x.shape:
            gains = _log_prob(task, turn(few.x).contiguous(), few.context) - log_prob
            if (gains.median() / (task.flow.dims * math.log(2))) >= MIN_GAIN:
                found[name] = (gains > 0).double().mean().item()
    best = max(found, key=lambda name: found[name])
    if best == "as they are":
        return Measurement(0.0, "no change makes images likelier")
    text = f"{found[best]:.2g} of the images are likelier when {best}"
    return Measurement(found[best], text, f"images are seen {best} against those of the training")


@torch.no_grad()
def _log_prob(task: DiagnosisTask, x: Tensor, context: Tensor | None) -> Tensor:
    rows = torch.arange(len(x), device=x.device).split(task.batch_size)
    return torch.cat([task.flow.log_prob(x[part], None if context is None else context[part]) for part in rows])


def _better_labels(under: Tensor, labels: Tensor) -> dict[int, int]:
    """Return for each label whose images are likelier under another one the label that they fit best.

    Args:
        under: log p of each image under each label, shape (n, n_classes).
        labels: Labels of the images, shape (n,).
    """
    better = {}
    for label in labels.unique().tolist():
        gains = (under - under[:, label, None])[labels == label].double()
        if len(gains) < 3:
            continue
        errors = gains.std(0) / len(gains) ** 0.5
        best = int(gains.mean(0).argmax())
        if gains.mean(0)[best] > STANDARD_ERRORS * errors[best]:
            better[label] = best
    return better


PAIRS = (images_fit_their_own_labels, images_lie_as_learned)
