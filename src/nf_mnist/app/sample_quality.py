"""How good the samples of a flow are, measured beside real images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from nf_mnist.app.evaluation import EvaluationTask
from nf_mnist.app.output import write_figure
from nf_mnist.app.placement import Placement
from nf_mnist.app.progress import progress_bar
from nf_mnist.app.sampling import resolve_sampling
from nf_mnist.app.trained import load_classifier
from nf_mnist.data import random_subset
from nf_mnist.errors import ConfigError
from nf_mnist.hardware import resolve_precision
from nf_mnist.metrics import (
    N_NEIGHBOURS,
    ReferenceImages,
    TemperatureScan,
    alarms,
    check_digits,
    check_temperatures,
    scan_temperatures,
)

CURVES = ("frechet_distance", "precision", "recall", "confident_share")  # of the plot against temperature


def check_quality(cfg: DictConfig, task: EvaluationTask) -> None:
    """Check what ``quality=true`` needs, before minutes are spent on the likelihood.

    Raises:
        ConfigError: If there are too few images, the temperatures cannot be scanned, samples cannot be guided or
            denoised or drawn in this precision, or a plot of samples is asked for without measuring them.
        ShapeError: If the flow is not one of digits.
    """
    if cfg.quality:
        check_digits(task.flow.event_shape)
        check_temperatures(cfg.samples.temperatures)
        resolve_sampling(cfg.samples, task.flow, task.dequantizer)
        _placement(cfg.samples, task)
        if len(task.images.levels) <= N_NEIGHBOURS:
            raise ConfigError(
                f"quality=true needs {N_NEIGHBOURS + 1} images to compare with or more; there are "
                f"{len(task.images.levels)} of {task.settings['split']}"
            )
    elif cfg.temperature_plot is not None:
        raise ConfigError("temperature_plot= shows the quality of samples; add quality=true")


def evaluate_samples(task: EvaluationTask, samples: Mapping[str, Any]) -> tuple[dict[str, Any], TemperatureScan]:
    """Draw samples at each temperature and measure them, and training images, against images of the split.

    Args:
        task: A flow of digits, and its images.
        samples: Settings as in ``conf/evaluate.yaml``.

    Returns:
        Metrics for :func:`~nf_mnist.app.tables.print_quality` and for JSON, and the scan that they are from.
    """
    n, seed = samples["n"], samples["seed"]
    sampling, placement = resolve_sampling(samples, task.flow, task.dequantizer), _placement(samples, task)
    images, _ = random_subset(task.images, n, seed)
    classifier = load_classifier().to(next(task.flow.parameters()).device)
    scan = scan_temperatures(
        task.flow,
        ReferenceImages(classifier, images.levels, task.train.levels),
        samples["temperatures"],
        n,
        batch_size=samples["batch_size"],
        seed=seed,
        sampling=sampling,
        autocast=placement.autocast,
        progress=progress_bar("sampling at each temperature"),
    )
    n_nan = scan.n_nan[0]
    of_nan = [f"{n_nan:,} of {n:,} samples have pixels that are NaN, drawn black"] if n_nan else []
    return {
        "split": task.settings["split"],
        "n_samples": n,
        "n_images": len(images.levels),
        "n_training_images": min(n, len(task.train.levels)),
        "seed": seed,
        **sampling._asdict(),
        "precision": placement.precision,
        "temperatures": _rows(scan),
        "best_temperature": scan.temperatures[scan.best],
        "training_images": scan.floor._asdict(),
        "alarms": [*of_nan, *alarms(scan.quality[0], scan.floor)],
    }, scan


def _placement(samples: Mapping[str, Any], task: EvaluationTask) -> Placement:
    """Return where and in which precision samples are drawn."""
    device = next(task.flow.parameters()).device
    placement = Placement(device, resolve_precision(samples["precision"], device.type))
    if placement.dtype != torch.float32:
        raise ConfigError(
            f"samples.precision={placement.precision}: the flow is in float32; take 32-true or bf16-mixed"
        )
    return placement


def _rows(scan: TemperatureScan) -> list[dict[str, Any]]:
    """Return the metrics of each temperature."""
    rows = zip(scan.temperatures, scan.quality, scan.n_nan, scan.seconds, strict=True)
    return [
        {"temperature": temperature, **quality._asdict(), "n_nan": n_nan, "seconds": seconds}
        for temperature, quality, n_nan, seconds in rows
    ]


def plot_temperatures(scan: TemperatureScan, path: Path) -> None:
    """Draw samples of each temperature, and their quality against it."""
    from nf_mnist.plots import temperature_figure  # imports torchvision and matplotlib

    curves = {name: [getattr(quality, name) for quality in scan.quality] for name in CURVES}
    write_figure(path, temperature_figure(scan.temperatures, curves, scan.floor._asdict(), scan.shown / 255))
