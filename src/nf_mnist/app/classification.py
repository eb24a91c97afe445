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
    check_classes,
    check_digits,
    class_probabilities,
    expected_calibration_error,
    label_nats,
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
        label) and ``seconds_per_image``; and ``n_images``.
    """
    settings = task.settings
    images, index = random_subset(task.images, settings.get("n_images"), settings["seed"])
    begin = time.monotonic()
    by_flow = class_probabilities(
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
    return {
        "n_images": len(index),
        "flow": _scores(by_flow, images.labels, middle - begin),
        "classifier": _scores(by_classifier, images.labels, end - middle),
    }


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
    return {
        f"{who}: accuracy, calibration error, cost": f"{scores['accuracy']:.2%}, {scores['calibration_error']:.2%}, "
        f"{1000 * scores['seconds_per_image']:.2f} ms per image"
        for who, scores in (("flow by Bayes' rule", found["flow"]), ("released classifier", found["classifier"]))
    }
