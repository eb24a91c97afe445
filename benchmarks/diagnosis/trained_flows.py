"""Does the diagnosis leave trained flows alone? ``python -m benchmarks.diagnosis.trained_flows [--models NAME ...]``.

Trains models as ``benchmarks/density/baselines.py`` does, on one thread, and has the command ``diagnose`` judge the checkpoint
that validates best, and the released ones. An alarm is a law that fails. Writes ``results/diagnosed_flows.json`` after
each; what is there already, a model trained for that long, is not trained again.
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
RELEASED = [f"pretrained:{name}" for name in ("resflow", "cp3", "hierarchical-base", "conditional")]
FLOWS = [*HEALTHY, *RELEASED]


def diagnose(ckpt: Path | str, folder: Path) -> dict[str, Any]:
    """Return what the command says of a checkpoint: laws that fail, laws that warn, and how long it takes."""
    begin = time.perf_counter()
    run_command("diagnose", [f"ckpt={ckpt}", f"out={folder}/report", f"output_dir={folder}"])
    seconds = time.perf_counter() - begin
    report = json.loads((folder / "report" / "report.json").read_text())
    broken = {
        status: {one["law"]: one["figure"] for one in report["verdicts"] if one["status"] == status}
        for status in ("fail", "warn")
    }
    passed = sum(one["status"] == "pass" for one in report["verdicts"])
    return {"parameters": report["parameters"], "seconds": seconds, "passed": passed, **broken}


def measure(name: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Diagnose a released flow, or train one and diagnose it."""
    if name in RELEASED:
        return {"minutes": None, **diagnose(name, folder)}
    overrides = recipe(name, 0, minutes)
    ckpt = train(overrides, folder / "run")
    return {"minutes": minutes, "overrides": " ".join(overrides), **diagnose(ckpt, folder)}


def main() -> None:
    """Train and diagnose what is missing, flow by flow."""
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
