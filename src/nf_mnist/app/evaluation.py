"""A flow, the images to measure it on, and how likely they are under it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor

from nf_mnist.app.building import load_split
from nf_mnist.app.output import csv_of, new_file, new_path, write_figure
from nf_mnist.app.progress import progress_bar
from nf_mnist.app.settings import check_split
from nf_mnist.app.tables import image_names
from nf_mnist.app.trained import load_trained
from nf_mnist.data import Dequantizer, Images
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.hardware import keep_freed_memory, resolve_device
from nf_mnist.metrics import evaluate_flow, likelihood_unit

N_COLUMNS = 8  # of the picture of the least and most likely images, which has up to two rows of each


class EvaluationTask(NamedTuple):
    """A flow and the images to measure it on.

    Attributes:
        flow: The flow.
        dequantizer: The dequantizer that it was trained with.
        images: The images of a split.
        train: The training images of the same data.
        settings: Settings of the evaluation, as in ``conf/train.yaml``; none of them is missing.
        record: What training the flow cost; see :func:`~nf_mnist.checkpoints.records.training_record`.
    """

    flow: Flow
    dequantizer: Dequantizer
    images: Images
    train: Images
    settings: dict[str, Any]
    record: dict[str, Any]


class EvaluatedFlow(NamedTuple):
    """What was measured.

    Attributes:
        metrics: Metrics by name, as :func:`~nf_mnist.metrics.evaluate_flow` returns them, and the name of the split.
        unit: What their log-likelihood is the likelihood of.
        per_image: Metrics of each image, shape (n_images,).
        latents: Latents of the images, shape (n_images, dims).
    """

    metrics: dict[str, Any]
    unit: str
    per_image: dict[str, Tensor]
    latents: Tensor


def load_evaluation_task(
    path: str | Path,
    evaluation: Mapping[str, Any] | None,
    data: DictConfig | None = None,
    trust: Iterable[str] = (),
    device: str = "auto",
) -> EvaluationTask:
    """Load a checkpoint and the images to measure it on.

    Args:
        path: The checkpoint.
        evaluation: Settings as in ``conf/train.yaml``; those that are null, or all if it is None, are as in the
            training run.
        data: A data node; None for that of the training run.
        trust: Packages besides nf_mnist whose targets the checkpoint may name.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        CheckpointError: If the checkpoint is refused, or its settings of the evaluation are of a wrong kind.
        ConfigError: If a setting is missing, since the training run measured nothing, or the split is unknown.
    """
    trained = load_trained(path, trust, data)
    given = {key: value for key, value in (evaluation or {}).items() if value is not None}
    settings = {**(trained.cfg.get("evaluation") or {}), **given}
    missing = {"split", "n_draws", "batch_size", "seed"} - settings.keys()
    if missing:
        raise ConfigError(f"{path} was trained with evaluation=null; say {' and '.join(sorted(missing))}")
    check_split(settings["split"])
    images, train = load_split(data or trained.cfg.data, settings["split"])
    to = resolve_device(device)
    return EvaluationTask(trained.flow.to(to), trained.dequantizer.to(to), images, train, settings, trained.record)


def evaluate_task(task: EvaluationTask) -> EvaluatedFlow:
    """Measure a flow on the images of one split."""
    settings = task.settings
    keep_freed_memory()
    metrics, per_image, latents = evaluate_flow(
        task.flow,
        task.dequantizer,
        task.images,
        n_images=settings.get("n_images"),
        n_draws=settings["n_draws"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        progress=progress_bar(f"evaluating on {settings['split']} images"),
    )
    unit = likelihood_unit(task.flow, task.dequantizer)
    return EvaluatedFlow({"split": settings["split"], **metrics}, unit, per_image, latents)


def new_per_image_paths(path: str) -> tuple[Path, Path]:
    """Return the new paths of the metrics of each image and, beside them, of the picture of the extreme ones."""
    return new_path(path), new_path(Path(path).with_suffix(".png"))


def write_per_image(paths: tuple[Path, Path], images: Images, evaluated: EvaluatedFlow) -> None:
    """Write the metrics of each image as CSV, and the least and most likely images as a picture.

    Args:
        paths: What :func:`new_per_image_paths` returned.
        images: The images of the split.
        evaluated: What was measured of some of them.
    """
    from nf_mnist.plots import contact_sheet  # imports torchvision and matplotlib

    table, picture = paths
    new_file(table, lambda file: file.write(csv_of(evaluated.per_image).encode()))
    chosen = extremes(evaluated.per_image["log_likelihood"])
    shown = images.select(evaluated.per_image["index"][chosen])
    if "bpd" in evaluated.per_image:
        values = [f"{value:.3f} bpd" for value in evaluated.per_image["bpd"][chosen].tolist()]
    else:
        values = [f"{value:.0f} nats" for value in evaluated.per_image["log_likelihood"][chosen].tolist()]
    names = image_names(evaluated.per_image["index"][chosen], shown.labels)
    captions = [f"{name}\n{value}" for name, value in zip(names, values, strict=True)]
    heading = f"above the {len(chosen) // 2} least likely images, below the {len(chosen) // 2} most likely"
    columns = min(N_COLUMNS, len(chosen) // 2)
    write_figure(picture, contact_sheet(shown.levels / 255, columns, heading, captions=captions))


def extremes(log_likelihood: Tensor) -> Tensor:
    """Return the positions of the least likely images and then of as many most likely, each from the extreme inwards.

    They fill one or two rows each. An image that has no likelihood, NaN, is among the least likely.

    Args:
        log_likelihood: Log-likelihoods, shape (n,).
    """
    half = max(1, len(log_likelihood) // 2)
    n = half if half < N_COLUMNS else min(half // N_COLUMNS, 2) * N_COLUMNS
    order = log_likelihood.nan_to_num(-torch.inf).argsort()
    return torch.cat([order[:n], order.flip(0)[:n]])
