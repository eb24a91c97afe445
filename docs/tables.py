"""Write the tables of README.md and docs/ from ``results/*.json``: ``python docs/tables.py [--check]``.

Results with a log-likelihood were written by ``python -m nf_mnist.evaluate ckpt=... out=results/NAME.json``; figures of
others are in ``docs/published.json``, with their sources. The table ``name`` stands between ``<!-- name -->`` and
``<!-- /name -->``.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TRAINING_IMAGES = 50_000
COLUMNS = ("model", "test bpd", "parameters", "training", "source, or command")
CP3_COLUMNS = ("CP3's protocol", "log-likelihood in logit space, nats", "parameters", "training", "source, or command")
INPAINTING_COLUMNS = (
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
)
Row = tuple[float, tuple[str, ...]]


def results() -> str:
    """Return bits per dimension, ours and published, and the nats of CP3's protocol."""
    files = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))}
    ours = [_our_row(name, figures) for name, figures in files.items() if "log_likelihood" in figures]
    published = [_published_row(entry) for entry in json.loads((ROOT / "docs" / "published.json").read_text())]
    rows = sorted([*ours, *published])
    bpd, nats = [row for key, row in rows if key > 0], [row for key, row in reversed(rows) if key < 0]
    return f"{_markdown(COLUMNS, bpd)}\n\n{_markdown(CP3_COLUMNS, nats)}"


def inpainting() -> str:
    """Return how well each method completes, mask by mask; completions of a mean are those that were drawn."""
    rows = json.loads((ROOT / "results" / "inpainting.json").read_text())["rows"]
    lines = []
    for name, row in sorted(rows.items(), key=lambda item: (item[0].split()[1], item[1]["squared_error"])):
        model, mask, method = name.split()
        is_drawn = "squared_error_of_mean" in row
        lines.append(
            (
                f"`{mask}` ({row['corrupted']:.1f} corrupted, {row['black']:.1f} black)",
                f"`{model}` `{method}`",
                f"{row['n_images']:,}",
                f"{row['squared_error']:.1f}",
                f"{row['squared_error_of_mean']:.1f} ({row['n_samples']})" if is_drawn else "",
                f"{row['log_prob'] - row['log_prob_of_truth']:+.0f}",
                f"{row['label_kept']:.0%}",
                f"{row['coverage']:.0%}" if is_drawn else "",
                f"{row['gradients_per_image']:,}",
                f"{row['seconds_per_image']:.2f}",
            )
        )
    return _markdown(INPAINTING_COLUMNS, lines)


def laws() -> str:
    """Return what each law of ``python -m nf_mnist.diagnose`` measures and expects, and what to do if it is broken."""
    from nf_mnist.diagnostics import LAWS  # torch, which no other table needs

    columns = ("law", "what passes", "what it measures, and why so much", "likely cause", "try")
    rows = []
    for law in LAWS.values():
        why = " ".join((law.measure.__doc__ or "").split())
        rows.append((law.name, law.expected, why, law.cause, law.cure))
    return _markdown(columns, rows)


def planted_faults() -> str:
    """Return which law is the first to break when a fault is planted, and whether it is the right one."""
    planted = json.loads((ROOT / "results" / "planted_faults.json").read_text())
    rows = []
    for found in planted["faults"].values():
        first = found["first"]
        said = f"{first['law']} ({first['status']})" if first else "nothing"
        rows.append((found["truth"], said, "yes" if found["named"] else "no"))
    n_named = sum(found["named"] for found in planted["faults"].values())
    alarms = [name for name, found in planted["healthy"].items() if found["alarm"]]
    summary = (
        f"{n_named} of {len(rows)} faults are named rightly; {len(alarms)} of {len(planted['healthy'])} healthy flows "
        "fail a law."
    )
    return f"{summary}\n\n{_markdown(('what is wrong', 'the first law that is broken', 'named rightly'), rows)}"


TABLES = {
    "docs/diagnose.md": [laws, planted_faults],
    "docs/inpainting.md": [inpainting],
    "README.md": [results],
}


def with_tables(name: str) -> str:
    """Return a document with its tables between their marks."""
    text = (ROOT / name).read_text()
    for table in TABLES[name]:
        begin, end = f"<!-- {table.__name__} -->", f"<!-- /{table.__name__} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = f"{head}{begin}\n{table()}\n{end}{tail}"
    return text


def _our_row(name: str, figures: dict[str, Any]) -> Row:
    training = figures["training"]
    epochs, minutes = training["images"] / TRAINING_IMAGES, training["seconds"] / 60
    hardware = training["hardware"].rpartition(", torch")[0]
    draws = figures["n_draws"]
    if "bpd" in figures:
        key = figures["bpd"]
        score = f"{key:.3f}" + (f" ({figures['bpd_log_mean_exp']:.3f} over {draws} draws)" if draws > 1 else "")
    else:
        key = figures["log_likelihood"]
        score = f"{key:.1f}"
    return key, (
        f"**`{name}`**",
        f"**{score}**",
        f"{figures['parameters']:,}",
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


def _markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ([cell.replace("|", "\\|") for cell in line] for line in (columns, ("---",) * len(columns), *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Write the tables, or exit with status 1 if a document has others."""
    for name in TABLES:
        text = with_tables(name)
        if "--check" not in sys.argv:
            (ROOT / name).write_text(text)
        elif (ROOT / name).read_text() != text:
            sys.exit(f"{name} differs from results/; run python docs/tables.py")


if __name__ == "__main__":
    main()
