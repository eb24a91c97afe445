"""NaN is reported as NaN, and too few images as too few images; nothing else is blamed for them."""

import pytest
import torch
from torch import Tensor

from nf_mnist.bijectors import AffineCoupling, Flatten, Sequential
from nf_mnist.data import Images, UniformDequantizer
from nf_mnist.diagnostics import DiagnosisTask, make_batch
from nf_mnist.flows import Flow
from tests.metrics.test_evaluation import UniformCDF
from tests.support.diagnosis_tasks import bars, first_failure, make_task, results
from tests.support.registry import make_flow

OF_MANY = (
    "the norm of z is a shell",
    "samples have the norm of the prior",
    "dimensions of z are standard",
    "nearby latents are nearby images",
    "fresh samples are like data",
    "validation scores as training does",
)
DITHER = "dither fills a level"


def exact_task(n: int) -> DiagnosisTask:
    """Return uniform images, and the flow whose density they have."""
    flow = Flow(Sequential([UniformCDF(), Flatten((1, 8, 8))]), (1, 8, 8)).eval()
    parts = [Images(torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8), torch.zeros(n).long()) for _ in range(2)]
    return DiagnosisTask(flow, *(make_batch(flow, UniformDequantizer(), part, n, 0) for part in parts))


def test_a_parameter_that_is_nan_is_the_first_failure_and_its_layer_is_named():
    flow = make_flow("resflow", torch.float32)
    name, layer = [pair for pair in flow.bijector.named_modules() if isinstance(pair[1], AffineCoupling)][1]
    next(layer.parameters()).data.fill_(torch.nan)
    failure = first_failure(make_task(flow, n=20))
    assert failure.check == "values are finite"
    assert "latents" in failure.measured
    assert failure.measured.endswith(f"in {name} (AffineCoupling)")
    assert "diverged" in failure.cause
    names = ["shapes", failure.check, "inputs are left alone", "log-likelihoods are finite"]
    by_name = results(make_task(flow, n=20), names)
    statuses = [result.status for result in by_name.values()]
    assert statuses == ["pass", "fail", "pass", "fail"], "the last counts the images"


@pytest.mark.parametrize("n", [1, 2, 10])
def test_few_images_are_too_few_and_the_flow_is_not_to_blame(n):
    by_name = results(exact_task(n), list(OF_MANY))
    assert {result.status for result in by_name.values()} == {"skip"}
    assert all("n_images=200" in result.measured for result in by_name.values())
    norms = results(make_task(make_flow("cp3", torch.float32), n=n), ["running statistics fit the data"])
    assert [result.status for result in norms.values()] == ["skip"]


@pytest.mark.parametrize("n", [20, 200])
def test_an_exact_flow_passes_as_soon_as_there_are_enough(n):
    by_name = results(exact_task(n), list(OF_MANY))
    assert not {name: result for name, result in by_name.items() if result.status == "fail"}
    assert n < 200 or {result.status for result in by_name.values()} == {"pass"}


@pytest.mark.parametrize(("log_q", "status"), [(torch.zeros(30), "fail"), (torch.randn(30), "skip")])
def test_dither_may_be_narrow_only_where_its_density_is_counted(log_q: Tensor, status):
    task = make_task(make_flow("resflow", torch.float32), n=30)
    levels = bars(30, 8).levels
    task.batch = task.batch._replace(x=(levels + 0.01 * torch.rand(levels.shape)) / 256, log_q=log_q)
    assert results(task, [DITHER])[DITHER].status == status
