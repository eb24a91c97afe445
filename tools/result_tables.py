"""Tables of likelihoods, ours and published, from ``results/``, ``tools/published.json`` and ``tools/models.json``."""

import json
from typing import Any

from tools.from_results import ROOT, TRAINING_IMAGES, read_result, short_hardware, table

COLUMNS = ("model", "test bpd", "parameters", "training", "source, or command")
CP3_COLUMNS = ("CP3's protocol", "log-likelihood in logit space, nats", "parameters", "training", "source, or command")
MODEL_COLUMNS = ("model", "year", "source", "published bpd", "our bpd", "our bpd after 2 minutes")
Row = tuple[float, tuple[str, ...]]


def read_published() -> list[dict[str, Any]]:
    """Return the published likelihoods, with their sources."""
    return json.loads((ROOT / "tools" / "published.json").read_text())


def read_models() -> list[dict[str, Any]]:
    """Return the models of ``conf/model``: where each comes from, what it is published as, and results of ours.

    Variants of a model have ``"is_variant": true``; the README leaves them out.
    """
    return json.loads((ROOT / "tools" / "models.json").read_text())


def published_bpd() -> dict[str, str]:
    """Return the published bits per dimension of our models, by model."""
    scores = {entry["model"]: entry.get("bpd", "") for entry in read_published()}
    return {entry["model"]: scores.get(entry.get("published"), "") for entry in read_models()}


def models() -> str:
    """Return the models, each with its source, and its published and own bits per dimension."""
    published = published_bpd()
    after_minutes = {row["model"]: f"{row['bpd']:.3f}" for row in read_result("baselines")["rows"].values()}
    rows = [
        (
            f"`{entry['model']}`",
            str(entry.get("year", "")),
            f"[{entry['paper']}]({entry['url']})" if "url" in entry else entry["paper"],
            published[entry["model"]],
            _best(entry.get("results", [])),
            after_minutes.get(entry["model"], ""),
        )
        for entry in read_models()
        if not entry.get("is_variant")
    ]
    return table(MODEL_COLUMNS, rows)


def results() -> str:
    """Return bits per dimension, ours and published, and the nats of CP3's protocol."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))}
    ours = [
        _our_row(name, metrics, f"`{group}={metrics['training']['name']}`")
        for name, metrics in files.items()
        if "log_likelihood" in metrics and (group := _config_group(metrics["training"]["name"]))
    ]
    rows = sorted([*ours, *map(_published_row, read_published())])
    bpd, nats = [row for key, row in rows if key > 0], [row for key, row in reversed(rows) if key < 0]
    return f"{table(COLUMNS, bpd)}\n\n{table(CP3_COLUMNS, nats)}"


def _best(names: list[str]) -> str:
    """Return the lowest bits per dimension of some results, or nothing if there are none."""
    return f"**{min(read_result(name)['bpd'] for name in names):.3f}**" if names else ""


def log_mean_exp(metrics: dict[str, Any]) -> str:
    """Return the bound over several draws in brackets, or nothing if there is none."""
    draws = metrics["n_draws"]
    has_several = draws > 1 and "bpd_log_mean_exp" in metrics
    return f" ({metrics['bpd_log_mean_exp']:.3f} over {draws} draws)" if has_several else ""


def training_cost(training: dict[str, Any]) -> str:
    """Return the epochs, minutes and hardware of a training record."""
    epochs, minutes = training["images"] / TRAINING_IMAGES, training["seconds"] / 60
    return f"{epochs:.1f} epochs, {minutes:.0f} min, {short_hardware(training)}"


def _config_group(name: str) -> str:
    """Return the group of configurations that has a file of this name, or nothing."""
    return next((group for group in ("experiment", "model") if (ROOT / "conf" / group / f"{name}.yaml").exists()), "")


def _our_row(name: str, metrics: dict[str, Any], command: str) -> Row:
    if "bpd" in metrics:
        key = metrics["bpd"]
        score = f"{key:.3f}" + log_mean_exp(metrics)
    else:
        key = metrics["log_likelihood"]
        score = f"{key:.1f}"
    return key, (
        f"**`{name}`**",
        f"**{score}**",
        f"{metrics['parameters']:,}",
        training_cost(metrics["training"]),
        command,
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
