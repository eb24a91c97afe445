"""Tables of models side by side, from ``results/``."""

from statistics import mean, stdev
from typing import Any

from tools.from_results import TRAINING_IMAGES, read_result, table
from tools.quality_tables import QUALITY_COLUMNS, quality_columns
from tools.result_tables import published_bpd

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
    """Return bits per dimension, with the standard error if they are those of a sample of the test images."""
    if row["n_images"] == TEST_IMAGES:
        return f"{row['bpd']:.3f}"
    return f"{row['bpd']:.3f} +- {row['bpd_standard_error']:.3f} ({row['n_images']} images)"


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


def density_ablation() -> str:
    """Return what each part of ``hierarchical`` is worth at equal time."""
    rows = read_result("density_ablation")["rows"].values()
    lines = [
        (
            row["variant"],
            f"{row['bpd']:.3f}",
            f"{row['minutes']:.0f}",
            f"{row['parameters']:,}",
            row["hardware"].rpartition(", torch")[0],
            f"`{row['overrides']}`",
        )
        for row in sorted(rows, key=lambda row: row["bpd"])
    ]
    return table(("variant", "validation bpd", "minutes", "parameters", "on", "overrides"), lines)


def bits_by_coupling() -> str:
    """Return the bits of each coupling of hierarchical flows, on training and on validation images."""
    runs = read_result("bits_by_coupling")["rows"]
    n_couplings = len(next(iter(runs.values()))["training"])
    names = [f"scale {i // 3 + 1}, channel {3 - i % 3}" for i in range(n_couplings - 1)]
    cells = [_of_couplings(run["training"], run["validation"]) for run in runs.values()]
    lines = [
        (name, *(cell for column in columns for cell in column))
        for name, *columns in zip([*names, "last image", "together"], *cells, strict=True)
    ]
    heads = [f"`{name}`, {what}" for name in runs for what in ("training images", "validation images", "difference")]
    return table(("coupling", *heads), lines)


def level_prior() -> str:
    """Return the bits of released weights without and with a level prior, by split and by what is hidden."""
    lines = [
        (
            f"`{name}`",
            f"{row['n_images']:,} {row['split']} images" + (f", {row['mask']} half hidden" if row["mask"] else ""),
            f"{row['none']['bpd']:.4f}",
            f"{row['resampled']['bpd']:.4f}",
        )
        for name, row in ((key.split()[0], row) for key, row in read_result("level_prior")["rows"].items())
    ]
    return table(("weights", "images", "without the prior", "with it"), lines)


def bits_by_kind() -> str:
    """Return the bits of kinds of pixels and of images, without and with a level prior."""
    rows = read_result("bits_by_kind")["rows"]
    columns = [_kinds_of(row) for row in rows.values()]
    lines = [(name, *(f"{column[name]:.3f}" for column in columns)) for name in columns[0]]
    return table(("bits per dimension of", *(f"`{key}`" for key in rows)), lines)


def odd_images() -> str:
    """Return the bits of changed images without and with the level prior that is not for them."""
    rows = read_result("odd_images")["rows"]
    lines = [
        (name, f"{row['none']:.3f}", f"{row['resampled']:.3f}", f"{row['resampled'] - row['none']:+.3f}")
        for name, row in rows.items()
    ]
    return table(("validation images", "without the prior", "with it", "difference"), lines)


def _kinds_of(row: dict[str, Any]) -> dict[str, float]:
    """Return bits per dimension by kinds of pixels and of images, under their names and shares."""
    bits = {"all": row["bpd"], "black, white or grey": row["which_kind"], "which level, given that": row["which_level"]}
    for field, share, of in (("by_kind", "share_of_pixels", "pixels"), ("by_side", "share_of_images", "images")):
        bits |= {f"{part}, {row[share][part]:.1%} of {of}": value for part, value in row[field].items()}
    return bits


def _of_couplings(training: list[float], validation: list[float]) -> list[tuple[str, str, str]]:
    """Return bits of training and validation images and their difference, for each coupling and for their sum."""
    pairs = zip([*training, sum(training)], [*validation, sum(validation)], strict=True)
    return [(f"{seen:.4f}", f"{unseen:.4f}", f"{unseen - seen:+.4f}") for seen, unseen in pairs]


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
