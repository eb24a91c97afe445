"""The check that compares the likelihood of an image with that of the same image under other labels."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.checks.numbers import log_likelihoods_are_finite
from nf_mnist.diagnostics.task import DiagnosisTask

N_PAIRED = 100
STANDARD_ERRORS = 4.0  # of a mean difference, within which labels are equally likely


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
    if not flow.n_classes or few.context is None:
        raise NotMeasured("the flow takes no labels")
    if task.is_untrained:
        raise NotMeasured("the flow is not trained")
    require_images(len(few.x))
    labelled = [few._replace(context=torch.full_like(few.context, label)) for label in range(flow.n_classes)]
    under = torch.stack([task.log_prob(batch) for batch in labelled], 1)
    if (under == under[:, :1]).all():
        cause = "the flow does not use its labels: nothing that it computes depends on them"
        return Measurement(1.0, "log p is the same under every label", cause, "pass the context to the networks")
    better, n_labels = _better_labels(under, few.context), len(few.context.unique())
    text = ", ".join(f"images of {own} fit {other} best" for own, other in [*better.items()][:3])
    if len(better) >= 2 and len(set(better.values())) == len(better):
        steps = {(other - own) % flow.n_classes for own, other in better.items()}
        how = f"by {min(steps)}" if len(steps) == 1 else "by a permutation"
        cause = f"labels are shifted {how} against those that the flow was trained with"
        return Measurement(
            len(better) / n_labels, text, cause, "number the classes in the same way in training and here"
        )
    if _are_of_other_images(under, few.context):
        text = "images are no likelier under their own labels than under others, though log p depends on them"
        cause = "the labels are those of other images, here or in training: only one of the two was shuffled"
        return Measurement(1.0, text, cause, "shuffle images and labels by one order, and index both by the same rows")
    return Measurement(len(better) / n_labels, text or f"none of {n_labels} labels fits better than their own")


def _are_of_other_images(under: Tensor, labels: Tensor) -> bool:
    """Return whether labels tell nothing of their images, while they would tell much if drawn as the flow believes.

    Args:
        under: log p of each image under each label, shape (n, n_classes).
        labels: Labels of the images, shape (n,).
    """
    centred = (under - under.mean(1, keepdim=True)).double()
    centred = centred - centred.mean(0)  # a label that fits all images better says nothing of any
    own = centred.gather(1, labels[:, None]).squeeze(1)
    error = own.std() / len(own) ** 0.5
    believed = (centred.softmax(1) * centred).sum(1).mean()
    is_nothing = own.mean() < STANDARD_ERRORS * error and own.mean() < believed / 10
    return bool(is_nothing and own.mean() + STANDARD_ERRORS * error < believed)


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


PAIRS = (images_fit_their_own_labels,)
