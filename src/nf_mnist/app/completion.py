"""Completing images of which a part is hidden: the images, the method, and what is written and printed of it."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from nf_mnist.app.building import build_dequantizer, load_split
from nf_mnist.app.composing import instantiate
from nf_mnist.app.output import csv_of, write_figure
from nf_mnist.app.placement import Placement
from nf_mnist.app.progress import progress_bar
from nf_mnist.app.tables import image_names
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.data import evaluation_noise, random_subset, read_picture, to_levels
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.inpainting import Completions, ScoredCompletions, corrupt, make_observed, measure

N_SHOWN = 8  # images and completions in the picture


class CompletionTask(NamedTuple):
    """Images to complete.

    Attributes:
        truth: The whole images, in [0, 1], shape (n_images, 1, height, width).
        columns: Number of each image in its split and its label, by the names ``index`` and ``label``; empty for a
            picture of the user's own.
        observed: Which pixels are given, shape (1, height, width).
        corrupted: The images with something else in their hidden part, shape as ``truth``.
        generator: The source of all further random numbers, on the CPU.
        placement: Where the images are, and the precision to complete them in.
    """

    truth: Tensor
    columns: dict[str, Tensor]
    observed: Tensor
    corrupted: Tensor
    generator: torch.Generator
    placement: Placement


def build_method(node: DictConfig) -> Callable[..., Completions]:
    """Return the method of a ``method`` node, with its settings.

    Raises:
        ConfigError: If a setting is missing, or the method has no such setting.
    """
    method = instantiate(node)
    try:
        inspect.signature(method.func).bind(None, None, None, n_samples=1, generator=None, **method.keywords)
    except TypeError as error:
        raise ConfigError(f"cannot build {node._target_}: {error}") from error
    return method


def make_completion_task(cfg: DictConfig, flow: Flow, data: DictConfig, placement: Placement) -> CompletionTask:
    """Choose images and hide a part of them, as the settings of ``inpaint`` ask.

    Args:
        cfg: The configuration of the command.
        flow: The flow that is to complete them.
        data: The ``data`` node that they are taken from.
        placement: Where they go, and their precision.

    Raises:
        ConfigError: If the mask or the corruption is unknown.
        ShapeError: If the images have another shape than the flow's data.
    """
    truth, columns = _images(cfg, flow, data)
    truth = truth.to(placement.device, placement.dtype)
    observed = make_observed(cfg.mask, flow.event_shape, cfg.seed).to(placement.device)
    generator = torch.Generator().manual_seed(cfg.seed)
    corrupted = corrupt(truth, observed, cfg.corruption, generator)
    return CompletionTask(truth, columns, observed, corrupted, generator, placement)


def _images(cfg: DictConfig, flow: Flow, data: DictConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a user's picture, or a seeded random sample of a split, in [0, 1]; and the columns of the task.

    Images are dequantized by the data's own dequantizer, never by a learned one: the truth does not depend on the flow.
    """
    if data.dequantizer == "gaussian":
        raise ConfigError(
            "inpainting takes images in [0, 1], and this flow was trained on ones with Gaussian noise, which leave it; "
            "data=mnist gives images with uniform noise"
        )
    dequantizer = build_dequantizer(data, OmegaConf.create())
    if cfg.image is not None:
        levels, index, columns = read_picture(str(cfg.image))[None], torch.zeros(1, dtype=torch.int64), {}
    else:
        images, _ = load_split(data, cfg.split)
        chosen, index = random_subset(images, cfg.n_images, cfg.seed)
        levels, columns = chosen.levels, {"index": index, "label": chosen.labels}
    if levels.shape[1:] != flow.event_shape:
        what = "an image" if cfg.image is None else cfg.image
        raise ShapeError(f"{what} is {tuple(levels.shape[1:])}, but this flow completes {flow.event_shape}")
    x, _ = dequantizer(levels, evaluation_noise(index, flow.event_shape, 0, cfg.seed))
    return x, columns


def complete(
    cfg: DictConfig, method: Callable[..., Completions], flow: Flow, task: CompletionTask
) -> ScoredCompletions:
    """Complete the images of a task by a method, batch by batch, and score the completions."""
    with task.placement.autocast():
        return measure(
            method,
            flow.requires_grad_(False),
            task.truth,
            task.observed,
            n_samples=cfg.n_samples,
            batch_size=cfg.batch_size,
            generator=task.generator,
            progress=progress_bar("inpainting"),
        )


def write_completions(cfg: DictConfig, task: CompletionTask, scored: ScoredCompletions, out: Path) -> dict[str, Any]:
    """Write the picture, the metrics of each image and their means into the folder ``out``.

    Returns:
        What is written into ``metrics.json``.
    """
    per_image = {"squared_error_corrupted": _squared_error(task.corrupted, task.truth).cpu(), **scored.per_image}
    metrics = {
        "checkpoint": str(cfg.ckpt),
        "images": cfg.split if cfg.image is None else str(cfg.image),
        "mask": cfg.mask,
        "label": cfg.label,
        "method": cfg.method._target_.rpartition(".")[2],
        "n_images": len(task.truth),
        "n_samples": cfg.n_samples,
        "precision": task.placement.precision,
        "seed": cfg.seed,
        "seconds_per_image": scored.seconds / len(task.truth),
        "gradients_per_image": scored.first.n_gradients,
        **scored.report,
        **{name: values.double().mean().item() for name, values in per_image.items()},
    }
    _write_picture(out / "inpainting.png", f"{metrics['method']}, hidden: {Path(cfg.mask).stem}", task, scored.first)
    write_text(out / "images.csv", csv_of({**task.columns, **per_image}))
    write_json(out / "metrics.json", metrics)
    return metrics


def _write_picture(path: Path, heading: str, task: CompletionTask, found: Completions) -> None:
    """Write a row for each image: truth, corrupted, completions; of several also their mean and standard deviation."""
    from nf_mnist.plots import contact_sheet  # imports torchvision and matplotlib

    truth = task.truth[:N_SHOWN][: found.x.shape[1]]
    completions = found.x[:, : len(truth)]
    guesses = {"corrupted": task.corrupted[: len(truth)]}
    guesses |= {f"completion {i + 1}": x for i, x in enumerate(completions[:N_SHOWN])}
    columns = {"truth": truth, **guesses}
    if len(completions) > 1:
        columns["mean"] = guesses["mean"] = completions.mean(0)
        columns["deviation x 2"] = 2 * completions.std(0)  # a deviation is 1/2 at most
    captions = {name: [f"error {error:.1f}" for error in _squared_error(x, truth)] for name, x in guesses.items()}
    if task.columns:
        captions["truth"] = image_names(task.columns["index"], task.columns["label"])
    images = torch.stack(list(columns.values()), 1).flatten(0, 1)
    under = [captions[name][row] if name in captions else "" for row in range(len(truth)) for name in columns]
    write_figure(path, contact_sheet(to_levels(images) / 255, len(columns), heading, list(columns), under))


def _squared_error(x: Tensor, truth: Tensor) -> Tensor:
    """Return the squared error of each image, summed over its pixels."""
    return (x - truth).square().flatten(1).sum(1)
