"""Measure a trained flow: ``python -m nf_mnist.evaluate ckpt=FILE``."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from nf_mnist.cli import command, csv_of, new_path, write_json, write_text
from nf_mnist.config import load_dequantizer, load_flow, load_split
from nf_mnist.errors import ConfigError
from nf_mnist.training.checkpoint import read_checkpoint, training_record

if TYPE_CHECKING:
    from torch import Tensor

    from nf_mnist.data import Dequantizer, Images
    from nf_mnist.flows import Flow
    from nf_mnist.quality import Sweep

CURVES = ("frechet_distance", "precision", "recall", "confident_share")  # of the plot against temperature


class Subject(NamedTuple):
    """A flow, the images of a split to measure it on, its training images, and the settings of the evaluation."""

    flow: "Flow"
    dequantizer: "Dequantizer"
    images: "Images"
    train: "Images"
    settings: dict[str, Any]


class Measured(NamedTuple):
    """Figures by name, their unit, those of each image, shape (n_images,), and latents, shape (n_images, dims)."""

    figures: dict[str, Any]
    unit: str
    per_image: "dict[str, Tensor]"
    latents: "Tensor"


def evaluate_checkpoint(path: str | Path, evaluation: Mapping[str, Any]) -> Measured:
    """Load a checkpoint and measure it on one split of the data of its training run, as :func:`evaluate_subject`."""
    return evaluate_subject(load_subject(path, evaluation))


def load_subject(
    path: str | Path,
    evaluation: Mapping[str, Any],
    data: DictConfig | None = None,
    trust: Sequence[str] = (),
    device: str = "auto",
) -> Subject:
    """Load a checkpoint and the images to measure it on.

    Args:
        path: The checkpoint.
        evaluation: Settings as in ``conf/train.yaml``; what is null is as in the training run.
        data: A data node; None for that of the training run.
        trust: Packages besides nf_mnist whose targets the checkpoint may name.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    from nf_mnist.checks import check_split
    from nf_mnist.training.hardware import resolve_device

    flow, trained = load_flow(path, trust)
    data = data or trained.data
    settings = {**(trained.evaluation or {}), **{key: value for key, value in evaluation.items() if value is not None}}
    missing = {"split", "n_draws", "batch_size", "seed"} - settings.keys()
    if missing:
        raise ConfigError(f"{path} was trained with evaluation=null; say {' and '.join(sorted(missing))}")
    check_split(settings["split"])
    chosen, train = load_split(data, settings["split"])
    on = resolve_device(device)
    return Subject(flow.to(on), load_dequantizer(path, data, trust).to(on), chosen, train, settings)


def evaluate_subject(subject: Subject) -> Measured:
    """Measure a flow on the images of one split.

    Returns:
        The figures of :func:`~nf_mnist.diagnostics.evaluate_flow` and the name of the split; what their log-likelihood
        is the likelihood of; the figures of each image; the latents.
    """
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.diagnostics import evaluate_flow
    from nf_mnist.training.hardware import keep_freed_memory

    settings = subject.settings
    keep_freed_memory()
    figures, per_image, latents = evaluate_flow(
        subject.flow,
        subject.dequantizer,
        subject.images,
        n_images=settings.get("n_images"),
        n_draws=settings["n_draws"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        progress=lambda passes: track(
            passes, f"evaluating on {settings['split']} images", console=Console(stderr=True)
        ),
    )
    return Measured({"split": settings["split"], **figures}, subject.dequantizer.unit, per_image, latents)


def evaluate_samples(subject: Subject, samples: Mapping[str, Any]) -> "tuple[dict[str, Any], Sweep]":
    """Draw samples at each temperature and measure them, and training images, against images of the split.

    Args:
        subject: A flow of digits.
        samples: Settings as in ``conf/evaluate.yaml``.

    Returns:
        Figures for :func:`~nf_mnist.report.print_quality` and for JSON, and the sweep that they are of.
    """
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.config import load_classifier
    from nf_mnist.data import random_subset
    from nf_mnist.quality import Reference, alarms, sweep

    n, seed = samples["n"], samples["seed"]
    images, _ = random_subset(subject.images, n, seed)
    classifier = load_classifier().to(next(subject.flow.parameters()).device)
    measured = sweep(
        subject.flow,
        Reference(classifier, images.levels, subject.train.levels),
        samples["temperatures"],
        n,
        batch_size=samples["batch_size"],
        seed=seed,
        progress=lambda temperatures: track(temperatures, "sampling at each temperature", console=Console(stderr=True)),
    )
    rows = zip(measured.temperatures, measured.found, measured.seconds, strict=True)
    return {
        "split": subject.settings["split"],
        "n_samples": n,
        "n_images": len(images.levels),
        "n_training_images": min(n, len(subject.train.levels)),
        "seed": seed,
        "temperatures": [{"temperature": t, **found._asdict(), "seconds": seconds} for t, found, seconds in rows],
        "best_temperature": measured.temperatures[measured.best],
        "training_images": measured.floor._asdict(),
        "alarms": alarms(measured.found[0], measured.floor),
    }, measured


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Print the figures of a checkpoint and write them as JSON."""
    from nf_mnist.checks import RANGES, check_ranges
    from nf_mnist.plots import radius_histogram
    from nf_mnist.report import print_figures, print_quality

    check_ranges(cfg, nullable={key for key in RANGES if key.startswith("evaluation.")})  # null: as in the training run
    out = new_path(cfg.out)
    plots = {key: new_path(cfg[key]) for key in ("radius_plot", "temperature_plot") if cfg[key] is not None}
    scores = None if cfg.per_image is None else new_path(cfg.per_image)
    begin = time.monotonic()
    subject = load_subject(cfg.ckpt, cfg.evaluation, cfg.get("data"), cfg.trust, cfg.device)
    _check_quality(cfg, subject.flow)
    measured = evaluate_subject(subject)
    seconds = time.monotonic() - begin
    print_figures(measured.figures, measured.unit, {"time": f"{seconds:.0f} s", "figures": str(out)})
    about = {"checkpoint": str(cfg.ckpt), "unit": measured.unit, "training": training_record(read_checkpoint(cfg.ckpt))}
    figures = {**about, **measured.figures}
    if cfg.quality:
        figures["quality"], swept = evaluate_samples(subject, cfg.samples)
        print_quality(figures["quality"])
        if "temperature_plot" in plots:
            _plot_temperatures(swept, plots["temperature_plot"])
    write_json(out, figures)
    if scores is not None:
        write_text(scores, csv_of(measured.per_image))
    if "radius_plot" in plots:
        radius_histogram(measured.latents).savefig(plots["radius_plot"], dpi=100)


def _plot_temperatures(swept: "Sweep", path: Path) -> None:
    from nf_mnist.plots import temperature_sweep

    curves = {name: [getattr(found, name) for found in swept.found] for name in CURVES}
    figure = temperature_sweep(swept.temperatures, curves, swept.floor._asdict(), swept.shown / 255)
    figure.savefig(path, dpi=100)


def _check_quality(cfg: DictConfig, flow: "Flow") -> None:
    """Check what quality=true needs before minutes are spent on the likelihood."""
    from nf_mnist.quality import check_digits, check_temperatures

    if cfg.quality:
        check_digits(flow.event_shape)
        check_temperatures(cfg.samples.temperatures)
    elif cfg.temperature_plot is not None:
        raise ConfigError("temperature_plot= shows the quality of samples; add quality=true")


if __name__ == "__main__":
    main()
