"""Write the tables of README.md and docs/ from ``results/*.json``: ``python -m tools.tables [--check]``.

Results with a log-likelihood were written by ``python -m nf_mnist.evaluate ckpt=... out=results/NAME.json``; metrics of
others are in ``tools/published.json``, with their sources. The table ``name`` stands between ``<!-- name -->`` and
``<!-- /name -->``.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.baseline_tables import baselines, bits_by_coupling, bound, density_ablation, depth, quality, seeds
from tools.diagnosis_tables import checks, diagnosed_flows, diagnosis, planted_faults
from tools.from_results import ROOT, TRAINING_IMAGES, table
from tools.inpainting_tables import completing, inpainting
from tools.riddle_tables import riddles
from tools.speed_tables import (
    adam,
    data_path,
    logging_cost,
    peers,
    speed_machine,
    speed_ratios,
    step_profile,
    throughput,
)

COLUMNS = ("model", "test bpd", "parameters", "training", "source, or command")
CP3_COLUMNS = ("CP3's protocol", "log-likelihood in logit space, nats", "parameters", "training", "source, or command")
Row = tuple[float, tuple[str, ...]]


def results() -> str:
    """Return bits per dimension, ours and published, and the nats of CP3's protocol."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))}
    experiments = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    ours = [
        _our_row(name, metrics)
        for name, metrics in files.items()
        if "log_likelihood" in metrics and metrics["training"]["name"] in experiments
    ]
    published = [_published_row(entry) for entry in json.loads((ROOT / "tools" / "published.json").read_text())]
    rows = sorted([*ours, *published])
    bpd, nats = [row for key, row in rows if key > 0], [row for key, row in reversed(rows) if key < 0]
    return f"{table(COLUMNS, bpd)}\n\n{table(CP3_COLUMNS, nats)}"


TABLES: dict[str, list[Callable[[], str]]] = {
    "docs/baselines.md": [baselines, seeds, bound, depth],
    "docs/density.md": [bits_by_coupling, density_ablation],
    "docs/diagnose.md": [checks, planted_faults, diagnosed_flows],
    "docs/inpainting.md": [inpainting],
    "docs/quality.md": [quality],
    "docs/riddles.md": [riddles],
    "docs/speed.md": [throughput, speed_machine, speed_ratios, peers, data_path, step_profile, logging_cost, adam],
    "README.md": [results, completing, diagnosis],
}


def with_tables(name: str) -> str:
    """Return a document with its tables between their marks."""
    text = (ROOT / name).read_text()
    for written in TABLES[name]:
        begin, end = f"<!-- {written.__name__} -->", f"<!-- /{written.__name__} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{_measured(written)}\n{end}{tail}"
    return text


def _measured(written: Callable[[], str]) -> str:
    """Return a table, or which results it waits for."""
    try:
        return written()
    except FileNotFoundError as error:
        return f"*Not measured yet: there is no `results/{Path(error.filename).name}`.*"


def _our_row(name: str, metrics: dict[str, Any]) -> Row:
    training = metrics["training"]
    epochs, minutes = training["images"] / TRAINING_IMAGES, training["seconds"] / 60
    hardware = training["hardware"].rpartition(", torch")[0]
    draws = metrics["n_draws"]
    if "bpd" in metrics:
        key = metrics["bpd"]
        score = f"{key:.3f}" + (f" ({metrics['bpd_log_mean_exp']:.3f} over {draws} draws)" if draws > 1 else "")
    else:
        key = metrics["log_likelihood"]
        score = f"{key:.1f}"
    return key, (
        f"**`{name}`**",
        f"**{score}**",
        f"{metrics['parameters']:,}",
        f"{epochs:.1f} epochs, {minutes:.0f} min, {hardware}",
        f"`experiment={training['name']}`",
    )


def _published_row(entry: dict[str, Any]) -> Row:
    score = entry.get("bpd") or entry["nats"]
    source = f"[{entry['source']}]({entry['url']})" if "url" in entry else entry["source"]
    parameters = f"{entry['parameters']:,}" if "parameters" in entry else ""
    return float(score), (
        f"{entry['model']} ({entry['kind']})",
        score,
        parameters,
        entry.get("training", ""),
        source,
    )


def main() -> None:
    """Write the tables, or exit with status 1 if a document has others."""
    for name in TABLES:
        text = with_tables(name)
        if "--check" not in sys.argv:
            (ROOT / name).write_text(text)
        elif (ROOT / name).read_text() != text:
            sys.exit(f"{name} differs from results/; run python -m tools.tables")


if __name__ == "__main__":
    main()
