"""The pictures and the page that a training leaves in the folder of the run."""

import csv
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from nf_mnist.checkpoints.writing import write_bytes, write_text
from nf_mnist.flows import Flow
from nf_mnist.metrics import draw_levels
from nf_mnist.pages import render

N_SAMPLES = 64
ENLARGEMENT = 2
PICTURES = {"samples": "samples.png", "norm of z": "norm_of_z.png", "learning curve": "learning_curve.png"}
REPORT_FILE = "report.html"
REPORT_FILES = (*PICTURES.values(), REPORT_FILE)


def write_report(run_dir: Path, name: str, rows: Mapping[str, str], flow: Flow, latents: Tensor, seed: int) -> str:
    """Write samples, the norms of latents and the learning curve as pictures, and a page with them and the metrics.

    Args:
        run_dir: The folder of the run.
        name: Name of the run, the title of the page.
        rows: Name and value of each metric.
        flow: Flow in evaluation mode.
        latents: Latents of the images that it was measured on, shape (n, dims).
        seed: Seed for the samples.

    Returns:
        The names of the files, for people.
    """
    from nf_mnist.plots import image_grid, learning_curve, png, radius_histogram  # imports matplotlib

    levels, _ = draw_levels(flow, N_SAMPLES, batch_size=N_SAMPLES, seed=seed)
    pictures = {"samples": png(enlarged(image_grid(levels / 255))), "norm of z": png(radius_histogram(latents))}
    if points := read_curve(run_dir / "csv" / "metrics.csv"):
        pictures["learning curve"] = png(learning_curve(*points))
    for title, content in pictures.items():
        write_bytes(run_dir / PICTURES[title], content)
    write_text(run_dir / REPORT_FILE, render("run", name, pictures, rows=rows))
    return ", ".join([*(PICTURES[title] for title in pictures), REPORT_FILE])


def enlarged(picture: Tensor) -> Tensor:
    """Return a picture, shape (channels, height, width), with each pixel as a square of ENLARGEMENT pixels a side."""
    return picture.repeat_interleave(ENLARGEMENT, 1).repeat_interleave(ENLARGEMENT, 2)


Curve = list[tuple[int, float]]


def read_curve(path: Path) -> tuple[Curve, Curve, str] | None:
    """Return training and validation losses as pairs of step and value, and what they are; None if there are none.

    Args:
        path: ``metrics.csv`` of a run. Bits per dimension are preferred to the loss in nats.
    """
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for metric, unit in (("bpd", "bits per dimension"), ("loss", "loss, nats per image")):
        train, validation = (
            [(int(row["step"]), float(row[key])) for row in rows if row.get(key)]
            for key in (f"train/{metric}", f"val/{metric}")
        )
        if train or validation:
            return train, validation, unit
    return None
