"""Do the commands that a diagnosis prints cure what it found? ``python -m benchmarks.diagnosis.cures [--minutes 2]``.

Each training below has one bad setting. Its checkpoint is diagnosed, and the first command that the diagnosis prints is
run as it stands, with a budget of time and a folder added to it. What it trains is diagnosed again. All trainings have
one thread and the same time. Writes ``results/cures.json`` after each training; trainings that are there are skipped.
"""

import argparse
import json
import shlex
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.density.baselines import run_command, train
from benchmarks.measuring import add_row, rows_of, time_budget

RESULT = Path(__file__).parents[2] / "results" / "cures.json"
BAD_SETTINGS = {
    "no dither": ["data.dequantizer=none"],
    "an uncounted logit": ["data.count_log_det=false"],
    "slow running statistics": ["callbacks.statistics=null", "model.flow.norm.momentum=0.001"],
    "unbounded scales": ["model.flow.scale_activation=none"],
    "no logit": ["model.preprocess=none"],
}
MODEL = "model=maf"  # which is trained in two minutes of one core
N_IMAGES, CHECK_SECONDS = 200, 20


def measure(name: str, minutes: float, folder: Path) -> dict[str, Any]:
    """Diagnose a training with a bad setting, run the printed command, and diagnose what it trains."""
    budget = [time_budget(minutes), "trainer.val_check_interval=100", "trainer.limit_val_batches=2"]
    setting = [MODEL, *BAD_SETTINGS[name]]
    before, command = diagnose(train([*setting, *budget], folder / "before"), folder / "before_diagnosis")
    if not command:
        raise RuntimeError(f"the diagnosis of {name} prints no command: {before['answer']}")
    after, _ = diagnose(train([*shlex.split(command)[3:], *budget], folder / "after"), folder / "after_diagnosis")
    return {
        "setting": " ".join(setting),
        "minutes": minutes,
        "cure": command,
        "before": before,
        "after": after,
    }


def diagnose(ckpt: Path, folder: Path) -> tuple[dict[str, Any], str]:
    """Return what a diagnosis says (its answer, the checks that fail, those that warn), and its first command or ""."""
    overrides = [f"ckpt={ckpt}", f"out={folder}", f"n_images={N_IMAGES}", f"check_seconds={CHECK_SECONDS}"]
    run_command("diagnose", overrides)
    report = json.loads((folder / "report.json").read_text())
    results = sorted(report["results"], key=lambda result: result["is_usual"])
    commands = [result["command"] for result in results if result["command"]]
    said = {status: [each["check"] for each in results if each["status"] == status] for status in ("fail", "warn")}
    return {"answer": report["answer"], **said}, next(iter(commands), "")


def main() -> None:
    """Measure the missing cures, one by one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    for name in BAD_SETTINGS:
        if rows_of(options.out).get(name, {}).get("minutes") == options.minutes:
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = measure(name, options.minutes, Path(folder))
        add_row(options.out, name, row)
        print(f"{name}: {row['before']['answer']}\n  {row['cure']}\n  {row['after']['answer']}", flush=True)


if __name__ == "__main__":
    main()
