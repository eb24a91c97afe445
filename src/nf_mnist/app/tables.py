"""Metrics as tables for people."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text
from torch import Tensor

from nf_mnist.app.messages import printable
from nf_mnist.data.sets import NO_LABEL
from nf_mnist.metrics.r_hat import CONVERGED, MIN_DRAWS

QUALITY_ROWS = {  # what is printed: which metric, in which format
    "Frechet distance of features": ("frechet_distance", ".2f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "the classifier is more than 95% sure of": ("confident_share", ".1%"),
    "KL of the digits that it sees, nats": ("class_kl", ".4f"),
    "nearer to a training image than 99% of {split} images*": ("memorized_share", ".1%"),
    "median distance to the nearest training image*": ("nearest_distance", ".2f"),
}


def print_metrics(rows: Mapping[str, str]) -> None:
    """Print names and values as a table.

    Args:
        rows: Name and value of each row.
    """
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(*plain(name, value))
    print_table(table)


def ood_rows(ood: Mapping[str, Any] | None) -> dict[str, str]:
    """Return rows about how well other images are told from a flow's own.

    Args:
        ood: Metrics from :func:`~nf_mnist.app.out_of_distribution.evaluate_ood`, or None, which has no rows.
    """
    if ood is None:
        return {}
    areas = ood["auroc"].items()
    return {f"AUROC against {ood['data']}, by {score.replace('_', ' ')}": f"{area:.4f}" for score, area in areas}


def print_quality(quality: Mapping[str, Any]) -> None:
    """Print the quality of samples at temperature 1.0 and at the best one, beside that of real images; then alarms.

    Args:
        quality: Metrics from :func:`~nf_mnist.app.sample_quality.evaluate_samples`.
    """
    n_samples, n_images, split = quality["n_samples"], quality["n_images"], quality["split"]
    columns = {
        f"{n_samples:,} samples at temperature {row['temperature']:g}": row
        for row in quality["temperatures"]
        if row["temperature"] in (1.0, quality["best_temperature"])
    }
    columns[f"{quality['n_training_images']:,} training images"] = quality["training_images"]
    table = Table(*map(Column, plain(f"against {n_images:,} {split} images", *columns)))
    for name, (key, spec) in QUALITY_ROWS.items():
        cells = [format(metrics[key], spec) for metrics in columns.values()]
        table.add_row(*plain(name.format(split=split), *cells))
    table.add_row("per cent of digits 0 to 9", *(_shares(metrics["class_histogram"]) for metrics in columns.values()))
    print_table(table)
    print(f"* in the last column of the {split} images themselves")
    for alarm in quality["alarms"]:
        print(f"alarm, temperature 1: {alarm}")


def _shares(histogram: Sequence[int]) -> str:
    return " ".join(f"{100 * count / sum(histogram):.0f}" for count in histogram)


def plain(*texts: str) -> list[Text]:
    """Return texts as cells of a table that show every character: in a plain ``str`` Rich would read ``[x]`` as markup.

    Names of files, settings and layers may hold brackets, and those from a stranger's file what a terminal would obey.
    """
    return [Text(printable(text)) for text in texts]


def print_table(table: Table, width: int = 160) -> None:
    """Print a table as wide as the terminal, or ``width`` characters wide where there is none."""
    console = Console()
    (console if console.is_terminal else Console(width=width)).print(table)


def metric_rows(metrics: Mapping[str, Any], unit: str) -> dict[str, str]:
    """Return names and values, for people, of the metrics of :func:`~nf_mnist.app.evaluation.evaluate_task`.

    Args:
        metrics: Metrics by name.
        unit: What the log-likelihood is the likelihood of.
    """
    split, n_draws = metrics["split"], metrics["n_draws"]
    rows = {}
    if "bpd" in metrics:
        rows[f"{split} bpd, mean of {n_draws} single draws"] = f"{metrics['bpd']:.4f}"
        if "bpd_log_mean_exp" in metrics:
            rows[f"{split} bpd, log-mean-exp over {n_draws} draws"] = f"{metrics['bpd_log_mean_exp']:.4f}"
        rows[f"standard error over {split} images"] = f"{metrics['bpd_standard_error']:.4f}"
        rows["log p(x), nats on the unit cube"] = f"{metrics['log_density']:.2f}"
    rows[f"{unit}, nats"] = f"{metrics['log_likelihood']:.2f}"
    expected = f"expected {metrics['radius_expected']:.2f} +- {metrics['radius_std_expected']:.2f}"
    rows["norm of z"] = f"{metrics['radius_mean']:.2f} +- {metrics['radius_std']:.2f} ({expected})"
    for key, what in (("", "images"), ("_samples", "prior samples"), ("_noise", "uniform noise")):
        rows[f"largest round-trip error, {what}"] = f"{metrics[f'round_trip_error{key}']:.1e}"
    if "solver_tolerance" in metrics:
        took = f"{metrics['solver_evaluations']:.0f} evaluations at a tolerance of {metrics['solver_tolerance']:g}"
        rows["a solution of the equation"] = took
    rows["images"] = f"{metrics['n_images']:,} of {split}, seed {metrics['seed']}"
    rows["parameters"] = f"{metrics['parameters']:,}"
    return rows


def print_completions(metrics: Mapping[str, Any], out: Path) -> None:
    """Print the metrics of completed images.

    Args:
        metrics: Metrics from :func:`~nf_mnist.app.completion.write_completions`.
        out: Where they and the picture were written.
    """
    error, corrupted = metrics["squared_error"], metrics["squared_error_corrupted"]
    print(f"{metrics['n_images']} images, mask {metrics['mask']}, {metrics['method']}: {out}")
    print(f"squared error per image {error:.2f}, corrupted {corrupted:.2f}, ratio {error / corrupted:.2f}")
    if "squared_error_of_mean" in metrics:
        covered = f", coverage of the 90% interval {metrics['coverage_90']:.2f}" if "coverage_90" in metrics else ""
        print(f"of the mean of {metrics['n_samples']} completions {metrics['squared_error_of_mean']:.2f}{covered}")
    print(f"log p in logit space {metrics['log_prob']:.1f} nats, of the true images {metrics['log_prob_of_truth']:.1f}")
    print(f"{metrics['seconds_per_image']:.2f} s and {metrics['gradients_per_image']} gradients per image")
    is_chain = "acceptance" in metrics
    if is_chain:
        print(f"acceptance {metrics['acceptance']:.2f}, {_convergence(metrics.get('r_hat'))}")
    if metrics.get("stopped"):
        what = "chains" if is_chain else "climbs"
        print(f"warning: {metrics['stopped']:.0f} {what} met a value that is not finite and were stopped")


def image_names(index: Tensor, labels: Tensor) -> list[str]:
    """Return what stands under each image: its label, or its number in the split if it has no label.

    Args:
        index: Numbers of the images in their split, shape (n,).
        labels: Their labels, shape (n,).
    """
    pairs = zip(index.tolist(), labels.tolist(), strict=True)
    return [f"image {number}" if label == NO_LABEL else f"label {label}" for number, label in pairs]


def _convergence(r_hat: float | None) -> str:
    """Say whether chains have converged, by the largest split R-hat; None means too few draws to tell."""
    if r_hat is None:
        return f"too few draws for split R-hat, which takes {MIN_DRAWS} of each chain: a larger n_samples="
    if math.isinf(r_hat):
        return "no split R-hat: a chain does not move, so the chains have not converged"
    largest = f"largest split R-hat {r_hat:.2f}"
    if r_hat > CONVERGED:
        return f"{largest}, above {CONVERGED}: the chains have not converged; try a larger method.thinning="
    return f"{largest}: the chains have converged"
