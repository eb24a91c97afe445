"""The report of a sweep: a table of its runs, the best one, and a picture of settings and metrics."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from nf_mnist.app.tables import plain, print_table
from nf_mnist.checkpoints.writing import atomic_write, write_json, write_text
from nf_mnist.errors import ConfigError
from nf_mnist.overrides import pasteable
from nf_mnist.runs.record import COMPLETED, run_records
from nf_mnist.runs.sweep.names import key_of

JOB_OVERRIDES = ("output_dir", "ckpt")  # a job adds them to the settings of its run

Row = dict[str, Any]


def report_sweep(folder: Path) -> None:
    """Print a row for each run, best first, and the command that repeats the best run.

    Also writes report.csv, report.json and report.png into the folder.

    Raises:
        ConfigError: If the folder holds no runs.
    """
    rows = sweep_rows(folder)
    if not rows:
        raise ConfigError(f"{folder} holds no runs of a sweep")
    print_rows(rows, f"{folder}, {len(_completed(rows))} of {len(rows)} runs completed")
    best = next(iter(_completed(rows)), None)
    write_json(folder / "report.json", {"runs": rows, "best": best and best["run"]})
    write_text(folder / "report.csv", _csv(rows))
    if best is not None:
        metric = _metric(rows)
        print(f"best: {best['run']}, {metric} {best[metric]:.4f}; repeat it, bit for bit on the same machine, with")
        print(f"  python -m nf_mnist.train {pasteable('rerun', folder / best['run'])}")
        _draw(rows, metric, folder / "report.png")


def sweep_rows(folder: Path) -> list[Row]:
    """Return a row for each run; completed runs come first, ordered by their validation loss.

    A row holds the name of the run, the settings that differ between runs, the status, the metrics, the minutes and
    the cause of a failure; None stands for what a run does not have.
    """
    records = run_records(folder)
    keys = _differing_keys([_settings(record) for record in records.values()])
    rows = [_row(folder / name, record, keys) for name, record in records.items()]
    return sorted(rows, key=lambda row: (row["status"] != COMPLETED, row["val loss"] or math.inf))


def print_rows(rows: Sequence[Row], title: str) -> None:
    """Print rows as a table, without empty columns, and without nats if all completed runs have bits per dimension."""
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if any(row.get(key) for row in rows)]
    if "val bpd" in columns and _metric(rows) == "val bpd":
        columns = [key for key in columns if not key.endswith(("val loss", "log-likelihood"))]
    table = Table(title=plain(title)[0])
    for name in plain(*columns):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*plain(*(_text(row.get(key)) for key in columns)))
    print_table(table, width=200)


def _row(run_dir: Path, record: Mapping[str, Any], keys: Sequence[str]) -> Row:
    metrics = _metrics(run_dir)
    split = metrics.get("split", "test")
    return {
        "run": run_dir.name,
        **{key: _settings(record).get(key) for key in keys},
        "status": record.get("status", "not begun"),
        "val bpd": record.get("val_bpd"),
        "val loss": record.get("val_loss"),
        f"{split} bpd": metrics.get("bpd"),
        f"{split} log-likelihood": metrics.get("log_likelihood"),
        "minutes": record.get("seconds", 0.0) / 60,
        "cause": record.get("error"),
    }


def _metrics(run_dir: Path) -> dict[str, Any]:
    """Return the metrics that a run has written; {} if it has written none, or they are damaged."""
    try:
        metrics = json.loads((run_dir / "metrics.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    numbers = [metrics.get(key, 0.0) for key in ("bpd", "log_likelihood")] if isinstance(metrics, dict) else [None]
    return (
        metrics
        if all(isinstance(number, int | float | None) for number in numbers) and isinstance(metrics, dict)
        else {}
    )


def _completed(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["status"] == COMPLETED]


def _metric(rows: Sequence[Row]) -> str:
    """Return the metric that compares all completed runs: bits per dimension if all have it, else the loss in nats."""
    return "val bpd" if all(row["val bpd"] is not None for row in _completed(rows)) else "val loss"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(record: Mapping[str, Any]) -> dict[str, str]:
    overrides = record.get("overrides", [])
    return dict(text.partition("=")[::2] for text in overrides if key_of(text) not in JOB_OVERRIDES)


def _differing_keys(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys whose values are not the same in all runs."""
    keys = dict.fromkeys(key for of_run in settings for key in of_run)
    return [key for key in keys if len({of_run.get(key) for of_run in settings}) > 1]


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _draw(rows: Sequence[Row], metric: str, path: Path) -> None:
    """Draw the settings and the metric of all completed runs, if any setting differs between them."""
    from nf_mnist.runs.sweep.picture import parallel_coordinates  # matplotlib is slow to import

    completed = _completed(rows)
    keys = list(rows[0])[1 : list(rows[0]).index("status")]
    columns = {key: ["default" if row[key] is None else row[key] for row in completed] for key in keys}
    varied = {key: column for key, column in columns.items() if len(set(column)) > 1}
    if varied:
        figure = parallel_coordinates(varied, metric, [row[metric] for row in completed])
        atomic_write(path, lambda file: figure.savefig(file, dpi=100, format="png"))
        print(f"picture: {path}; curves and HParams: tensorboard --logdir {path.parent}")
