"""Measure a trained flow: ``python -m nf_mnist.evaluate ckpt=FILE``."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig

from nf_mnist.cli import command, csv_of, new_path, write_json, write_text
from nf_mnist.config import instantiate, load_flow
from nf_mnist.errors import ConfigError
from nf_mnist.training.checkpoint import read_checkpoint, training_record

if TYPE_CHECKING:
    from torch import Tensor


class Measured(NamedTuple):
    """Figures by name, their unit, those of each image, shape (n_images,), and latents, shape (n_images, dims)."""

    figures: dict[str, Any]
    unit: str
    per_image: "dict[str, Tensor]"
    latents: "Tensor"


def evaluate_checkpoint(
    path: str | Path,
    evaluation: Mapping[str, Any],
    data: DictConfig | None = None,
    trust: Sequence[str] = (),
    device: str = "auto",
) -> Measured:
    """Load a checkpoint and measure it on one split.

    Args:
        path: The checkpoint.
        evaluation: Settings as in ``conf/train.yaml``; what is null is as in the training run.
        data: A data node; None for that of the training run.
        trust: Packages besides nf_mnist whose targets the checkpoint may name.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        The figures of :func:`~nf_mnist.diagnostics.evaluate_flow` and the name of the split; what their log-likelihood
        is the likelihood of; the figures of each image; the latents.
    """
    from rich.console import Console
    from rich.progress import track

    from nf_mnist.checks import check_split
    from nf_mnist.data import DEQUANTIZERS, split
    from nf_mnist.diagnostics import evaluate_flow
    from nf_mnist.training.hardware import keep_freed_memory, resolve_device

    flow, trained = load_flow(path, trust)
    data = data or trained.data
    settings = {**(trained.evaluation or {}), **{key: value for key, value in evaluation.items() if value is not None}}
    missing = {"split", "n_draws", "batch_size", "seed"} - settings.keys()
    if missing:
        raise ConfigError(f"{path} was trained with evaluation=null; say {' and '.join(sorted(missing))}")
    check_split(settings["split"])
    images, test = instantiate(data.source)
    chosen = test if settings["split"] == "test" else split(images, data.n_validation, data.split_seed)[0]
    dequantizer = DEQUANTIZERS[data.dequantizer]()
    keep_freed_memory()
    figures, per_image, latents = evaluate_flow(
        flow.to(resolve_device(device)),
        dequantizer,
        chosen,
        n_images=settings.get("n_images"),
        n_draws=settings["n_draws"],
        batch_size=settings["batch_size"],
        seed=settings["seed"],
        progress=lambda passes: track(
            passes, f"evaluating on {settings['split']} images", console=Console(stderr=True)
        ),
    )
    return Measured({"split": settings["split"], **figures}, dequantizer.unit, per_image, latents)


@command("evaluate")
def main(cfg: DictConfig) -> None:
    """Print the figures of a checkpoint and write them as JSON."""
    from nf_mnist.checks import RANGES, check_ranges
    from nf_mnist.plots import radius_histogram
    from nf_mnist.report import print_figures

    check_ranges(cfg, nullable=RANGES)  # null: as in the training run
    out = new_path(cfg.out)
    plot = None if cfg.radius_plot is None else new_path(cfg.radius_plot)
    scores = None if cfg.per_image is None else new_path(cfg.per_image)
    begin = time.monotonic()
    measured = evaluate_checkpoint(cfg.ckpt, cfg.evaluation, cfg.get("data"), cfg.trust, cfg.device)
    seconds = time.monotonic() - begin
    print_figures(measured.figures, measured.unit, {"time": f"{seconds:.0f} s", "figures": str(out)})
    about = {"checkpoint": str(cfg.ckpt), "unit": measured.unit, "training": training_record(read_checkpoint(cfg.ckpt))}
    write_json(out, {**about, **measured.figures})
    if scores is not None:
        write_text(scores, csv_of(measured.per_image))
    if plot is not None:
        radius_histogram(measured.latents).savefig(plot, dpi=100)


if __name__ == "__main__":
    main()
