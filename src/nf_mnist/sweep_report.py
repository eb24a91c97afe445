"""Say what a sweep found: ``python -m nf_mnist.sweep_report FOLDER``."""

import argparse
import contextlib
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nf_mnist.app.command import fail
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.errors import ConfigError, NFMnistError
from nf_mnist.runs.record import COMPLETED
from nf_mnist.runs.sweep import run_records

Row = dict[str, Any]


def main() -> None:
    """Print the table of a sweep; write it, and a picture, into its folder."""
    parser = argparse.ArgumentParser(prog="python -m nf_mnist.sweep_report", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the sweep: outputs/sweeps/NAME")
    try:
        report(parser.parse_args().folder)
    except (NFMnistError, OSError) as error:
        fail(error)


def report(folder: Path) -> None:
    """Print a row for each run, best first, and how to repeat the best; write report.csv, report.json and report.png.

    Raises:
        ConfigError: If there are no runs in the folder.
    """
    rows = sweep_rows(folder)
    if not rows:
        raise ConfigError(f"{folder} holds no runs of a sweep")
    print_rows(rows, f"{folder}, {sum(row['status'] == COMPLETED for row in rows)} of {len(rows)} runs completed")
    best = rows[0] if rows[0]["status"] == COMPLETED else None
    write_json(folder / "report.json", {"runs": rows, "best": best and best["run"]})
    write_text(folder / "report.csv", _csv(rows))
    if best is not None:
        figure = _figure(rows)
        print(f"best: {best['run']}, {figure} {best[figure]:.4f}; repeat it, bit for bit on the same machine, with")
        print(f"  python -m nf_mnist.train rerun={folder / best['run']}")
        _draw(rows, figure, folder / "report.png")


def sweep_rows(folder: Path) -> list[Row]:
    """Return a row for each run: name, settings that differ between runs, status, metrics, minutes, cause of failure.

    Those that completed come first, the best before all others. What a run has not is None.
    """
    rows = []
    records = run_records(folder)
    differing = _differing([_settings(record) for record in records.values()])
    for name, record in records.items():
        metrics: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            metrics = json.loads((folder / name / "metrics.json").read_text())
        split = metrics.get("split", "test")
        rows.append(
            {
                "run": name,
                **{key: _settings(record).get(key) for key in differing},
                "status": record.get("status", "not begun"),
                "val bpd": record.get("val_bpd"),
                "val loss": record.get("val_loss"),
                f"{split} bpd": metrics.get("bpd"),
                f"{split} log-likelihood": metrics.get("log_likelihood"),
                "minutes": record.get("seconds", 0.0) / 60,
                "cause": record.get("error"),
            }
        )
    return sorted(rows, key=lambda row: (row["status"] != COMPLETED, row["val loss"] or math.inf))


def print_rows(rows: Sequence[Row], title: str) -> None:
    """Print rows as a table, without columns that are empty in all of them, and without nats where all have bits."""
    from rich.table import Table

    from nf_mnist.app.tables import print_table

    shown = [key for key in dict.fromkeys(key for row in rows for key in row) if any(row.get(key) for row in rows)]
    if "val bpd" in shown and _figure(rows) == "val bpd":
        shown = [key for key in shown if not key.endswith(("val loss", "log-likelihood"))]
    table = Table(title=title)
    for key in shown:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(_text(row.get(key)) for key in shown))
    print_table(table, width=200)


def _figure(rows: Sequence[Row]) -> str:
    """Return by which figure all runs that completed can be compared: bits where all have them, else nats."""
    has_bits = all(row["val bpd"] is not None for row in rows if row["status"] == COMPLETED)
    return "val bpd" if has_bits else "val loss"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(record: Mapping[str, Any]) -> dict[str, str]:
    return dict(text.partition("=")[::2] for text in record.get("overrides", []) if "output_dir" not in text)


def _differing(settings: Sequence[Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for given in settings for key in given)
    return [key for key in keys if len({given.get(key) for given in settings}) > 1]


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _draw(rows: Sequence[Row], figure: str, path: Path) -> None:
    """Draw the settings of all runs with a result against the figure, if there is a choice between some."""
    from nf_mnist.runs.sweep.picture import parallel_coordinates

    completed = [row for row in rows if row["status"] == COMPLETED]
    keys = list(rows[0])[1 : list(rows[0]).index("status")]
    varied = {key: [row[key] for row in completed] for key in keys if len({row[key] for row in completed}) > 1}
    if varied:
        parallel_coordinates(varied, figure, [row[figure] for row in completed]).savefig(path, dpi=100)
        print(f"picture: {path}; curves and HParams: tensorboard --logdir {path.parent}")


if __name__ == "__main__":
    main()
