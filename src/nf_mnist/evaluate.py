"""Measure a trained flow: ``python -m nf_mnist.evaluate ckpt=FILE``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from nf_mnist.app.command import command
from nf_mnist.app.evaluation import evaluate_ood, evaluate_samples, evaluate_task, load_ood_images, load_task
from nf_mnist.app.output import csv_of, new_path
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.errors import ConfigError

if TYPE_CHECKING:
    from nf_mnist.app.evaluation import EvaluationTask
    from nf_mnist.metrics import TemperatureScan

AUROC = "AUROC against {data}, by {score}"
PLOTS = ("radius_plot", "temperature_plot")
CURVES = ("frechet_distance", "precision", "recall", "confident_share")  # of the plot against temperature


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Print the metrics of a checkpoint and write them as JSON."""
    from nf_mnist.app.settings import RANGES, check_ranges
    from nf_mnist.app.tables import print_metrics, print_quality
    from nf_mnist.plots import radius_histogram

    check_ranges(cfg, nullable={key for key in RANGES if key.startswith("evaluation.")})  # null: as in the training run
    out = new_path(cfg.out)
    plots = {key: _new_picture(key, cfg[key]) for key in PLOTS if cfg[key] is not None}
    scores = None if cfg.per_image is None else new_path(cfg.per_image)
    begin = time.monotonic()
    subject = load_task(cfg.ckpt, cfg.evaluation, cfg.get("data"), cfg.trust, cfg.device)
    _check_quality(cfg, subject)
    other = None if cfg.ood_data is None else load_ood_images(cfg.ood_data, subject)
    measured = evaluate_task(subject)
    about = {"checkpoint": str(cfg.ckpt), "unit": measured.unit, "training": subject.record}
    metrics, rows = {**about, **measured.metrics}, {}
    if other is not None:
        metrics["ood"] = evaluate_ood(subject, measured, cfg.ood_data, other)
        rows = {
            AUROC.format(data=cfg.ood_data, score=score.replace("_", " ")): f"{value:.4f}"
            for score, value in metrics["ood"]["auroc"].items()
        }
    seconds = time.monotonic() - begin
    print_metrics(measured.metrics, measured.unit, {**rows, "time": f"{seconds:.0f} s", "metrics": str(out)})
    write_json(out, metrics)  # likelihoods may have taken hours
    if cfg.quality:
        metrics["quality"], swept = evaluate_samples(subject, cfg.samples)
        print_quality(metrics["quality"])
        write_json(out, metrics)
    if scores is not None:
        write_text(scores, csv_of(measured.per_image))
    if "temperature_plot" in plots:
        _plot_temperatures(swept, plots["temperature_plot"])
    if "radius_plot" in plots:
        radius_histogram(measured.latents).savefig(plots["radius_plot"], dpi=100)


def _new_picture(key: str, path: str) -> Path:
    """Return the path of a picture, its parent folder made; matplotlib tells the format by the ending."""
    from matplotlib.backend_bases import FigureCanvasBase

    if Path(path).suffix.removeprefix(".").lower() not in FigureCanvasBase.filetypes:
        raise ConfigError(f"{key}={path} has no ending of a picture; give it one, such as .png, .svg or .pdf")
    return new_path(path)


def _plot_temperatures(swept: "TemperatureScan", path: Path) -> None:
    from nf_mnist.plots import temperature_figure

    curves = {name: [getattr(found, name) for found in swept.quality] for name in CURVES}
    figure = temperature_figure(swept.temperatures, curves, swept.floor._asdict(), swept.shown / 255)
    figure.savefig(path, dpi=100)


def _check_quality(cfg: DictConfig, subject: "EvaluationTask") -> None:
    """Check what quality=true needs before minutes are spent on the likelihood."""
    from nf_mnist.metrics import N_NEIGHBOURS, check_digits, check_temperatures

    if cfg.quality:
        check_digits(subject.flow.event_shape)
        check_temperatures(cfg.samples.temperatures)
        if len(subject.images.levels) <= N_NEIGHBOURS:
            raise ConfigError(
                f"quality=true needs {N_NEIGHBOURS + 1} images to compare with or more; there are "
                f"{len(subject.images.levels)} of {subject.settings['split']}"
            )
    elif cfg.temperature_plot is not None:
        raise ConfigError("temperature_plot= shows the quality of samples; add quality=true")


if __name__ == "__main__":
    main()
