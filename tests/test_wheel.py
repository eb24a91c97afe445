"""The wheel works in an environment of its own, far from the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import nf_mnist

ROOT = Path(__file__).parent.parent
TINY = [
    "model.flow.hidden_channels=4",
    "model.flow.mlp_features=4",
    "data.eval_batch_size=8",
    "trainer.accelerator=cpu",
    "trainer.max_steps=2",
    "trainer.limit_val_batches=1",
    "evaluation.n_images=4",
    "evaluation.n_draws=1",
    "callbacks.samples.n_samples=4",
]

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program in a folder, without the paths of this environment; return its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    finished = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=900)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Return the interpreter of an environment that has the wheel, and shares the other packages of this one."""
    folder = tmp_path_factory.mktemp("environment") / "env"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    # Python does not read .pth files in folders that a .pth file names, so it does not find an editable nf_mnist there.
    (site / "shared_packages.pth").write_text(sysconfig.get_paths()["purelib"])
    return python


def test_the_version_has_one_place(wheel, python, tmp_path):
    assert f"nf_mnist-{nf_mnist.__version__}-" in wheel.name
    code = "import nf_mnist, importlib.metadata; print(nf_mnist.__file__, importlib.metadata.version('nf_mnist'))"
    where, version = run(python, "-c", code, cwd=tmp_path).split()
    assert Path(where).is_relative_to(python.parent.parent)
    assert version == nf_mnist.__version__


def test_it_trains_and_measures(python, tmp_path):
    out = run(python, "-m", "nf_mnist.train", "experiment=quickstart", *TINY, "output_dir=run", cwd=tmp_path)
    assert "test bpd" in out
    best = "ckpt=run/checkpoints/best.ckpt"
    run(python, "-m", "nf_mnist.evaluate", best, "evaluation.n_images=4", "out=again.json", cwd=tmp_path)
    one, other = (json.loads((tmp_path / name).read_text()) for name in ("run/metrics.json", "again.json"))
    assert one["bpd"] == other["bpd"]


def test_its_commands_find_the_released_weights(python, tmp_path):
    few = ("evaluation.split=validation", "evaluation.n_images=4", "evaluation.n_draws=1", "out=metrics.json")
    run(python, "-m", "nf_mnist.evaluate", "ckpt=pretrained:hierarchical-base", *few, cwd=tmp_path)
    assert 0.5 < json.loads((tmp_path / "metrics.json").read_text())["bpd"] < 2
    script = python.parent / "nf_mnist.sample"
    run(script, "ckpt=pretrained:hierarchical-base", "n=4", "out=grid.png", cwd=tmp_path)
    few = ("mask=lower", "method=mode", "method.n_steps=2", "n_images=1", "out=inpainted")
    run(python, "-m", "nf_mnist.inpaint", "ckpt=pretrained:resflow", *few, cwd=tmp_path)
    assert (tmp_path / "grid.png").exists()
    assert (tmp_path / "inpainted" / "inpainting.png").exists()
