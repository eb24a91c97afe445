"""A flow with class labels as a classifier, measured beside the released one."""

import time
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from nf_mnist.app.evaluation import EvaluationTask
from nf_mnist.app.progress import progress_bar
from nf_mnist.app.trained import load_classifier
from nf_mnist.data import random_subset
from nf_mnist.metrics import (
    accuracy,
    bits_per_dim,
    check_classes,
    check_digits,
    expected_calibration_error,
    has_bits,
    label_nats,
    log_likelihood_by_class,
    log_likelihood_without_label,
)


def check_classification(cfg: DictConfig, task: EvaluationTask) -> None:
    """Check what ``classify=true`` needs, before minutes are spent on the likelihood.

    Raises:
        ConfigError: If the flow has no class labels.
        ShapeError: If the flow is not one of digits, which the released classifier takes.
    """
    if cfg.classify:
        check_classes(task.flow)
        check_digits(task.flow.event_shape)


def classify_images(task: EvaluationTask) -> dict[str, Any]:
    """Let the flow and the released classifier classify the images of a split.

    Returns:
        For each of ``flow`` and ``classifier``: ``accuracy``, ``calibration_error``, ``nats`` (mean of -log p of the
        label) and ``seconds_per_image``. Besides, ``n_images``; ``log_likelihood_without_label``, the mean of log p(v)
        in nats with all classes equally likely; and ``bpd_without_label``, where bits per dimension are defined.
    """
    settings = task.settings
    images, index = random_subset(task.images, settings.get("n_images"), settings["seed"])
    begin = time.monotonic()
    by_class = log_likelihood_by_class(
        task.flow,
        task.dequantizer,
        images,
        index,
        n_draws=settings["n_draws"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        progress=progress_bar("classifying"),
    )
    middle = time.monotonic()
    by_classifier = load_classifier().probabilities(images.levels).cpu()
    end = time.monotonic()
    without_label = log_likelihood_without_label(by_class).mean().item()
    found = {
        "n_images": len(index),
        "log_likelihood_without_label": without_label,
        "flow": _scores(by_class.softmax(1), images.labels, middle - begin),
        "classifier": _scores(by_classifier, images.labels, end - middle),
    }
    if has_bits(task.flow, task.dequantizer):
        found["bpd_without_label"] = bits_per_dim(without_label, 0.0, task.flow.dims)
    return found


def _scores(probabilities: Tensor, labels: Tensor, seconds: float) -> dict[str, float]:
    labels = labels.to(torch.int64)
    return {
        "accuracy": accuracy(probabilities, labels),
        "calibration_error": expected_calibration_error(probabilities, labels),
        "nats": label_nats(probabilities, labels),
        "seconds_per_image": seconds / len(labels),
    }


def classification_rows(found: dict[str, Any] | None) -> dict[str, str]:
    """Return rows for the table of metrics; None has no rows."""
    if found is None:
        return {}
    rows = {
        f"{who}: accuracy, calibration error, cost": f"{scores['accuracy']:.2%}, {scores['calibration_error']:.2%}, "
        f"{1000 * scores['seconds_per_image']:.2f} ms per image"
        for who, scores in (("flow by Bayes' rule", found["flow"]), ("released classifier", found["classifier"]))
    }
    if "bpd_without_label" in found:
        rows["bits per dimension if the label is unknown"] = f"{found['bpd_without_label']:.4f}"
    return rows
