"""Drawing samples of a flow, and what the released classifier sees in them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig
from torch import Tensor

from nf_mnist.app.output import new_folder, new_path, write_figure, write_image
from nf_mnist.app.placement import Placement
from nf_mnist.app.progress import progress_bar
from nf_mnist.app.trained import load_classifier
from nf_mnist.data import Dequantizer, GaussianDequantizer, mnist, random_subset
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.metrics import (
    CONFIDENT,
    Drawn,
    Sampling,
    check_digits,
    class_histogram,
    confident_share,
    draw_levels,
)


def check_sampling(cfg: DictConfig, flow: Flow, dequantizer: Dequantizer) -> Sampling:
    """Check that a flow has what the settings of ``sample`` ask for; return guidance and denoising.

    Raises:
        ConfigError: If it has no such label, nothing to guide it, or no noise to remove.
        ShapeError: If its samples cannot be classified, since they are not the size of MNIST's digits.
    """
    if cfg.classify:
        check_digits(flow.event_shape)
    if cfg.label is not None:
        flow.check_label(cfg.label)
    return resolve_sampling(cast(Mapping[str, Any], cfg), flow, dequantizer)


def resolve_sampling(settings: Mapping[str, Any], flow: Flow, dequantizer: Dequantizer) -> Sampling:
    """Return what the settings ``guidance``, ``attention_temperature`` and ``denoise`` mean for a flow.

    Raises:
        ConfigError: If it cannot be guided, or was not trained on images with Gaussian noise.
    """
    if settings["guidance"]:
        flow.guided(settings["guidance"], settings["attention_temperature"])
    elif settings["attention_temperature"] is not None:
        raise ConfigError("attention_temperature= is a setting of guidance; add guidance=1")
    if not settings["denoise"]:
        return Sampling(settings["guidance"], settings["attention_temperature"])
    if not isinstance(dequantizer, GaussianDequantizer):
        raise ConfigError(
            "denoise=true removes the noise of data.dequantizer=gaussian, and this flow was trained without it"
        )
    return Sampling(settings["guidance"], settings["attention_temperature"], dequantizer.noise_std)


def draw_samples(cfg: DictConfig, flow: Flow, sampling: Sampling, placement: Placement) -> Drawn:
    """Draw samples as the settings of ``sample`` ask."""
    with placement.autocast():
        return draw_levels(
            flow,
            cfg.n,
            cfg.temperature,
            batch_size=cfg.batch_size,
            seed=cfg.seed,
            label=cfg.label,
            sampling=sampling,
            progress=progress_bar("sampling"),
        )


def classify_samples(levels: Tensor, seed: int) -> dict[str, Any]:
    """Return what the released classifier sees in samples, and in as many training images of MNIST.

    Args:
        levels: Samples as grey levels, shape (n, 1, 28, 28).
        seed: Seed for the choice of training images.
    """
    training = random_subset(mnist().train, len(levels), seed)[0].levels
    classifier, found = load_classifier(), {}
    for name, images in (("samples", levels), ("training_images", training)):
        seen = classifier.probabilities(images)
        found[name] = {"confident_share": confident_share(seen), "class_histogram": class_histogram(seen)}
    return found


def print_classes(found: dict[str, Any]) -> None:
    """Print what :func:`classify_samples` returned."""
    for name, seen in found.items():
        share, counts = f"{seen['confident_share']:.1%}", seen["class_histogram"]
        print(f"{name.replace('_', ' ')}: the classifier is above {CONFIDENT} confident of {share}, and sees {counts}")


def metrics_path(out: Path) -> Path:
    """Return the new path of the metrics of samples: beside them, under their name."""
    return new_path(out.with_suffix(".json") if _is_grid(out) else out.with_name(f"{out.name}.json"))


def write_samples(levels: Tensor, out: Path, temperature: float, labels: Tensor | None) -> Path:
    """Write samples, shape (n, 1, height, width), as one picture if ``out`` ends in .png, else each into a folder.

    Args:
        levels: Grey levels of the samples.
        out: Path of the picture, or of the folder, whose images have the size of the samples.
        temperature: Temperature of the samples, for the heading of the picture.
        labels: The label of each sample, which is written under it; None for a flow without labels.

    Returns:
        The picture or the folder.
    """
    from nf_mnist.plots import contact_sheet  # imports torchvision and matplotlib

    if _is_grid(out):
        heading = f"{len(levels)} samples at temperature {temperature:g}"
        captions = [] if labels is None else [f"label {label}" for label in labels.tolist()]
        columns = math.ceil(math.sqrt(len(levels)))
        return write_figure(out, contact_sheet(levels / 255, columns, heading, captions=captions))
    with new_folder(out) as folder:
        for number, image in enumerate(levels):
            write_image(folder / f"{number:06d}.png", image / 255)
    return folder


def _is_grid(out: Path) -> bool:
    return out.suffix == ".png"
