"""What ``data.batch_size=auto`` finds for the card; in a rehearsal, that it is refused without one."""

import re
import tempfile
from pathlib import Path

from benchmarks.gpu.commands import BARE, model, run
from benchmarks.gpu.parts import Plan, Rows

MODEL = "hierarchical"


def rows(plan: Plan) -> Rows:
    """Yield the batch size of a run."""
    with tempfile.TemporaryDirectory() as folder:
        given = [*model(MODEL, plan), *BARE, "data.batch_size=auto", "trainer.max_steps=2", "evaluation=null"]
        try:
            run("train", [*given, "trainer.limit_val_batches=1", f"output_dir={folder}/run"], plan)
        except RuntimeError as error:
            if not (plan.rehearse and "give a number" in str(error)):
                raise
            yield MODEL, {"batch_size": None}
            return
        config = Path(folder, "run", "config.yaml").read_text()
        found = re.search(r"^  batch_size: (\d+)$", config, re.MULTILINE)
        assert found is not None
        yield MODEL, {"batch_size": int(found[1])}
