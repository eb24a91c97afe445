"""Out-of-distribution detection: known areas under the ROC curve, and the command."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nf_mnist.metrics import SYNTHETIC_OOD, auroc, ood_auroc
from tests.support.helpers import run_command, tiny_overrides, write_images


def phi(value: float) -> float:
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def scores(log_likelihood: Tensor, radius: Tensor | None = None) -> dict[str, Tensor]:
    return {"log_likelihood": log_likelihood, "radius": log_likelihood if radius is None else radius}


@pytest.mark.parametrize(
    ("positive", "negative", "area"),
    [
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [3.0, 4.0], 0.0),
        ([1.0, 1.0], [1.0], 0.5),
        ([2.0, 0.0, 5.0], [1.0, 2.0], (1.5 + 0 + 2) / 6),
        ([math.nan, math.inf], [1.0, 2.0], 1.0),
        ([-math.inf, 3.0], [1.0, 2.0], 0.5),
        ([-1000.0, -2000.0], [-3000.0, -3001.0], 1.0),  # a sigmoid of the scores would make all of them ties
    ],
)
def test_auroc_counts_pairs(positive, negative, area):
    assert auroc(torch.tensor(positive), torch.tensor(negative)) == area


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.0, 3.0])
def test_auroc_of_shifted_normals(distance):
    quantiles = torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000)
    assert auroc(quantiles + distance, quantiles) == pytest.approx(phi(distance / math.sqrt(2)), abs=1e-3)


@pytest.mark.parametrize(("shift", "by_log_prob"), [(4, 0.0), (-4, 1.0)])
def test_typicality_detects_images_that_are_too_likely_and_log_prob_does_not(shift, by_log_prob):
    quantiles = torch.special.ndtri((torch.arange(1000).double() + 0.5) / 1000)
    found = ood_auroc(scores(quantiles), scores(quantiles / 10 + shift), scores(quantiles))
    assert found.log_prob == pytest.approx(by_log_prob, abs=0.01)
    assert found.typicality > 0.99
    assert found.radius == found.typicality


def test_no_score_detects_images_of_the_same_distribution():
    torch.manual_seed(0)
    one, other, training = (scores(torch.randn(4000), torch.randn(4000)) for _ in range(3))
    assert ood_auroc(one, other, training) == pytest.approx((0.5, 0.5, 0.5), abs=0.03), "three standard errors are 0.02"


def test_synthetic_ood_images_are_what_their_names_say():
    levels = torch.randint(256, (3, 1, 6, 6), dtype=torch.uint8)
    made = {name: make(levels, torch.Generator().manual_seed(7)) for name, make in SYNTHETIC_OOD.items()}
    for name, images in made.items():
        assert (images.shape, images.dtype) == (levels.shape, torch.uint8), name
        assert not torch.equal(images, levels), name
    assert torch.equal(made["inverted"].int() + levels.int(), torch.full_like(levels, 255).int())
    assert torch.equal(made["transposed"], levels.mT)
    assert torch.equal(made["shuffled"].flatten(1).sort().values, levels.flatten(1).sort().values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a flow trained for 30 steps on bars, and with OOD images."""
    folder = tmp_path_factory.mktemp("ood")
    images = write_images(folder / "images.npz")
    np.savez(folder / "grey.npz", images=np.full((20, 14, 14), 128, dtype=np.uint8))
    np.savez(folder / "large.npz", images=np.full((20, 16, 16), 128, dtype=np.uint8))
    finished = run_command("train", *tiny_overrides(images, folder / "run"), "trainer.max_steps=30")
    assert finished.code == 0, finished.err
    return folder


@pytest.mark.parametrize("other", ["inverted", "noise", "{}/grey.npz"])
def test_the_command_detects_ood_images(other, folder, tmp_path):
    given = [f"ckpt={folder}/run/checkpoints/best.ckpt", f"ood_data={other.format(folder)}", f"out={tmp_path}/f.json"]
    finished = run_command("evaluate", *given)
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "f.json").read_text())
    ood = metrics["ood"]
    assert ood["n_images"] == min(metrics["n_images"], 20)
    assert abs(ood["auroc"]["log_prob"] - 0.5) > 0.4, "far from chance; noise may be likelier than images"
    assert f"{ood['auroc']['log_prob']:.4f}" in finished.out
    assert "by typicality" in finished.out


def test_the_command_does_not_detect_images_of_the_same_set(folder, tmp_path):
    given = [f"ckpt={folder}/run/checkpoints/best.ckpt", f"ood_data={folder}/images.npz", f"out={tmp_path}/f.json"]
    assert run_command("evaluate", *given, "evaluation.n_draws=1").code == 0
    auroc_of = json.loads((tmp_path / "f.json").read_text())["ood"]["auroc"]
    assert list(auroc_of.values()) == pytest.approx([0.5] * 3, abs=0.35), "of 14 images each"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("something", "unknown ood_data=something; choose one of"),
        ("mnist", "the images of ood_data=mnist are (1, 28, 28)"),
        ("{}/large.npz", "are (1, 16, 16)"),
        ("{}/none.npz", "cannot read images"),
    ],
)
def test_bad_ood_data_is_refused_before_anything_is_measured(other, said, folder, tmp_path):
    given = [f"ckpt={folder}/run/checkpoints/best.ckpt", f"ood_data={other.format(folder)}", f"out={tmp_path}/f.json"]
    finished = run_command("evaluate", *given)
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert said in finished.err
    assert list(tmp_path.iterdir()) == []
