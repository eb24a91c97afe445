"""Write the tables of README.md from ``results/*.json``: ``python docs/tables.py``; ``--check`` only compares.

Those with a log-likelihood were written by ``python -m nf_mnist.evaluate ckpt=... out=results/NAME.json``. The table
stands between ``<!-- results -->`` and ``<!-- /results -->``.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- results -->", "<!-- /results -->"
TRAINING_IMAGES = 50_000
PUBLISHED = {"cp3_1h": "-1196.12 nats after 100 epochs (CP3)"}
COLUMNS = (
    "experiment",
    "parameters",
    "test bpd, single draws",
    "log-mean-exp",
    "log-likelihood, nats",
    "norm of z",
    "training",
    "published",
)


def table() -> str:
    """Return the table of all results as Markdown."""
    results = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "results").glob("*.json"))}
    rows = [_row(name, figures) for name, figures in results.items() if "log_likelihood" in figures]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_table(text: str) -> str:
    """Return a document with the table between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def _row(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    training = figures["training"]
    epochs, minutes = training["images"] / TRAINING_IMAGES, training["seconds"] / 60
    return (
        f"`{name}`",
        f"{figures['parameters']:,}",
        f"{figures['bpd']:.3f}" if "bpd" in figures else "none for this data",
        _log_mean_exp(figures),
        f"{figures['log_likelihood']:.1f} ({figures['unit'].removeprefix('log-likelihood ')})",
        f"{figures['radius_mean']:.2f} +- {figures['radius_std']:.2f}",
        f"{epochs:.1f} epochs, {minutes:.0f} min",
        PUBLISHED.get(name, ""),
    )


def _log_mean_exp(figures: dict[str, Any]) -> str:
    if "bpd_log_mean_exp" not in figures or figures["n_draws"] == 1:  # of one draw it is that draw
        return ""
    return f"{figures['bpd_log_mean_exp']:.3f} ({figures['n_draws']} draws)"


def main() -> None:
    """Write the table, or exit with status 1 if the README's is another."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    if "--check" in sys.argv:
        sys.exit(0 if with_table(text) == text else "README.md differs from results/; run python docs/tables.py")
    readme.write_text(with_table(text))


if __name__ == "__main__":
    main()
