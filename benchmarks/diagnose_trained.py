"""Does the diagnosis leave trained flows alone? ``python benchmarks/diagnose_trained.py [--models NAME ...]``.

Trains models as ``benchmarks/baselines.py`` does, on one thread, and has the command ``diagnose`` judge the checkpoint
that validates best, and the released ones. An alarm is a law that fails. Writes ``results/diagnosed_flows.json`` after
each; what is there already, a model trained for that long, is not trained again.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from baselines import MODELS, recipe, run_command, train
from measuring import add_row, machine, rows_of

RESULT = Path(__file__).parent.parent / "results" / "diagnosed_flows.json"
HEALTHY = [name for name in MODELS if name != "resflow_double_tanh"]  # a bug by design
RELEASED = ("resflow", "cp3", "hierarchical-base", "conditional")


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


def main() -> None:
    """Train and diagnose what is missing, model by model, then what is released."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--models", nargs="+", choices=HEALTHY, default=HEALTHY)
    given = parser.parse_args()
    for name in given.models:
        key = f"{name}, {given.minutes:g} min"
        overrides = recipe(name, 0, given.minutes)
        with tempfile.TemporaryDirectory() as folder:
            if key not in rows_of(RESULT):
                ckpt = train(overrides, Path(folder) / "run")
                about = {"minutes": given.minutes, "overrides": " ".join(overrides)}
                save(key, {**about, **diagnose(ckpt, Path(folder))})
    for name in RELEASED:
        with tempfile.TemporaryDirectory() as folder:
            if f"pretrained:{name}" not in rows_of(RESULT):
                save(f"pretrained:{name}", {"minutes": None, **diagnose(f"pretrained:{name}", Path(folder))})


def save(key: str, row: dict[str, Any]) -> None:
    """Write a row, and print what is broken."""
    add_row(RESULT, key, {**machine(), **row})
    print(f"{key}: fails {row['fail'] or 'nothing'}, warns {row['warn'] or 'of nothing'}", flush=True)


if __name__ == "__main__":
    main()
