"""Tables of models side by side, from ``results/``."""

from statistics import mean, stdev
from typing import Any

from tools.from_results import TRAINING_IMAGES, read_result, table
from tools.quality_tables import QUALITY_COLUMNS, QUALITY_KEYS, quality_columns
from tools.result_tables import log_mean_exp, published_bpd, training_cost

TEST_IMAGES = 10_000
COLUMNS = (
    "model",
    "parameters",
    "test bpd",
    "published",
    *QUALITY_COLUMNS,
    "ms per 64 samples",
    "images seen",
    "core",
)
TRAINED = (  # model, its result, and its label in the results of drawn samples
    ("hierarchical, level_prior=resampled", "hierarchical_1h_resampled", "`hierarchical_1h_resampled`"),
    ("hierarchical", "hierarchical_1h", ""),
    ("conditional", "conditional_1h", ""),
    ("uva_multiscale", "uva_multiscale_bound", ""),
    ("resflow", "resflow", ""),
    ("flow_matching", "flow_matching", "`flow_matching`, guidance 0.3"),
    ("maf", "maf_2h", ""),
    ("tarflow", "", "`tarflow_2h`, guidance 0.3, denoised"),
)


def baselines() -> str:
    """Return all models at an equal budget of time, and training images as the last row."""
    published = published_bpd()
    rows = _equal_budget("baselines")
    lines = [
        (
            f"`{row['model']}`",
            f"{row['parameters']:,}",
            _score(row),
            published.get(row["model"], ""),
            *quality_columns(row),
            f"{row['milliseconds_per_64_samples']:.0f}",
            f"{row['training']['images']:,}",
            _core(row),
        )
        for row in sorted(rows, key=lambda row: row["bpd"])
    ]
    lines.append(("training images, the floor", "", "", "", *quality_columns(rows[0]["floor"]), "", "", ""))
    return table(COLUMNS, lines)


def _core(row: dict[str, Any]) -> str:
    """Return the instructions for matrices that the CPU of a row has, such as AMX; AVX2 for none in bfloat16."""
    return row["training"]["hardware"].partition("(")[2].partition(")")[0]


def _score(row: dict[str, Any]) -> str:
    """Return bits per dimension, and of a sample of the test images its size and the standard error."""
    if row["n_images"] == TEST_IMAGES:
        return f"{row['bpd']:.3f}"
    error = f" +- {row['bpd_standard_error']:.3f}" if "bpd_standard_error" in row else ""
    return f"{row['bpd']:.3f}{error} ({row['n_images']} images)"


def within_two_hours() -> str:
    """Return the best of each model that was trained from scratch for up to two hours: likelihood and samples."""
    drawn = read_result("drawn_samples")["rows"].values()
    lines = []
    for model, name, label in TRAINED:
        likelihood = read_result(name) if name else {}
        rows = [row for row in drawn if row["label"] == label] or [likelihood]
        bits = _score(likelihood) + log_mean_exp(likelihood) if likelihood else ""
        samples = _samples([row["quality"] for row in rows if "quality" in row])
        lines.append((f"`{model}`", bits, *samples, label.partition(", ")[2], training_cost(rows[0]["training"])))
    return table(("model", "test bpd", "samples", *QUALITY_COLUMNS, "drawn with", "training"), lines)


def _samples(qualities: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the number of samples at temperature 1.0 and their quality, in the mean over seeds; blanks for none."""
    if not qualities:
        return ("",) * (1 + len(QUALITY_COLUMNS))
    rows = [row for quality in qualities for row in quality["temperatures"] if row["temperature"] == 1.0]
    number = f"{qualities[0]['n_samples']:,}" + (f" x {len(rows)}" if len(rows) > 1 else "")
    return number, *quality_columns({key: mean(row[key] for row in rows) for key in QUALITY_KEYS})


def seeds() -> str:
    """Return the spread of bits per dimension over seeds, for models with several seeds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _equal_budget("seeds"):
        found.setdefault(row["model"], []).append(row)
    lines = []
    for model, rows in found.items():
        if len(rows) < 2:
            continue
        scores = [row["bpd"] for row in rows]
        seen = mean(row["training"]["images"] for row in rows)
        spread = f"{mean(scores):.3f} +- {stdev(scores):.3f}"
        lines.append((f"`{model}`", ", ".join(f"{bpd:.3f}" for bpd in scores), spread, f"{seen:,.0f}"))
    if not lines:
        return "*Not measured yet: no model has several seeds.*"
    return table(("model", "test bpd of each seed", "mean and standard deviation", "images seen"), lines)


def bound() -> str:
    """Return the effect of more draws on the bound of a flow that learns its dequantization noise."""
    metrics = read_result("uva_multiscale_bound")
    draws, epochs = metrics["n_draws"], metrics["training"]["images"] / TRAINING_IMAGES
    rows = [
        ("mean of single draws", f"{metrics['bpd']:.3f}"),
        (f"log-mean-exp over {draws}", f"{metrics['bpd_log_mean_exp']:.3f}"),
    ]
    return table((f"{metrics['n_images']:,} test images, {draws} draws each, after {epochs:.1f} epochs", "bpd"), rows)


def depth() -> str:
    """Return memory and time of a training step against the number of couplings."""
    rows = read_result("depth")["depths"]
    lines = [
        (
            str(row["couplings"]),
            "recomputed" if row["recompute"] else "kept",
            f"{row['mebibytes']:.0f} MiB",
            f"{row['seconds_per_step']:.2f} s",
        )
        for row in rows
    ]
    return table(("couplings", "activations", "memory of a step", "time of a step"), lines)


def _equal_budget(name: str) -> list[dict[str, Any]]:
    """Return the rows of a result that compares models at an equal budget.

    Raises:
        ValueError: If the rows have different budgets or numbers of samples.
    """
    rows = list(read_result(name)["rows"].values())
    budgets = {(row["minutes"], row["n_samples"]) for row in rows}
    if len(budgets) > 1:
        raise ValueError(f"rows of results/{name}.json had different minutes and samples: {sorted(budgets)}")
    return rows
