"""Two lanes of a sweep on one card: a run waits until the card is free."""

import json
import tempfile
from pathlib import Path

from benchmarks.gpu.commands import BARE, model, run
from benchmarks.gpu.parts import Plan, Rows


def rows(plan: Plan) -> Rows:
    """Yield how both runs ended, and for how many seconds they overlapped."""
    with tempfile.TemporaryDirectory() as folder:
        given = [*model("glow", plan), *BARE, "seed=0,1", "evaluation=null", "trainer.max_epochs=-1"]
        given += [f"trainer.max_steps={2 if plan.rehearse else 20}", "trainer.limit_val_batches=1"]
        lanes = ["-m", "launcher=joblib", "hydra.launcher.n_jobs=2", f"output_dir={folder}"]
        seconds = run("train", [*lanes, *given], plan)
        records = [json.loads(path.read_text()) for path in Path(folder).glob("*/run.json")]
    (one, one_end), (two, two_end) = sorted(
        (record["began"], record["began"] + record["seconds"]) for record in records
    )
    overlap = max(0.0, min(one_end, two_end) - max(one, two))
    error = "both runs had the card" if overlap > 1 and not plan.rehearse else None
    statuses = [record["status"] for record in records]
    yield "two runs", {"statuses": statuses, "overlap_seconds": overlap, "seconds": seconds, "error": error}
