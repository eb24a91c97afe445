"""``nf_mnist.train(...)`` trains as the command does, in a process that may have anything else in it."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import nf_mnist
from nf_mnist.app.trained import Trained
from nf_mnist.data import array_file
from nf_mnist.errors import ConfigError, DataError, NFMnistError
from tests.support.helpers import first_difference, run_command, tiny_overrides, write_images


def short(folder: Path) -> list[str]:
    """Return the overrides of a training of a second, without those that say where its images are."""
    given = tiny_overrides(folder / "images.npz", folder / "run")
    rest = ["logger.tensorboard=null", "callbacks.health=null", "evaluation=null", "trainer.max_steps=2"]
    return [*(text for text in given if not text.startswith(("model=", "data=", "path=", "output_dir="))), *rest]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("notebook")
    write_images(folder / "images.npz")
    return folder


@pytest.fixture(scope="module")
def trained(folder) -> Trained:
    """Return a flow that was trained on arrays, in a process where Hydra had been initialized for something else."""
    before = str(HydraConfig.instance().cfg)  # other tests in this process may have set it
    arrays = np.load(folder / "images.npz")
    (folder / "conf").mkdir()
    (folder / "conf" / "own.yaml").write_text("name: own")
    with initialize_config_dir(str(folder / "conf"), version_base="1.3"):
        trained = nf_mnist.train(
            "resflow",
            *short(folder),
            images=arrays["images"] / 255.0,
            labels=torch.from_numpy(arrays["labels"]),
            optimizer={"lr": 2e-3},
            data={"n_validation": 0.25},
            output_dir=folder / "call",
        )
        assert compose("own").name == "own", "Hydra is as it was"
    assert not GlobalHydra.instance().is_initialized()
    assert str(HydraConfig.instance().cfg) == before
    return trained


def test_it_returns_the_trained_flow_with_its_settings(trained, folder):
    assert isinstance(trained, Trained)
    assert not trained.flow.training
    assert trained.flow.event_shape == (1, 14, 14)
    assert (trained.cfg.optimizer.lr, trained.cfg.data.n_validation) == (2e-3, 0.25)
    assert trained.cfg.run_dir == str(folder / "call")
    assert json.loads((folder / "call" / "run.json").read_text())["status"] == "completed"


def test_the_images_are_kept_where_commands_find_them(trained, folder):
    kept, written = (array_file(str(path), 0.5, 0) for path in (trained.cfg.data.source.path, folder / "images.npz"))
    for part in (0, 1):
        assert torch.equal(kept[part].levels, written[part].levels)
        assert torch.equal(kept[part].labels, written[part].labels)


def test_the_command_trains_the_same_weights(trained, folder):
    given = ["model=resflow", "data=array", f"path={folder}/images.npz", f"output_dir={folder}/command"]
    finished = run_command("train", *short(folder), *given, "optimizer.lr=2e-3", "data.n_validation=0.25")
    assert finished.code == 0, finished.err
    flow = nf_mnist.load_flow(folder / "command" / "checkpoints" / "best.ckpt")
    assert first_difference(trained.flow.state_dict(), flow.state_dict()) == ""


OWN_FLOW = """
from nf_mnist.bijectors import ActNorm, Flatten, Logit, Sequential
from nf_mnist.flows import Flow

def build():
    return Flow(Sequential([Logit(), ActNorm((1, 14, 14)), Flatten((1, 14, 14))]), (1, 14, 14))
