"""Figures as a table for people."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def print_figures(figures: Mapping[str, Any], dequantizer_unit: str, rows: Mapping[str, str]) -> None:
    """Print the figures of :func:`~nf_mnist.diagnostics.evaluate_flow`, then further rows, as one table.

    Args:
        figures: As returned.
        dequantizer_unit: What the log-likelihood is the likelihood of.
        rows: Name and value of what else there is to say.
    """
    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (_figure_rows(figures, dequantizer_unit) | dict(rows)).items():
        table.add_row(name, value)
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(table)


def _figure_rows(figures: Mapping[str, Any], unit: str) -> dict[str, str]:
    split, n_draws = figures["split"], figures["n_draws"]
    rows = {}
    if "bpd" in figures:
        rows[f"{split} bpd, mean of {n_draws} single draws"] = f"{figures['bpd']:.4f}"
        rows[f"{split} bpd, log-mean-exp over {n_draws} draws"] = f"{figures['bpd_log_mean_exp']:.4f}"
        rows["log p(x), nats on the unit cube"] = f"{figures['log_density']:.2f}"
    rows[f"{unit}, nats"] = f"{figures['log_likelihood']:.2f}"
    expected = f"expected {figures['radius_expected']:.2f} +- {figures['radius_std_expected']:.2f}"
    rows["norm of z"] = f"{figures['radius_mean']:.2f} +- {figures['radius_std']:.2f} ({expected})"
    for key, what in (("", "images"), ("_samples", "prior samples"), ("_noise", "uniform noise")):
        rows[f"largest round-trip error, {what}"] = f"{figures[f'round_trip_error{key}']:.1e}"
    rows["images"] = f"{figures['n_images']:,} of {split}, seed {figures['seed']}"
    rows["parameters"] = f"{figures['parameters']:,}"
    return rows
