"""Tables of the quality of samples, from ``results/``."""

from statistics import mean, stdev
from typing import Any

from tools.from_results import read_result, short_hardware, table

QUALITY_COLUMNS = ("Frechet distance", "precision", "recall", "confident share")
QUALITY_KEYS = ("frechet_distance", "precision", "recall", "confident_share")  # of these columns


def quality() -> str:
    """Return the quality of samples of the released hierarchical flow at each temperature, and of training images."""
    metrics = read_result("hierarchical-base")["quality"]
    rows = [(f"{row['temperature']:g}", row) for row in metrics["temperatures"]]
    rows.append(("training images, the floor", metrics["training_images"]))
    lines = [
        (
            name,
            *quality_columns(row),
            f"{row['class_kl']:.4f}",
            f"{row['memorized_share']:.1%}",
            f"{row['nearest_distance']:.2f}",
        )
        for name, row in rows
    ]
    columns = ("temperature", *QUALITY_COLUMNS, "class KL", "memorized share", "nearest distance")
    return table(columns, lines)


def drawn_samples() -> str:
    """Return the quality of samples of flows at temperature 1.0, over seeds, and that of training images."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in read_result("drawn_samples")["rows"].values():
        found.setdefault(row["label"], []).append(row["quality"])
    floors: dict[int, dict[int, dict[str, Any]]] = {}  # by number and seed: flows share those of a seed
    lines = []
    for label, each in found.items():
        n = each[0]["n_samples"]
        floors.setdefault(n, {}).update((quality["seed"], quality["training_images"]) for quality in each)
        lines.append((label, f"{n:,} x {len(each)}", *_over_seeds([quality["temperatures"][0] for quality in each])))
    for n, floor in floors.items():
        lines.append(("training images, the floor", f"{n:,} x {len(floor)}", *_over_seeds([*floor.values()])))
    return table(("samples", "number x seeds", *QUALITY_COLUMNS, "class KL", "memorized share"), lines)


def bayes_accuracy() -> str:
    """Return how well flows with labels classify by Bayes' rule, beside the released classifier."""
    columns = ("flow", "images", "draws", "tolerance", "accuracy", "calibration error", "of the classifier", "cost")
    lines = []
    for row in read_result("bayes_accuracy")["rows"].values():
        flow, classifier = row["flow"], row["classifier"]
        lines.append(
            (
                f"`{row['model']}`",
                f"{row['n_images']:,} of {row['split']}",
                f"{row['n_draws']}",
                f"{row['tolerance'] or ''}",
                f"{flow['accuracy']:.2%} +- {row['standard_error']:.2%}",
                f"{flow['calibration_error']:.2%}",
                f"{classifier['accuracy']:.2%}",
                f"{flow['seconds_per_image']:.2g} s an image, {short_hardware(row)}",
            )
        )
    return table(columns, lines)


def _over_seeds(rows: list[dict[str, Any]]) -> list[str]:
    """Return metrics as means and standard deviations over rows; one row has no deviation."""
    formats = {
        "frechet_distance": "{:.2f}",
        "precision": "{:.3f}",
        "recall": "{:.3f}",
        "confident_share": "{:.2%}",
        "class_kl": "{:.4f}",
        "memorized_share": "{:.2%}",
    }
    texts = []
    for key, form in formats.items():
        values = [row[key] for row in rows]
        spread = f" +- {form.format(stdev(values))}" if len(values) > 1 else ""
        texts.append(form.format(mean(values)) + spread)
    return texts


def quality_columns(row: dict[str, Any]) -> tuple[str, ...]:
    """Return the metrics of one set of samples, in the order of QUALITY_COLUMNS."""
    return (
        f"{row['frechet_distance']:.1f}",
        f"{row['precision']:.2f}",
        f"{row['recall']:.2f}",
        f"{row['confident_share']:.1%}",
    )