"""


def test_a_flow_of_ones_own_is_returned_by_the_trust_that_it_was_trained_with(tmp_path, monkeypatch):
    (tmp_path / "flow_of_mine.py").write_text(OWN_FLOW)
    monkeypatch.syspath_prepend(tmp_path)
    given = [text for text in short(tmp_path) if not text.startswith(("model.", "+model."))]
    images = np.random.default_rng(0).integers(256, size=(60, 14, 14), dtype=np.uint8)
    target = {"_target_": "flow_of_mine.build"}
    settings = {"flow": target, "trust": ["flow_of_mine"], "output_dir": tmp_path / "run"}
    trained = nf_mnist.train(None, *given, images=images, data={"batch_size": 16}, **settings)
    assert trained.flow.event_shape == (1, 14, 14)
    assert trained.flow.bijector.bijectors[1].log_scale.abs().sum() > 0


IMAGES = np.zeros((12, 14, 14), dtype=np.uint8)
REFUSED = [
    (("nosuch",), {}, ConfigError, "Could not find 'model/nosuch'"),
    ((torch.nn.Linear(1, 1),), {}, ConfigError, "a model is given by its name, such as 'resflow', got a Linear"),
    (("resflow", "nf"), {}, ConfigError, "are texts such as 'optimizer.lr=1e-3', got 'nf'"),
    (("resflow", {"seed": 1}), {}, ConfigError, r"are texts such as .*, got \{'seed': 1\}"),
    ((), {"sede": 1}, ConfigError, "Could not override 'sede'"),
    ((), {"seed": IMAGES}, ConfigError, "seed must be a text, a number, .* got a ndarray"),
    ((), {"seed": -1}, ConfigError, "seed must be a whole number from 0"),
    ((), {"optimizer": {"lr": "fast"}}, ConfigError, "optimizer.lr must be a number"),
    ((), {"max_time": "1 minute"}, ConfigError, "trainer.max_time must be DD:HH:MM:SS"),
    ((), {"rerun": "outputs/old run"}, ConfigError, "python -m nf_mnist.train 'rerun=\"outputs/old run\"'"),
    ((), {"images": IMAGES, "data": "mnist"}, ConfigError, "images= and data=mnist both name the images"),
    ((), {"labels": [1, 2]}, DataError, "'images' and 'labels'|no array 'images'"),
    ((), {"images": IMAGES, "labels": [1, 2]}, DataError, r"'labels' in the call has shape \(2,\); expected \(12,\)"),
    ((), {"images": IMAGES - 0.5}, DataError, "'images' in the call holds float64 from -0.5"),
    ((), {"images": [[1], [1, 2]]}, DataError, "images must be an array or a tensor, got a list"),
    ((), {"images": IMAGES, "data": {"batch_size": 500}}, DataError, "batch_size=500 exceeds"),
]


@pytest.mark.parametrize(("given", "settings", "error", "said"), REFUSED, ids=[said[:30] for *_, said in REFUSED])
def test_what_cannot_be_trained_is_refused_in_one_line_and_leaves_nothing(given, settings, error, said, tmp_path):
    with pytest.raises(error, match=said) as refused:
        nf_mnist.train(*given, output_dir=tmp_path / "run", **settings)
    assert isinstance(refused.value, NFMnistError)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train", "diagnose"])
def test_the_module_of_the_command_is_the_function(name):
    module = importlib.import_module(f"nf_mnist.{name}")
    assert getattr(nf_mnist, name) is module
    assert callable(module.main)
    assert "Returns:" in inspect.getdoc(module.__call__)
    assert "images" in inspect.signature(module.__call__).parameters


def test_importing_the_package_imports_nothing_slow():
    check = (
        "import sys, nf_mnist; sys.exit(' '.join({'torch', 'hydra', 'lightning', 'numpy'} & sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=300)


LINES = """
import nf_mnist
trained = nf_mnist.train({given})
print(trained.flow.sample(2).shape, OmegaConf.is_config(trained.cfg))
"""


@pytest.mark.slow
def test_a_notebook_shows_a_bar_and_may_train_twice(folder):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    given = [*short(folder), "data=array", f"path={folder}/images.npz"]
    cells = ["from omegaconf import OmegaConf"]
    for seed in range(2):
        cells.append(LINES.format(given=", ".join(map(repr, ["resflow", *given, f"output_dir={folder}/{seed}"]))))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    for cell in notebook.cells[1:]:
        shown = [output.data["text/html"] for output in cell.outputs if output.output_type == "display_data"]
        assert any('<progress value="1.0000"' in text for text in shown)
        assert "torch.Size([2, 1, 14, 14]) True" in cell.outputs[-1].text
        assert all(output.get("name") != "stderr" for output in cell.outputs), cell.outputs
    assert OmegaConf.load(folder / "0" / "config.yaml").name == "tiny"
