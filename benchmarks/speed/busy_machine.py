"""What a training does beside other processes: ``python -m benchmarks.speed.busy_machine [--repeats 3]``.

Trains a small ``resflow`` for some seconds: alone, beside one and three busy processes, two trainings at once,
and two jobs of ``launcher=joblib``; with the callback that adapts the number of threads, and without it. The settings
take turns. Speeds are images of all trainings together per second of training. The machine must be idle otherwise.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.measuring import SMALL_RESFLOW, machine, spread
from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.checkpoints.records import training_record
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.runs.record import read_record

RESULT = Path(__file__).parents[2] / "results" / "busy_machine.json"
TRAINING = [
    *SMALL_RESFLOW,
    "data.batch_size=64",
    "trainer.gradient_clip_val=200",
    "trainer.val_check_interval=100000",
    "evaluation=null",
]
VIEWS = ("samples", "radius", "moments", "projection", "round_trip", "inpainting", "health")
BARE = [*(f"callbacks.{view}=null" for view in VIEWS), "logger.tensorboard=null", "trainer.limit_val_batches=1"]
JOBLIB = ["-m", "launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1"]


class Case(NamedTuple):
    """What else runs.

    Attributes:
        n_busy: Number of busy processes.
        n_trainings: Number of trainings at once.
        by_joblib: Whether the trainings are jobs of a sweep.
    """

    n_busy: int = 0
    n_trainings: int = 1
    by_joblib: bool = False


CASES = {
    "alone": Case(),
    "beside one busy process": Case(n_busy=1),
    "beside three busy processes": Case(n_busy=3),
    "two trainings at once": Case(n_trainings=2),
    "two jobs of joblib": Case(n_trainings=2, by_joblib=True),
}
SETTINGS = {"shared": [], "fixed": ["callbacks.cores=null"]}  # threads that follow the free cores, or as many as ever


def images_per_second(case: Case, overrides: Sequence[str], seconds: int) -> dict[str, float]:
    """Train; return the speed of all trainings together, and the fewest threads that one of them had."""
    given = [*TRAINING, *BARE, f"trainer.max_time=00:00:{seconds // 60:02d}:{seconds % 60:02d}", *overrides]
    with tempfile.TemporaryDirectory() as folder, busy_processes(case.n_busy):
        if case.by_joblib:
            commands = [[*JOBLIB, *given, f"output_dir={folder}"]]
        else:
            commands = [[*given, f"seed={n}", f"output_dir={folder}/{n}"] for n in range(case.n_trainings)]
        command = [sys.executable, "-m", "nf_mnist.train"]
        started = [subprocess.Popen([*command, *each], stdout=subprocess.DEVNULL) for each in commands]
        if max(process.wait() for process in started):
            raise RuntimeError(f"a training failed: {given}")
        checkpoints = sorted(Path(folder).glob("*/checkpoints/last.ckpt"))
        assert len(checkpoints) == case.n_trainings
        records = [training_record(read_checkpoint(path)) for path in checkpoints]
        threads = [read_record(path.parents[1]) for path in checkpoints]
    fewest = min(record.get("fewest_threads") or record["threads"] for record in threads)
    return {"speed": sum(record["images"] / record["seconds"] for record in records), "fewest_threads": fewest}


@contextlib.contextmanager
def busy_processes(n: int) -> Iterator[list[subprocess.Popen]]:
    """Keep n processes busy inside the block, and yield them."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield busy
    finally:
        for process in busy:
            process.kill()
            process.wait()


def main() -> None:
    """Measure all cases with both settings in turn, and write the results after each repeat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--override", action="append", default=[], help="of the training, for a rehearsal")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    found: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {setting: [] for setting in options.settings} for name in options.cases
    }
    for _ in range(options.repeats):
        for name, settings in found.items():
            for setting, repeats in settings.items():
                overrides = [*SETTINGS[setting], *options.override]
                repeats.append(images_per_second(CASES[name], overrides, options.seconds))
                print(f"{name}, {setting} threads: {repeats[-1]['speed']:.0f} images/s", flush=True)
        rows = {
            name: {
                setting: {
                    **spread([repeat["speed"] for repeat in repeats]),
                    "fewest_threads": min(repeat["fewest_threads"] for repeat in repeats),
                }
                for setting, repeats in settings.items()
            }
            for name, settings in found.items()
        }
        kept = {"seconds": options.seconds, "threads": torch.get_num_threads(), "rows": rows}
        write_json(options.out, {**machine(), **kept})


if __name__ == "__main__":
    main()
