"""Other images, to be told from a flow's own by their likelihood."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from nf_mnist.app.composing import config_dir, instantiate
from nf_mnist.app.evaluation import EvaluatedFlow, EvaluationTask, evaluate_task
from nf_mnist.data import Images, array_file
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.metrics import SYNTHETIC_OOD, ood_auroc


def load_ood_images(name: str, task: EvaluationTask) -> Images:
    """Return images that are to be told from those of a task.

    Args:
        name: A set of ``conf/data``, whose test images are taken; one of :data:`~nf_mnist.metrics.SYNTHETIC_OOD`, made
            of the task's images; or an ``.npz`` file as for ``data=array``.
        task: The flow and its own images.

    Raises:
        ConfigError: If there is nothing of that name, or the flow takes labels and an image has none of its classes.
        ShapeError: If the images have another shape than the flow's data.
    """
    files = {path.stem: OmegaConf.load(path) for path in sorted(Path(config_dir(), "data").glob("*.yaml"))}
    sources = {stem: node.source for stem, node in files.items() if "source" in node}
    if name.endswith(".npz"):
        first, second = array_file(name, 0.5, 0)
        levels, labels = torch.cat([first.levels, second.levels]), torch.cat([first.labels, second.labels])
        other = Images(levels, labels, first.labels_source)
    elif name in sources:
        other = instantiate(sources[name]).test
    elif name in SYNTHETIC_OOD:
        generator = torch.Generator().manual_seed(task.settings["seed"])
        other = task.images._replace(levels=SYNTHETIC_OOD[name](task.images.levels, generator))
    else:
        known = ", ".join([*sources, *SYNTHETIC_OOD])
        raise ConfigError(f"unknown ood_data={name}; choose one of {known}, or an .npz file of images")
    expected, found = task.flow.event_shape, tuple(other.levels.shape[1:])
    if found != expected:
        raise ShapeError(f"this flow takes {expected}, the images of ood_data={name} are {found}")
    task.flow.check_labels(other.labels, other.labels_source)
    return other


def evaluate_ood(task: EvaluationTask, evaluated: EvaluatedFlow, name: str, other: Images) -> dict[str, Any]:
    """Measure how well other images are told from a task's own; as many are scored, and as many training images.

    Args:
        task: The flow and its own images.
        evaluated: What was measured of them.
        name: Name of the other images.
        other: The other images.

    Returns:
        Metrics for JSON: ``data``, ``n_images``, ``log_likelihood`` of the other images in nats, and ``auroc``, the
        fields of :class:`~nf_mnist.metrics.OutOfDistribution`.
    """
    n = len(evaluated.latents)
    of_other, of_training = (
        evaluate_task(task._replace(images=images, settings={**task.settings, "split": split, "n_images": n})).per_image
        for split, images in ((name, other), ("training", task.train))
    )
    log_likelihood = of_other["log_likelihood"]
    return {
        "data": name,
        "n_images": len(log_likelihood),
        "log_likelihood": log_likelihood.mean().item(),
        "auroc": ood_auroc(evaluated.per_image, of_other, of_training)._asdict(),
    }
