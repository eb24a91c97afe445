"""Two minutes of ``hierarchical``, and the bits per dimension that it reached."""

import json
import tempfile
from pathlib import Path

from benchmarks.gpu.commands import SMALL, run
from benchmarks.gpu.parts import Plan, Rows


def rows(plan: Plan) -> Rows:
    """Yield the training: bits per dimension of all test images, images seen, memory and utilization."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["experiment=hierarchical_1h", f"output_dir={folder}/run", "logger.tensorboard=null"]
        if plan.rehearse:
            given += [*SMALL["hierarchical"], "trainer=cpu", "trainer.max_time=null", "trainer.max_steps=2"]
            given += ["trainer.limit_val_batches=1", "data.n_validation=16", "evaluation.n_images=16"]
        else:
            given += ["trainer=gpu", "trainer.max_time=00:00:02:00", "trainer.val_check_interval=1000"]
        seconds = run("train", given, plan)
        record, metrics = (json.loads(Path(folder, "run", name).read_text()) for name in ("run.json", "metrics.json"))
        keys = ("peak_memory_gib", "gpu_utilization", "hardware")
        kept = {key: record.get(key) for key in keys} | {key: metrics[key] for key in ("bpd", "training_seconds")}
        yield "hierarchical", {**kept, "seconds": seconds, "steps": steps_of(Path(folder, "run"))}


def steps_of(run_dir: Path) -> int:
    """Return the number of steps that a run has logged last."""
    header, *lines = (run_dir / "csv" / "metrics.csv").read_text().splitlines()
    return int(lines[-1].split(",")[header.split(",").index("step")])
