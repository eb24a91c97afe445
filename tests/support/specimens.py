"""Files that are wrong in many ways, and the check that a command refuses a mistake."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import torch

from nf_mnist.data.sets import ASSETS
from tests.support.helpers import run_command, tiny_overrides, write_images


def write_specimens(folder: Path) -> Path:
    """Write images, a finished run, and one specimen of everything that can be wrong with a file; return the folder."""
    images = write_images(folder / "images.npz")
    write_images(folder / "small.npz", side=12)
    (folder / "text.npz").write_text("no images\n")
    (folder / "truncated.npz").write_bytes(images.read_bytes()[:1000])
    levels = np.zeros((60, 14, 14), dtype=np.uint8)
    arrays = {
        "empty": {"pictures": levels},
        "float": {"images": levels - 0.5},
        "flat": {"images": levels.reshape(60, -1)},
        "none": {"images": levels[:0]},
        "object": {"images": np.array([None])},
        "labels": {"images": levels, "labels": np.zeros(7)},
        "unlabelled": {"images": levels},
        "constant": {"images": levels, "labels": np.zeros(60)},
        "noise": {"images": np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)},
    }
    for name, content in arrays.items():
        np.savez(folder / f"{name}.npz", **content)
    for name, content in [("mnist", gzip.compress(bytes(1000))), ("cut", gzip.compress(bytes(10**6))[:500])]:
        (folder / name).mkdir()
        shutil.copy(ASSETS / "SHA256SUMS", folder / name)
        (folder / name / "train-images-idx3-ubyte.gz").write_bytes(content)
    assert run_command("train", *tiny_overrides(images, folder / "run"), "trainer.max_steps=1").code == 0
    last = folder / "run" / "checkpoints" / "last.ckpt"
    (folder / "truncated.ckpt").write_bytes(last.read_bytes()[:5000])
    checkpoint = torch.load(last, weights_only=True)
    torch.save(checkpoint["state_dict"], folder / "foreign.ckpt")
    torch.save({key: checkpoint[key] for key in ("state_dict", "config")}, folder / "weights.ckpt")
    torch.save({**checkpoint, "config": {**checkpoint["config"], "evaluation": None}}, folder / "unmeasured.ckpt")
    return folder


def refuses(command: str, overrides: list[str], said: str, run: Path) -> None:
    """Check that a command refuses its overrides in one line that holds ``said``, and writes nothing into ``run``."""
    code, out, err = run_command(command, *overrides)
    assert said in err
    assert (code, out, err.count("\n")) == (1, "", 1), err
    assert err.startswith("error: ")
    assert {path.name for path in run.rglob("*") if path.is_file()} <= {f"{command}.log"}, (
        "nothing but Hydra's (empty) log"
    )
