"""Measure a trained flow: ``python -m nf_mnist.evaluate ckpt=FILE``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from nf_mnist.cli import command, csv_of, new_path, write_json, write_text
from nf_mnist.errors import ConfigError
from nf_mnist.evaluation import evaluate_against, evaluate_samples, evaluate_subject, load_other, load_subject
from nf_mnist.training.checkpoint import read_checkpoint, training_record

if TYPE_CHECKING:
    from nf_mnist.evaluation import Subject
    from nf_mnist.quality import Sweep

AUROC = "AUROC against {data}, by {score}"
PLOTS = ("radius_plot", "temperature_plot")
CURVES = ("frechet_distance", "precision", "recall", "confident_share")  # of the plot against temperature


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Print the figures of a checkpoint and write them as JSON."""
    from nf_mnist.checks import RANGES, check_ranges
    from nf_mnist.plots import radius_histogram
    from nf_mnist.report import print_figures, print_quality

    check_ranges(cfg, nullable={key for key in RANGES if key.startswith("evaluation.")})  # null: as in the training run
    out = new_path(cfg.out)
    plots = {key: _new_picture(key, cfg[key]) for key in PLOTS if cfg[key] is not None}
    scores = None if cfg.per_image is None else new_path(cfg.per_image)
    begin = time.monotonic()
    subject = load_subject(cfg.ckpt, cfg.evaluation, cfg.get("data"), cfg.trust, cfg.device)
    _check_quality(cfg, subject)
    other = None if cfg.against is None else load_other(cfg.against, subject)
    measured = evaluate_subject(subject)
    about = {"checkpoint": str(cfg.ckpt), "unit": measured.unit, "training": training_record(read_checkpoint(cfg.ckpt))}
    figures, rows = {**about, **measured.figures}, {}
    if other is not None:
        figures["against"] = evaluate_against(subject, measured, cfg.against, other)
        rows = {
            AUROC.format(data=cfg.against, score=score.replace("_", " ")): f"{value:.4f}"
            for score, value in figures["against"]["auroc"].items()
        }
    seconds = time.monotonic() - begin
    print_figures(measured.figures, measured.unit, {**rows, "time": f"{seconds:.0f} s", "figures": str(out)})
    write_json(out, figures)  # likelihoods may have taken hours
    if cfg.quality:
        figures["quality"], swept = evaluate_samples(subject, cfg.samples)
        print_quality(figures["quality"])
        write_json(out, figures)
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


def _plot_temperatures(swept: "Sweep", path: Path) -> None:
    from nf_mnist.plots import temperature_sweep

    curves = {name: [getattr(found, name) for found in swept.found] for name in CURVES}
    figure = temperature_sweep(swept.temperatures, curves, swept.floor._asdict(), swept.shown / 255)
    figure.savefig(path, dpi=100)


def _check_quality(cfg: DictConfig, subject: "Subject") -> None:
    """Check what quality=true needs before minutes are spent on the likelihood."""
    from nf_mnist.quality import N_NEIGHBOURS, check_digits, check_temperatures

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
