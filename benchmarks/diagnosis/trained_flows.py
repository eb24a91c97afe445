"""Does the diagnosis leave trained flows alone? ``python -m benchmarks.diagnosis.trained_flows [--models NAME ...]``.

Trains models on one thread, as ``benchmarks/density/baselines.py`` does, and runs the command ``diagnose`` on the best
checkpoint of each and on the released weights. An alarm is a check that fails. Writes ``results/diagnosed_flows.json``
after each flow, and skips flows that it already holds.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.density.baselines import MODELS, recipe, run_command, train
from benchmarks.measuring import add_row, machine, rows_of

RESULT = Path(__file__).parents[2] / "results" / "diagnosed_flows.json"
HEALTHY = [name for name in MODELS if name != "resflow_double_tanh"]  # a bug by design
RELEASED = [
    f"pretrained:{name}"
    for name in ("resflow", "cp3", "hierarchical-base", "hierarchical", "conditional", "flow_matching")
]
FLOWS = [*HEALTHY, *RELEASED]


def diagnose(ckpt: Path | str, folder: Path) -> dict[str, Any]:
    """Return the checks of a checkpoint that fail and that warn, how many pass, and how long the command takes."""
    begin = time.perf_counter()
    run_command("diagnose", [f"ckpt={ckpt}", f"out={folder}/report", f"output_dir={folder}"])
    seconds = time.perf_counter() - begin
    report = json.loads((folder / "report" / "report.json").read_text())
    results = report["results"]
    violations = {
        status: {result["check"]: result["measured"] for result in results if result["status"] == status}
        for status in ("fail", "warn")
    }
    passed = sum(result["status"] == "pass" for result in results)
    return {"parameters": report["parameters"], "seconds": seconds, "passed": passed, **violations}


def measure(name: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Diagnose released weights, or train a flow for some minutes and diagnose it."""
    if name in RELEASED:
        return {"minutes": None, **diagnose(name, folder)}
    overrides = recipe(name, 0, minutes)
    ckpt = train(overrides, folder / "run")
    return {"minutes": minutes, "overrides": " ".join(overrides), **diagnose(ckpt, folder)}


def main() -> None:
    """Train and diagnose each flow that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--models", nargs="+", choices=FLOWS, default=FLOWS)
    given = parser.parse_args()
    for name in given.models:
        key = name if name in RELEASED else f"{name}, {given.minutes:g} min"
        if key in rows_of(RESULT):
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = measure(name, given.minutes, Path(folder))
        add_row(RESULT, key, {**machine(), **row})
        print(f"{key}: fails {row['fail'] or 'nothing'}, warns {row['warn'] or 'of nothing'}", flush=True)


if __name__ == "__main__":
    main()
