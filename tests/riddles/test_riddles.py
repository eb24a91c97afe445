"""The riddles: their texts, their measurements, and that both agree with the saved results."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nf_mnist.app.building import build_flow
from nf_mnist.bijectors import AffineCoupling, BatchNorm, Flatten, Logit, Permutation, Sequential, make_mask
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.data import Images
from nf_mnist.diagnostics import Batch, DiagnosisTask, exact_log_det
from nf_mnist.flows import Flow
from riddles import __main__ as riddles
from riddles.likelihood import NEEDED, log_det_budget
from riddles.log_det import LogDetWithoutMask
from riddles.measures import errors_without_flow
from riddles.norms import predicted_loss
from riddles.runs import Run, train
from riddles.runs import riddles as files
from tests.support.helpers import compose_config

ROOT = Path(__file__).parents[2]
NUMBERS = range(1, 18)
OUTCOMES = {"confirmed", "partly", "refuted"}
TINY = [
    "data.n_validation=59000",
    "data.batch_size=8",
    "data.eval_batch_size=50",
    "trainer.limit_val_batches=1",
    "model.flow.hidden_channels=4",
    "model.flow.mlp_features=4",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_each_riddle_says_what_is_believed_and_what_would_refute_it(number):
    riddle = files()[number]
    assert riddle.diary
    assert riddle.belief
    assert riddle.refuted_if
    assert number in riddles.MEASURES
    assert "python -m nf_mnist." in riddle.cured_run
    cfg = compose_config([f"experiment={riddle.name}", *riddle.remedy])
    assert cfg.name == riddle.name
    assert cfg.evaluation.split == "validation", "test images serve the final figure only"


@pytest.mark.parametrize("number", NUMBERS)
def test_each_header_tells_the_saved_outcome(number):
    row = json.loads(riddles.RESULT.read_text())["riddles"][str(number)]
    riddle = files()[number]
    path = ROOT / "conf" / "experiment" / f"{riddle.name}.yaml"
    header = " ".join(line.strip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
    assert row["experiment"] == riddle.name
    assert row["result"] in OUTCOMES
    assert riddle.diary in header
    assert header.endswith(f"Expected result: {row['result']}: {row['found']}")


def test_the_budget_of_bounded_scales_is_that_of_the_design():
    flow = build_flow(compose_config(["model=resflow"]).model)
    assert log_det_budget(flow) == pytest.approx(2548, abs=0.1), "4 x 392 + 4 x 196 + 2 x 98 elements, e each"
    assert round(NEEDED) == 4916


def test_a_log_det_without_its_mask_passes_the_round_trip_and_not_the_jacobian():
    torch.manual_seed(0)
    mask = make_mask("checkerboard", (1, 4, 4))
    layer = AffineCoupling(mask, *(nn.Conv2d(1, 1, 3, padding=1) for _ in range(2))).double()
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    right = exact_log_det(layer, x)
    layer.__class__ = LogDetWithoutMask
    z, log_det = layer(x)
    back, inverse_log_det = layer.inverse_and_log_det(z)
    assert_close(back, x)
    assert_close(log_det + inverse_log_det, torch.zeros(1, dtype=torch.float64))
    wrong = exact_log_det(layer, x)
    assert right.claimed == pytest.approx(right.exact)
    assert wrong.exact == pytest.approx(right.exact)
    kept = (mask * torch.tanh(layer.scale_net(x * mask))).sum().item()
    assert wrong.claimed - wrong.exact == pytest.approx(kept)
    assert abs(kept) > 0.01


def test_the_predicted_loss_multiplies_factors_along_each_dimension():
    norms = [BatchNorm((4,), eps=1e-5) for _ in range(2)]
    norms[0].running_var.copy_(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    norms[1].running_var.copy_(torch.tensor([1.0, 1.0, 1.0, 0.0]))
    order = torch.tensor([3, 2, 1, 0])  # the first dimension is the last one of the second layer
    layers = [Logit(0.1), Flatten((1, 2, 2)), norms[0], Permutation(order), norms[1]]
    flow = Flow(Sequential(layers), (1, 2, 2)).eval()
    dark, lit = torch.full((1, 1, 2, 2), 0.2), torch.full((1, 1, 2, 2), 0.2)
    lit[0, 0, 0, 0] = 0.8
    train_images, images = (Batch(x, torch.zeros(1), torch.zeros(1), None) for x in (dark, lit))
    step = Logit(0.1)(torch.tensor([[0.8], [0.2]]))[0].diff(dim=0).item()
    assert predicted_loss(DiagnosisTask(flow, images, train_images)) == pytest.approx(0.5 * (step * 1e5) ** 2, rel=1e-3)
    assert predicted_loss(DiagnosisTask(flow, train_images, train_images)) == 0


def test_nan_and_infinity_are_null_in_json(tmp_path):
    write_json(tmp_path / "row.json", {1: [math.nan, 2.0], "a": (math.inf, "b", None)})
    assert json.loads((tmp_path / "row.json").read_text()) == {"1": [None, 2.0], "a": [None, "b", None]}


def test_the_mean_image_is_scored_in_the_hidden_half_alone():
    levels = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    levels[:2] = 255
    images = Images(levels, torch.zeros(4, dtype=torch.long))
    run = Run(Flow(Flatten((1, 28, 28)), (1, 28, 28)), lambda v, noise: (v / 255, torch.zeros(len(v))), images, images)
    errors = errors_without_flow(run)
    assert errors["mean_image"] == pytest.approx(392 / 4, rel=0.01), "each hidden pixel is off by a half"
    assert errors["corrupted"] > errors["mean_image"]


@pytest.mark.slow
def test_a_run_records_its_losses_and_names_its_end():
    overrides = [*TINY, "trainer.max_steps=4", "trainer.val_check_interval=2", *files()[1].remedy]
    run = train("riddle_01_nan_loss", overrides)
    assert len(run.losses) == 4
    assert list(run.curve) == [2, 4]
    assert run.error == ""
    assert run.loss == run.curve[4]
    assert train("riddle_01_nan_loss", overrides) is run, "the same training is not repeated"
    failing = train("riddle_01_nan_loss", [*TINY, "trainer.max_steps=20", "optimizer.lr=1e9"])
    assert "the loss was not finite" in failing.error
