"""Does the diagnosis leave trained flows alone? ``python benchmarks/diagnose_trained.py [--models NAME ...]``.

Trains models as ``benchmarks/baselines.py`` does, for the same time on one thread, and has the command ``diagnose``
judge the checkpoint that validates best, and the released ones. An alarm is a law that fails. Writes
``results/diagnosed_flows.json`` after each; models that are there already are not trained again.
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
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    given = parser.parse_args()
    for name in [*given.models, *(f"pretrained:{name}" for name in RELEASED)]:
        if name in rows_of(RESULT):
            continue
        with tempfile.TemporaryDirectory() as folder:
            about: dict[str, Any] = {"minutes": None, "overrides": None}
            ckpt: Path | str = name
            if name in MODELS:
                about = {"minutes": given.minutes, "overrides": " ".join(recipe(name, 0, given.minutes))}
                ckpt = train(recipe(name, 0, given.minutes), Path(folder) / "run")
            row = {**about, **machine(), **diagnose(ckpt, Path(folder))}
        add_row(RESULT, name, row)
        print(f"{name}: fails {row['fail'] or 'nothing'}, warns {row['warn'] or 'of nothing'}", flush=True)


if __name__ == "__main__":
    main()
