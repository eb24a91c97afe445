"""Tables of where the bits of hierarchies are, and of what each part of them is worth, from ``results/``."""

from collections.abc import Callable, Mapping
from typing import Any

from tools.from_results import read_result, short_hardware, table


def density_ablation() -> str:
    """Return what each part of ``hierarchical`` is worth at equal time."""
    columns = {
        "parameters": lambda row: f"{row['parameters']:,}",
        "on": short_hardware,
        "overrides": lambda row: f"`{row['overrides']}`",
    }
    return _ablation("density_ablation", "variant", columns)


def prior_ablation() -> str:
    """Return what each part of the level prior is worth at equal time."""
    columns = {"images seen": lambda row: f"{row['images']:,}", "on": short_hardware}
    return _ablation("prior_ablation", "level prior", columns)


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


def _ablation(name: str, what: str, further: Mapping[str, Callable[[dict[str, Any]], str]]) -> str:
    """Return variants by their bits, each with its minutes and what functions of its row, by column, say further."""
    lines = [
        (row["variant"], f"{row['bpd']:.3f}", f"{row['minutes']:.0f}", *(cell(row) for cell in further.values()))
        for row in sorted(read_result(name)["rows"].values(), key=lambda row: row["bpd"])
    ]
    return table((what, "validation bpd", "minutes", *further), lines)


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
