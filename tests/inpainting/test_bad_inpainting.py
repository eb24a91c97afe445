"""Mistakes in what is to be completed, how and by what, end in one line; and chains say whether they have converged."""

import csv
import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torchvision.io import write_png

from nf_mnist.app.building import build_module
from tests.app.test_bad_input import refuses
from tests.support.helpers import compose_config, merge, run_command, tiny_overrides, write_images

MISTAKES = [  # command, overrides, what the error says
    ("inpaint", "data=mnist data.dequantizer=nosuch", "unknown data.dequantizer 'nosuch'; choose one of uniform"),
    ("inpaint", "data=array path={}/small.npz", "an image is (1, 14, 14), but this flow completes (1, 28, 28)"),
    ("inpaint", "image={}/small.png", "small.png is (1, 14, 14), but this flow completes (1, 28, 28)"),
    ("inpaint", "image=5", "image must be a text, got 5"),
    *[("inpaint", f"mask={mask}", f"unknown mask {shown}; choose one of lower") for mask, shown in (
        ("5", "5"), ("null", "None"), ("[lower]", "['lower']"), ("nosuch", "'nosuch'"))],
    ("inpaint", "+method.nosuch=1", "nf_mnist.inpainting.mode: got an unexpected keyword argument 'nosuch'"),
    ("inpaint", "+method.n_samples=1", "cannot build nf_mnist.inpainting.mode: "),
    ("inpaint", "~method.n_steps", "missing a required argument: 'n_steps'"),
    ("inpaint", "method=nosuch", "method/nosuch"),
    ("inpaint", "corruption=5", "unknown corruption 5; choose gaussian_noise, black or uniform"),
    *[("evaluate", f"quality=true samples.temperatures={given}", f"as in [1.0,0.8]; got {shown}") for given, shown in (
        ("0.8", "0.8"), ("null", "None"), ("[0.8]", "[0.8]"))],
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with images of two sizes, and two flows that were never trained."""
    folder = tmp_path_factory.mktemp("inpainting")
    images = write_images(folder / "images.npz", side=28)
    write_images(folder / "small.npz", side=14)
    write_png(torch.zeros(1, 14, 14, dtype=torch.uint8), str(folder / "small.png"))
    for model, name in (("resflow", "flow"), ("hierarchical", "hierarchical")):
        cfg = compose_config(merge(tiny_overrides(images, folder / "run", model), ["run_dir=x"]))
        config = OmegaConf.to_container(cfg, resolve=True)
        torch.save({"state_dict": build_module(cfg).state_dict(), "config": config}, folder / f"{name}.ckpt")
    return folder


@pytest.mark.parametrize(("command", "overrides", "said"), MISTAKES)
def test_a_mistake_is_refused_in_one_line(command, overrides, said, folder, tmp_path):
    given = overrides.replace("{}", str(folder)).split()
    refuses(command, [f"ckpt={folder}/flow.ckpt", f"output_dir={tmp_path}/run", *given], said, tmp_path)


@pytest.mark.parametrize(
    ("flow", "overrides", "said"),
    [
        (
            "flow",
            "method=posterior method.n_chains=3 n_samples=4",
            "n_samples must be a multiple of n_chains, and counts positive, got n_samples=4, n_chains=3",
        ),
        ("hierarchical", "method=crank_nicolson method.step=2 n_samples=4", "step must lie in (0, 1], got 2"),
    ],
)
def test_what_a_method_refuses_is_said_in_the_last_line(flow, overrides, said, folder, tmp_path):
    ended = run_command("inpaint", f"ckpt={folder}/{flow}.ckpt", f"output_dir={tmp_path}/run", *overrides.split())
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].startswith(f"error: {said}"), ended.err
    assert not list(tmp_path.rglob("*.csv"))


def walk(folder: Path, out: Path, step: float, n_samples: int) -> tuple[str, dict]:
    """Complete two images by a short walk; return what is printed, and the metrics."""
    counts = ["method.n_chains=2", "method.n_warmup=0", "method.thinning=1", "method.n_leapfrog=1"]
    given = ["method=posterior", *counts, f"method.step={step}", f"n_samples={n_samples}", "n_images=2", "seed=3"]
    finished = run_command("inpaint", f"ckpt={folder}/flow.ckpt", *given, f"out={out}", "device=cpu")
    assert finished.code == 0, finished.err

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return finished.out, json.loads((out / "metrics.json").read_text(), parse_constant=refuse)


def test_chains_say_whether_they_have_converged_and_rows_which_image_they_are_about(folder, tmp_path):
    out, metrics = walk(folder, tmp_path / "moving", step=1e-4, n_samples=8)
    assert metrics["r_hat"] > 1.05, "after so few and short steps"
    assert f"acceptance {metrics['acceptance']:.2f}, largest split R-hat {metrics['r_hat']:.2f}, above 1.05" in out
    assert "the chains have not converged" in out
    rows = list(csv.DictReader((tmp_path / "moving" / "images.csv").open()))
    order = torch.randperm(14, generator=torch.Generator().manual_seed(3))[:2]  # 15% of 96 images are for the test
    assert [int(row["index"]) for row in rows] == order.tolist()
    assert "index" not in metrics


def test_chains_that_stand_still_and_too_few_draws_are_said_and_are_no_metric(folder, tmp_path):
    out, metrics = walk(folder, tmp_path / "still", step=1e5, n_samples=8)
    assert (metrics["acceptance"], metrics["r_hat"]) == (0, None)
    assert "acceptance 0.00, no split R-hat: a chain does not move, so the chains have not converged" in out
    out, metrics = walk(folder, tmp_path / "few", step=1e-4, n_samples=6)
    assert "r_hat" not in metrics
    assert "too few draws for split R-hat, which takes 4 of each chain" in out
