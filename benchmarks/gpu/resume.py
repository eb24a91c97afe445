"""A training that is stopped and resumed ends with the same weights to the bit, with deterministic algorithms."""

import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.commands import BARE, last, model, run
from benchmarks.gpu.parts import Plan, Rows
from nf_mnist.checkpoints.reading import read_checkpoint

MODEL = "glow"
STEPS = 8


def rows(plan: Plan) -> Rows:
    """Yield how many tensors of a model differ between a whole training and a resumed one."""
    with tempfile.TemporaryDirectory() as folder:
        yield MODEL, differences(MODEL, Path(folder), plan)


def differences(name: str, folder: Path, plan: Plan) -> dict[str, object]:
    """Train in one go, and with a stop in the middle; compare all weights and statistics."""
    given = [*model(name, plan), *BARE, "scheduler=constant", "evaluation=null", "trainer.deterministic=true"]
    given += ["data.batch_size=32", "trainer.max_epochs=-1", "trainer.limit_val_batches=1"]
    for run_dir, steps in (("whole", STEPS), ("resumed", STEPS // 2), ("resumed", STEPS)):
        run("train", [*given, f"trainer.max_steps={steps}", f"output_dir={folder}/{run_dir}", "ckpt=auto"], plan)
    whole, resumed = (read_checkpoint(last(folder / run_dir))["state_dict"] for run_dir in ("whole", "resumed"))
    different = [key for key, value in whole.items() if not torch.equal(value, resumed[key])]
    return {"tensors": len(whole), "different": len(different), "error": ", ".join(different[:3]) or None}
