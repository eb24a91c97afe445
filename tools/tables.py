"""Write the tables of README.md and docs/ from ``results/*.json``: ``python -m tools.tables [--check]``.

Results with a log-likelihood were written by ``python -m nf_mnist.evaluate ckpt=... out=results/NAME.json``; published
ones are in ``tools/published.json``, with their sources. The table of a function ``name`` stands between
``<!-- name -->`` and ``<!-- /name -->``.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from tools.baseline_tables import baselines, bound, depth, seeds, within_two_hours
from tools.density_tables import (
    bits_by_coupling,
    bits_by_kind,
    density_ablation,
    level_prior,
    odd_images,
    prior_ablation,
)
from tools.diagnosis_tables import blind_diagnosis, checks, cures, diagnosed_flows, diagnosis, planted_faults
from tools.from_results import ROOT
from tools.gpu_tables import gpu_cases, gpu_checks, gpu_machine, gpu_round_trips, gpu_speed
from tools.inpainting_tables import completing, inpainting
from tools.quality_tables import bayes_accuracy, drawn_samples, quality
from tools.result_tables import models, results
from tools.riddle_tables import riddles
from tools.speed_tables import (
    adam,
    busy_machine,
    data_path,
    logging_cost,
    muon_iterations,
    peer_families,
    peers,
    speed_machine,
    speed_ratios,
    step_profile,
    throughput,
    time_to_bpd,
)

TABLES: dict[str, list[Callable[[], str]]] = {
    "README.md": [models],
    "docs/baselines.md": [baselines, within_two_hours, seeds, bound, depth],
    "docs/grey_levels.md": [level_prior, prior_ablation, bits_by_kind, odd_images],
    "docs/blind_trial.md": [blind_diagnosis],
    "docs/density.md": [bits_by_coupling, density_ablation],
    "docs/diagnose.md": [checks, planted_faults, cures, diagnosed_flows],
    "docs/gpu.md": [gpu_machine, gpu_cases, gpu_round_trips, gpu_speed, gpu_checks],
    "docs/inpainting.md": [inpainting],
    "docs/quality.md": [quality, drawn_samples, bayes_accuracy],
    "docs/results.md": [results, completing, diagnosis],
    "docs/riddles.md": [riddles],
    "docs/speed.md": [
        throughput,
        speed_machine,
        speed_ratios,
        peers,
        peer_families,
        time_to_bpd,
        busy_machine,
        data_path,
        step_profile,
        logging_cost,
        adam,
        muon_iterations,
    ],
}


def with_tables(name: str) -> str:
    """Return a document with its tables between their marks.

    Raises:
        ValueError: If the document has no marks for one of its tables.
    """
    text = (ROOT / name).read_text()
    for write in TABLES[name]:
        begin, end = f"<!-- {write.__name__} -->", f"<!-- /{write.__name__} -->"
        head, found, rest = text.partition(begin)
        _, ended, tail = rest.partition(end)
        if not (found and ended):
            raise ValueError(f"{name} has no place for a table, {begin} and {end}")
        text = f"{head}{begin}\n{_table_of(write)}\n{end}{tail}"
    return text


def _table_of(write: Callable[[], str]) -> str:
    """Return a table, or a sentence about the missing results."""
    try:
        return write()
    except FileNotFoundError as error:
        return f"*Not measured yet: there is no `results/{Path(error.filename).name}`.*"


def main() -> None:
    """Write the tables; with ``--check``, exit with status 1 if a document has others."""
    for name in TABLES:
        text = with_tables(name)
        if "--check" not in sys.argv:
            (ROOT / name).write_text(text)
        elif (ROOT / name).read_text() != text:
            sys.exit(f"{name} differs from results/; run python -m tools.tables")


if __name__ == "__main__":
    main()
