"""Metrics as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

QUALITY_ROWS = {  # what is printed: which figure, in which form
    "Frechet distance of features": ("frechet_distance", ".2f"),
    "precision": ("precision", ".3f"),
    "recall": ("recall", ".3f"),
    "the classifier is more than 95% sure of": ("confident_share", ".1%"),
    "KL of the digits that it sees, nats": ("class_kl", ".4f"),
    "nearer to a training image than 99% of {split} images*": ("memorized_share", ".1%"),
    "median distance to the nearest training image*": ("nearest_distance", ".2f"),
}


def print_metrics(metrics: Mapping[str, Any], dequantizer_unit: str, rows: Mapping[str, str]) -> None:
    """Print the metrics of :func:`~nf_mnist.diagnostics.evaluate_flow`, then further rows, as one table.

    Args:
        metrics: As returned.
        dequantizer_unit: What the log-likelihood is the likelihood of.
        rows: Name and value of what else there is to say.
    """
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (_figure_rows(metrics, dequantizer_unit) | dict(rows)).items():
        table.add_row(name, value)
    print_table(table)


def print_quality(quality: Mapping[str, Any]) -> None:
    """Print the quality of samples at temperature 1.0 and at the best one, beside that of real images; then alarms.

    Args:
        quality: As :func:`~nf_mnist.app.evaluation.evaluate_samples` returns it.
    """
    n_samples, n_images, split = quality["n_samples"], quality["n_images"], quality["split"]
    columns = {
        f"{n_samples:,} samples at temperature {row['temperature']:g}": row
        for row in quality["temperatures"]
        if row["temperature"] in (1.0, quality["best_temperature"])
    }
    columns[f"{quality['n_training_images']:,} training images"] = quality["training_images"]
    table = Table(f"against {n_images:,} {split} images", *columns)
    for name, (key, spec) in QUALITY_ROWS.items():
        table.add_row(name.format(split=split), *(format(metrics[key], spec) for metrics in columns.values()))
    table.add_row("per cent of digits 0 to 9", *(_shares(metrics["class_histogram"]) for metrics in columns.values()))
    print_table(table)
    print(f"* in the last column of the {split} images themselves")
    for alarm in quality["alarms"]:
        print(f"alarm, temperature 1: {alarm}")


def _shares(histogram: Sequence[int]) -> str:
    return " ".join(f"{100 * count / sum(histogram):.0f}" for count in histogram)


def print_table(table: Table, width: int = 160) -> None:
    """Print a table as wide as the terminal, or ``width`` characters wide where there is none."""
    console = Console()
    (console if console.is_terminal else Console(width=width)).print(table)


def _figure_rows(metrics: Mapping[str, Any], unit: str) -> dict[str, str]:
    split, n_draws = metrics["split"], metrics["n_draws"]
    rows = {}
    if "bpd" in metrics:
        rows[f"{split} bpd, mean of {n_draws} single draws"] = f"{metrics['bpd']:.4f}"
        rows[f"{split} bpd, log-mean-exp over {n_draws} draws"] = f"{metrics['bpd_log_mean_exp']:.4f}"
        rows["log p(x), nats on the unit cube"] = f"{metrics['log_density']:.2f}"
    rows[f"{unit}, nats"] = f"{metrics['log_likelihood']:.2f}"
    expected = f"expected {metrics['radius_expected']:.2f} +- {metrics['radius_std_expected']:.2f}"
    rows["norm of z"] = f"{metrics['radius_mean']:.2f} +- {metrics['radius_std']:.2f} ({expected})"
    for key, what in (("", "images"), ("_samples", "prior samples"), ("_noise", "uniform noise")):
        rows[f"largest round-trip error, {what}"] = f"{metrics[f'round_trip_error{key}']:.1e}"
    rows["images"] = f"{metrics['n_images']:,} of {split}, seed {metrics['seed']}"
    rows["parameters"] = f"{metrics['parameters']:,}"
    return rows
