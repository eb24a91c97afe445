"""Tables of completions, from ``results/inpainting.json``."""

from typing import Any

from tools.from_results import read_result, table

COLUMNS = (
    "mask",
    "model and method",
    "images",
    "error of one",
    "error of the mean",
    "log p less the truth's",
    "label kept",
    "coverage of 90%",
    "gradients",
    "s per image",
    "on",
)

WITHOUT_FLOW = {"corrupted": "corrupted", "black": "black", "mean_image": "mean image"}
MANY = 100  # images, the least number for a comparison with published errors


def inpainting() -> str:
    """Return how well each method completes images under each mask."""
    lines = [
        (
            f"`{mask}` ({', '.join(f'{row[key]:.1f} {what}' for key, what in WITHOUT_FLOW.items() if key in row)})",
            f"`{model}` `{method}`",
            f"{row['n_images']:,}",
            *_errors(row),
            f"{row['log_prob'] - row['log_prob_of_truth']:+.0f}",
            f"{row['label_kept']:.0%}",
            _coverage(row),
            f"{row['gradients_per_image']:,}",
            f"{row['seconds_per_image']:.2f}",
            row["hardware"].partition(",")[0],
        )
        for mask, model, method, row in _rows()
    ]
    return table(COLUMNS, lines)


def completing() -> str:
    """Return squared errors of lower halves, given the upper ones, over many images; and CP3's own.

    CP3 is a simplified Real NVP known to us only from its authors' report.
    """
    lines = [("the corrupted image itself, as CP3 reports it", "51.85", "")]
    rows = [found for found in _rows() if found[0] == "lower" and found[3]["n_images"] >= MANY]
    most = max((row for *_, row in rows if "mean_image" in row), key=lambda row: row["n_images"], default=None)
    if most is not None:
        title = f"the mean training image, no flow, {most['n_images']:,} test images"
        lines.append((title, f"{most['mean_image']:.1f}", ""))
    for _, model, method, row in rows:
        lines.append((f"**`{model}`, `{method}`**, {row['n_images']:,} test images", *_errors(row)))
    lines.append(("recovered by CP3, 1000 gradients; its report", "29.55", ""))
    return table(("lower half, given the upper", "error of one completion", "of the mean (of so many)"), lines)


def _rows() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return rows as (mask, model, method, metrics), sorted by mask and error."""
    rows = read_result("inpainting")["rows"]
    named = []
    for name, row in rows.items():
        model, mask, method = name.split()
        named.append((mask, model, method, row))
    return sorted(named, key=lambda found: (found[0], found[3]["squared_error"]))


def _errors(row: dict[str, Any]) -> tuple[str, str]:
    of_mean = f"{row['squared_error_of_mean']:.1f} ({row['n_samples']})" if "squared_error_of_mean" in row else ""
    return f"{row['squared_error']:.1f}", of_mean


def _coverage(row: dict[str, Any]) -> str:
    """Return the share of hidden pixels within their 90% interval; empty for rows with too few draws."""
    return f"{row['coverage_90']:.0%}" if "coverage_90" in row else ""
